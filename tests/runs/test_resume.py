# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is killed again and again is the run that never was."""

import csv
import random
import time

import pytest

from tests.support.processes import finish, read_run, start
from tests.support.runs import OF_CALL, get_timeless

# Compiled as a user's run is.
pytestmark = pytest.mark.usefixtures("optimised")

# Two micro-batches a step, and evaluations and rows between checkpoints.
FLAGS = [
  "--config.train.steps=12",
  "--config.train.log_every=2",
  "--config.train.accumulate=2",
  "--config.checkpoint.every=3",
  "--config.evals.test.every=4",
  "--config.optim.ema=0.9",
  "--config.train.loggers=tensorboard,csv",
]
# What a killed run is last heard of: before its first checkpoint, between two,
# in an evaluation and just before its end.
LAST_WORDS = ("step  2/12", "step  4/12", "step  8/12", "step 10/12")


def test_kill_9_again_and_again(tmp_path, data_dir):
  finish(start(tmp_path / "straight", data_dir, *FLAGS))
  expected, expected_rows = read_run(tmp_path / "straight")
  rng = random.Random(0)
  starts = []
  for words in LAST_WORDS:
    process = start(tmp_path / "killed", data_dir, *FLAGS)
    for line in process:
      if line.startswith("resuming after step"):
        starts.append(int(line.split()[-1]))
      if line.startswith(words):
        break
    else:
      raise AssertionError(f"ended before {words!r}")
    time.sleep(rng.uniform(0, 0.2))
    process.kill()
    process.wait()
  text = finish(start(tmp_path / "killed", data_dir, *FLAGS))
  assert "resuming after step" in text
  result, rows = read_run(tmp_path / "killed")
  for name in set(expected) - OF_CALL:
    assert result[name] == expected[name], name
  # Every step and every evaluation stands once, with the same numbers.
  assert get_timeless(rows) == get_timeless(expected_rows)
  with (tmp_path / "killed" / "metrics.csv").open(newline="") as file:
    table = [
      {k: x for k, x in row.items() if x} for row in csv.DictReader(file)
    ]
  assert table == [{k: str(x) for k, x in row.items()} for row in rows]
  assert starts == sorted(starts) and all(step % 3 == 0 for step in starts)
