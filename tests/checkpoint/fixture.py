# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a run that every later version must be able to continue.

python -m tests.checkpoint.fixture DIR, once for each checkpoint format; the
result is kept in tests/checkpoint/fixtures and never made again.
"""

import json
import pathlib
import shutil
import sys

import jax
import numpy as np
from etils import epath

import vit_jax
from tests.support import build
from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.train import train
from vit_jax.train_state import compute_digest

# Images that are made up, so that it needs no data.
CONFIG = {
  "model": dict(variant="mu/4", dtype="float32", width=16, mlp_dim=16, depth=1),
  "data": dict(source="synthetic:10", size=8, crop="none", threads=1),
  "optim": dict(lr=1e-3, warmup_steps=1, ema=0.9, weight_decay=0.1),
  "train": dict(batch_size=8, steps=3, log_every=1, allow_cpu=True),
  "evals": {"test": dict(split="test[:16]", batch_size=8)},
}

# What its model is shown: any image will do.
IMAGES = np.linspace(0, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)


def compute_state_digests(workdir, config):
  """Computes sha256 of the parts of the newest state."""
  exp = build(config, jax.devices()[:1])
  directory = epath.Path(workdir) / "checkpoints"
  with Checkpointer(directory, CheckpointOptions()) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  return {
    "step": int(state.step),
    "params": compute_digest(state.params),
    "ema": compute_digest(state.ema),
    "opt_state": compute_digest(state.opt_state),
  }


def main(directory):
  workdir = pathlib.Path(directory).resolve()
  train(CONFIG, str(workdir))
  model, _ = vit_jax.load(workdir)
  expected = compute_state_digests(workdir, CONFIG)
  expected["logits"] = np.asarray(model(IMAGES)).tolist()
  # What names the machine.
  shutil.rmtree(workdir / "events")
  for path in workdir.rglob("commit_success.txt"):
    path.write_text("")
  (workdir / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  main(sys.argv[1])
