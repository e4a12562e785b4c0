# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluators: what a config's evals section measures. One file is one kind.

An evaluator is built as `Evaluator(objective, data, mesh, channels,
default_batch_size, **keys)`, where its keyword-only arguments are the keys that
a config sets. `run(state, mark) -> iterator of (metric, value)` evaluates a
state, and METRICS are those of its metrics that checkpoint.best may name.
"""

import dataclasses
from typing import Any

from vit_jax.config import Count
from vit_jax.evaluators.attention_logits import AttentionLogits
from vit_jax.evaluators.classification import Classification
from vit_jax.evaluators.corruptions import Corruptions
from vit_jax.evaluators.fewshot import FewShot
from vit_jax.evaluators.knn import Knn
from vit_jax.evaluators.linear import LinearProbe
from vit_jax.evaluators.loss import Loss
from vit_jax.evaluators.occlusion import Occlusion
from vit_jax.evaluators.patch_attack import PatchAttack
from vit_jax.evaluators.pgd import Pgd
from vit_jax.evaluators.segmentation import Segmentation
from vit_jax.evaluators.shuffle import Shuffle
from vit_jax.evaluators.texture import Texture

EVALUATORS: dict[str, Any] = {
  "classification": Classification,
  "loss": Loss,
  "segmentation": Segmentation,
  "fewshot": FewShot,
  "knn": Knn,
  "linear": LinearProbe,
  "attention_logits": AttentionLogits,
  "occlusion": Occlusion,
  "shuffle": Shuffle,
  "texture": Texture,
  "corruptions": Corruptions,
  "pgd": Pgd,
  "patch_attack": PatchAttack,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
  """The keys of every section under evals, beside those of its evaluator.

  Attributes:
    kind: what is measured; the default is "loss" where the objective reads no
      labels, and "knn" where it compares views.
    every: number of steps between two evaluations, with one at the end of the
      run; None is at the end only.
  """

  kind: str = "classification"
  every: Count | None = None
