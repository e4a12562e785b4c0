# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Short runs: their config, their rows, and what runs of one config share."""

import copy
import json
import pathlib

import jax

# What of a row depends on how fast things were.
SPEED = ("images_per_second", "data_wait")
# What of result.json is of the last call of the command.
OF_CALL = {"start_step", "seconds", "compile_seconds", "finished", "command"}


def get_timeless(rows):
  """Rows without SPEED."""
  return [{k: x for k, x in row.items() if k not in SPEED} for row in rows]


def make_config(data_dir):
  """A run of a few seconds on the digits, as plain sections.

  How it fits into memory is given: to estimate that traces the model twice.
  """
  return {
    "model": dict(variant="mu/4", dtype="float32", dropout=0.1, remat="none"),
    "data": dict(
      source="tfds:digits",
      dir=data_dir,
      size=8,
      crop="random_resized",
      threads=1,
      augment=dict(mixup=0.2, flip=True),
    ),
    "optim": dict(lr=1e-3, warmup_steps=2, weight_decay=0.1, ema=0.9),
    "train": dict(
      batch_size=16,
      steps=6,
      log_every=2,
      accumulate=1,
      allow_cpu=True,
      report=False,
    ),
    "evals": {"test": dict(split="test[:40]", batch_size=24)},
  }


_MADE = {}


def reuse_experiment(config, devices=None):
  """An Experiment with the programs of one that was made of the same config.

  jax has traced and compiled them: runs of one config take half of the time.
  """
  from vit_jax.data.sources import load_info
  from vit_jax.experiment import Experiment
  from vit_jax.objectives import OBJECTIVES

  objective = OBJECTIVES[config["objective"]["name"]]
  info = load_info(config["data"]["source"], config["data"]["dir"])
  devices = devices or jax.devices()
  key = objective, repr(devices), json.dumps(config, default=repr), repr(info)
  if key not in _MADE:
    made = Experiment(config, devices)
    # Made here, these are found by all.
    _MADE[key] = made, made.init_state, made.train_step, made.abstract_state
  exp = copy.copy(_MADE[key][0])
  exp.info, exp._choices = info, [*exp._choices]  # A run adds its own.
  return exp


def list_workers(pid):
  """Workers that a process has started, from Linux's own table."""
  found = []
  for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
      fields = path.read_text().rpartition(")")[2].split()
      command = (path.parent / "cmdline").read_bytes()
    except OSError:  # It ended in between.
      continue
    if int(fields[1]) == pid and b"spawn_main" in command:
      found.append(int(path.parent.name))
  return found
