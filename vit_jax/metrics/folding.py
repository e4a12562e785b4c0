# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folding (sum, count) pairs of many batches into means."""

from collections.abc import Iterable, Mapping
from typing import Any

import clu.metrics
import numpy as np


def merge(
  results: Iterable[Mapping[str, tuple[Any, Any]]],
) -> dict[str, clu.metrics.Average]:
  """Adds up (sum, count) pairs of many batches, in float64."""
  merged = {}
  for result in results:
    for name, (total, count) in result.items():
      part = clu.metrics.Average(
        total=np.asarray(total, np.float64), count=np.asarray(count, np.float64)
      )
      merged[name] = merged[name].merge(part) if name in merged else part
  return merged


def fold(
  results: Iterable[Mapping[str, tuple[Any, Any]]],
) -> dict[str, tuple[float, float]]:
  """Adds up (sum, count) pairs to pairs again, as numbers of Python."""
  merged = merge(results).items()
  return {name: (float(x.total), float(x.count)) for name, x in merged}


def compute(
  results: Iterable[Mapping[str, tuple[Any, Any]]],
) -> dict[str, float]:
  """Computes the mean of every metric over many batches."""
  merged = merge(results)
  return {name: float(metric.compute()) for name, metric in merged.items()}
