# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy and loss over a split, every example counted once."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from vit_jax.config import Count
from vit_jax.data.augment import normalize
from vit_jax.data.pipeline import Data
from vit_jax.evaluators.split import check_count, map_split
from vit_jax.metrics.folding import merge
from vit_jax.train_state import TrainState, get_evaluated_params


@dataclasses.dataclass(frozen=True)
class Classification:
  """Top-1 accuracy and loss.

  Attributes:
    objective: computes the metrics of a batch.
    data: the data section.
    mesh: devices to run on.
    channels: c.
    default_batch_size: training's batch size (B).
    split: split to evaluate on.
    batch_size: global batch size (B); None is training's. It need not divide
      the split.
    params: "average" evaluates the moving average of the parameters where there
      is one (optim.ema), as exports hold it; "raw" the parameters themselves.
  """

  METRICS = ("accuracy", "correct", "total", "loss")

  objective: Any
  data: Data
  mesh: Mesh
  channels: int
  default_batch_size: int
  _: dataclasses.KW_ONLY
  split: str
  batch_size: Count | None = None
  params: Literal["average", "raw"] = "average"

  @functools.cached_property
  def step(self) -> Any:
    """The jitted function (params, batch) -> name -> (sum, count)."""
    evaluate = self.objective.evaluate
    return jax.jit(lambda params, batch: evaluate(params, normalize(batch)))

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields accuracy (a fraction), correct, total and loss.

    Args:
      state: its parameters are evaluated.
      mark: called after each batch.

    Raises:
      RuntimeError: unless every example was counted exactly once.
    """
    params = state.params
    if self.params == "average":
      params = get_evaluated_params(state)
    results, size = map_split(
      self.step,
      params,
      self.data,
      self.mesh,
      self.channels,
      split=self.split,
      batch_size=self.batch_size or self.default_batch_size,
      mark=mark,
    )
    metrics = merge(results)
    correct, total = metrics["accuracy"].total, metrics["accuracy"].count
    check_count(int(total), size, self.split)
    yield "accuracy", float(correct / total)
    yield "correct", int(correct)
    yield "total", int(total)
    yield "loss", float(metrics["loss"].compute())
