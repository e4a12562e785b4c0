# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Groups of runs, their spread, and tables."""

import pytest

from vit_jax.benchmark.report import format_table
from vit_jax.benchmark.timing import MAX_GROUP, Schedule, Spread, time_groups


def test_a_spread_is_median_and_range():
  spread = Spread((3.0, 1.0, 2.0, 10.0))
  assert (spread.median, spread.low, spread.high) == (2.5, 1.0, 10.0)
  assert spread.times(2.0).median == 5.0
  # 20 images in each of these times.
  assert spread.invert(20.0).values == pytest.approx((20 / 3, 20, 10, 2))
  assert spread.format(",.0f") == ("2", "1 to 10")
  assert spread.to_json() == dict(median=2.5, min=1.0, max=10.0, repeats=4)


def test_groups_follow_a_first_run_and_the_warm_up():
  counts = []
  found = time_groups(counts.append, Schedule(warmup=2, steps=5, repeats=3))
  assert counts == [1, 2, 5, 5, 5] and len(found) == 3
  counts.clear()
  # Runs that take no time: as many as a group may have.
  time_groups(counts.append, Schedule(warmup=1, repeats=1))
  assert counts == [1, 1, MAX_GROUP]


def test_columns_of_a_table_are_aligned():
  assert format_table(["name", "ms"], [["a", "1.0"], ["longer", "12.5"]]) == [
    "name      ms",
    "a        1.0",
    "longer  12.5",
  ]
  assert format_table(["", "is"], [["x", "a"]], "<<") == ["   is", "x  a"]
