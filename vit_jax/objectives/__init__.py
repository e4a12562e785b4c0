# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Objectives: one file is one loss is one way to train.

An objective has `init_aux(params, key) -> aux`, the arrays it keeps beside the
parameters, and `loss(params, aux, batch, key) -> (loss, (metrics, aux))` with
metrics as (sum, count) pairs. The loss is a mean over the examples that the
batch's mask keeps: accumulation weighs micro-batches by how many they have.
What it reads and no step changes, as a frozen teacher, is no part of the state
and comes after the key.
"""

from vit_jax.objectives.distillation import Distillation
from vit_jax.objectives.supervised import Supervised

OBJECTIVES = {"supervised": Supervised, "distillation": Distillation}
