# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Repeated timings of a program, and their spread. Imports no library."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence

# A group of runs lasts about so many seconds, and has at most so many runs.
GROUP_SECONDS, MAX_GROUP = 1.0, 20


@dataclasses.dataclass(frozen=True)
class Spread:
  """Repeated measurements of one thing.

  Attributes:
    values: the measurements, in their order.
  """

  values: tuple[float, ...]

  @property
  def median(self) -> float:
    """The median."""
    return statistics.median(self.values)

  @property
  def low(self) -> float:
    """The least value."""
    return min(self.values)

  @property
  def high(self) -> float:
    """The largest value."""
    return max(self.values)

  def times(self, factor: int | float) -> "Spread":
    """The same in another unit."""
    return Spread(tuple(factor * x for x in self.values))

  def invert(self, dividend: int | float) -> "Spread":
    """The values that `dividend` has per value: seconds to speeds."""
    return Spread(tuple(dividend / x for x in self.values))

  def format(self, form: str = ",.1f") -> tuple[str, str]:
    """The median, and the range, as two cells of a table."""
    low, high = format(self.low, form), format(self.high, form)
    return format(self.median, form), f"{low} to {high}"

  def to_json(self) -> dict[str, float]:
    """Median, least, largest value and their number."""
    return {
      "median": self.median,
      "min": self.low,
      "max": self.high,
      "repeats": len(self.values),
    }


def make_spread(values: Sequence[float]) -> Spread:
  """Makes a spread of a list."""
  return Spread(tuple(values))


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How often a program runs before and while it is timed.

  Attributes:
    warmup: runs that are not timed, after a first one.
    steps: runs between two looks at the clock; None is about a second's worth.
    repeats: number of such groups.
  """

  warmup: int = 3
  steps: int | None = None
  repeats: int = 5


def time_groups(run: Callable[[int], None], schedule: Schedule) -> list[float]:
  """Seconds a run, for each group.

  Args:
    run: runs the program a number of times, and waits for its results.
    schedule: how often.
  """

  def measure(count):
    began = time.perf_counter()
    run(count)
    return (time.perf_counter() - began) / count

  run(1)
  seconds = measure(max(1, schedule.warmup))
  steps = schedule.steps
  if steps is None:
    steps = min(MAX_GROUP, max(1, math.ceil(GROUP_SECONDS / seconds)))
  return [measure(steps) for _ in range(schedule.repeats)]
