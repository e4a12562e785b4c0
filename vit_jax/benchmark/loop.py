# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of the whole training loop, with its input."""

import tempfile
from typing import Any

import jax

from vit_jax.benchmark.step import fill
from vit_jax.benchmark.timing import Schedule, Spread, make_spread
from vit_jax.metrics import read_rows
from vit_jax.train import train

STEPS = 10  # Of a log interval, unless the schedule says another number.


def measure_loop(
  config: dict[str, Any], schedule: Schedule, *, is_recipe: bool
) -> tuple[Spread, Spread]:
  """Trains a config for some steps, as a run does, and reads its log.

  The first log interval, which waits for the first batches, is not counted.

  Args:
    config: sections, not resolved yet.
    schedule: its steps are those of a log interval.
    is_recipe: see `open_experiment`.

  Returns:
    Seconds a step, and the share of the time in which no batch was ready, of
    each log interval.
  """
  if not is_recipe:
    config = fill(config, jax.devices())
  steps = schedule.steps or STEPS
  changed = {
    "steps": (schedule.repeats + 1) * steps,
    "log_every": steps,
    "profile": None,
    "report": False,  # It would be gone with the directory.
  }
  config = {
    **config,
    "train": {**config["train"], **changed},
    "evals": {},
    "checkpoint": {},
  }
  with tempfile.TemporaryDirectory(prefix="vit_jax_loop_") as workdir:
    train(config, workdir, allow_cpu=True)
    rows = [row for row in read_rows(workdir) if "images_per_second" in row]
  batch = config["train"]["batch_size"]
  return (
    make_spread([batch / row["images_per_second"] for row in rows[1:]]),
    make_spread([row["data_wait"] for row in rows[1:]]),
  )
