# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Ending a run early, by an evaluation that does not get better.

The decision is a function of the evaluations' values so far, which all hosts
have and a resumed run reads back: it is the same on all hosts, and the run ends
at the same step however often it was interrupted.
"""

import math
from collections.abc import Mapping

from vit_jax.checkpoint.directory import get_sign


def find_end(
  scores: Mapping[int, float], name: str, patience: int
) -> int | None:
  """Finds the step at which a run ends; None if it goes on.

  Args:
    scores: step -> value of the metric.
    name: EVALUATION/METRIC.
    patience: evaluations without a better value than the best before them,
      after which it ends.
  """
  sign = get_sign(name)
  best, waited = -float("inf"), 0
  for step, value in sorted(scores.items()):
    better = sign * value > best  # False for NaN.
    best, waited = (sign * value, 0) if better else (best, waited + 1)
    if waited >= patience:
      return step
  return None


def describe_end(scores: Mapping[int, float], name: str, steps: int) -> str:
  """Describes why a run ended before its last step."""
  finite = {step: x for step, x in scores.items() if math.isfinite(x)}
  found = f"{name} was never finite"
  if finite:
    best = max(finite, key=lambda step: get_sign(name) * finite[step])
    found = f"{name} was best after step {best}, {finite[best]:.4g}"
  return (
    f"{found}: train.patience is over, and the run ends before step {steps:,}"
  )
