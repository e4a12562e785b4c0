# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers, learning-rate schedules and parameter averaging.

All of it is set by a config's optim section, `Optim`.
"""

from vit_jax.optim.multipliers import (
  check_multipliers,
  count_trained,
  describe_frozen,
  freeze_base,
  is_plain,
  make_trained_mask,
  stop_frozen,
)
from vit_jax.optim.optimizer import make_decay_mask, make_optimizer, update_ema
from vit_jax.optim.options import Optim, list_parameters
from vit_jax.optim.schedules import (
  LENGTHS,
  Schedule,
  count_steps,
  make_schedule,
  set_phases,
)

__all__ = [
  "LENGTHS",
  "Optim",
  "Schedule",
  "check_multipliers",
  "count_steps",
  "count_trained",
  "describe_frozen",
  "freeze_base",
  "is_plain",
  "make_decay_mask",
  "list_parameters",
  "make_optimizer",
  "make_schedule",
  "make_trained_mask",
  "set_phases",
  "stop_frozen",
  "update_ema",
]
