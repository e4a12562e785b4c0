# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Objectives: one file for each way to train, with its loss.

`objective.Objective` describes what each has.
"""

from vit_jax.objectives.dino import Dino
from vit_jax.objectives.distillation import Distillation
from vit_jax.objectives.mae import MAE
from vit_jax.objectives.masked_patch import MaskedPatch
from vit_jax.objectives.moco import Moco
from vit_jax.objectives.objective import Objective
from vit_jax.objectives.segmentation import Segmentation
from vit_jax.objectives.supervised import Supervised

OBJECTIVES: dict[str, type[Objective]] = {
  "supervised": Supervised,
  "distillation": Distillation,
  "masked_patch": MaskedPatch,
  "mae": MAE,
  "dino": Dino,
  "moco": Moco,
  "segmentation": Segmentation,
}
