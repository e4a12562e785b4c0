# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Configs: errors, the strict schema, recipes and command lines."""

from vit_jax.config.choice import Choice
from vit_jax.config.errors import (
  BAD_CONFIG,
  INTERRUPTED,
  PREEMPTED,
  WATCHDOG,
  ConfigError,
  RunError,
)
from vit_jax.config.schema import (
  Count,
  Examples,
  Interval,
  Natural,
  NotNegative,
  Parallel,
  Positive,
  Rate,
  Share,
  check,
  check_image_size,
  check_multiple,
  describe,
  fits,
  get,
  nearest,
  normalize,
  parameters,
  raise_all,
)

__all__ = [
  "BAD_CONFIG",
  "INTERRUPTED",
  "PREEMPTED",
  "WATCHDOG",
  "Choice",
  "ConfigError",
  "Count",
  "Examples",
  "Interval",
  "Natural",
  "NotNegative",
  "Parallel",
  "Positive",
  "Rate",
  "RunError",
  "Share",
  "check",
  "check_image_size",
  "check_multiple",
  "describe",
  "fits",
  "get",
  "nearest",
  "normalize",
  "parameters",
  "raise_all",
]
