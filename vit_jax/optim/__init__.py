# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers, learning-rate schedules and averaging, from the optim section."""

from vit_jax.optim.optimizer import get_kernels, make_optimizer, update_ema
from vit_jax.optim.options import Optim, get_parameters
from vit_jax.optim.rates import check_rates, stop_frozen
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
  "check_rates",
  "count_steps",
  "get_kernels",
  "get_parameters",
  "make_optimizer",
  "make_schedule",
  "set_phases",
  "stop_frozen",
  "update_ema",
]
