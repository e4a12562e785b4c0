# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Objectives: one file for each way to train, with its loss.

An objective has

- `init_aux(params, key) -> aux`: arrays that it keeps beside the parameters,
- `loss(params, aux, batch, key, *frozen) -> (loss, (metrics, aux))`, with
  metrics as name -> (sum, count), and
- `evaluate(params, batch) -> metrics`.

The loss is a mean over the examples that the batch's mask keeps: gradient
accumulation weighs micro-batches by the number of these. Frozen inputs, as a
teacher, are arrays that the loss reads and no step changes; they are no part of
the state.
"""

from vit_jax.objectives.distillation import Distillation
from vit_jax.objectives.supervised import Supervised

OBJECTIVES = {"supervised": Supervised, "distillation": Distillation}
