# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any moment of saving: nothing that was saved is lost."""

import os
import random
import signal
import subprocess
import time

from tests.support.forked import Forked

KILLS = int(os.environ.get("VIT_JAX_KILLS", "6"))


def is_saving(directory):
  return any("tmp" in path.name for path in directory.iterdir())


def live_once(directory, rng, in_the_middle):
  """Starts a process that saves, kills it, and returns what it said.

  Args:
    directory: directory of the checkpoints.
    rng: draws when to kill it.
    in_the_middle: kill it during a save for certain.
  """
  process = Forked(
    ["-m", "tests.checkpoint.chaos", directory],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  said = []
  saves = rng.randint(1, 3)
  for line in process.stdout:
    said.append(line.split())
    saves -= said[-1][0] == "saving"
    if saves == 0:
      break
  time.sleep(rng.uniform(0.0, 0.25))
  while in_the_middle:
    if is_saving(directory):
      process.send_signal(signal.SIGSTOP)
      time.sleep(0.01)
      if is_saving(directory):
        break
      process.send_signal(signal.SIGCONT)
  process.kill()
  rest, errors = process.communicate()
  said += [line.split() for line in rest.splitlines()]
  assert said, errors
  assert process.returncode == -9, errors
  return said


def test_a_killed_save_costs_nothing_that_was_saved(tmp_path):
  directory = tmp_path / "checkpoints"
  rng = random.Random(0)
  saved, left = 0, 0
  for number in range(KILLS):
    said = live_once(directory, rng, in_the_middle=number % 2 == 1)
    verb, found = said[0]
    assert verb == "restored"
    # What was saved, or what was just being saved when the end came.
    assert int(found) in (saved, saved + 1), said
    saved = max(int(step) for verb, step in said if verb != "saving")
    left += is_saving(directory)
    # Two that are kept, one that is to go, one half-written, one half-deleted.
    assert len(list(directory.iterdir())) <= 5
  print(
    f"{KILLS} kills while saving: {left} left a half-written checkpoint; every "
    f"start found the newest complete one, the last of step {saved}"
  )
  assert saved > 0 and left >= KILLS // 2
