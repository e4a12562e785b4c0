# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes that learn without labels of images do what one does."""

import json
import os
import socket

import pytest

from tests.support.masks import make_shapes
from tests.support.processes import Heard, finish, read_run
from tests.support.runs import get_timeless, make_config

VIEWS = dict(hidden=32, outputs=24)
OBJECTIVES = {
  "masked_patch": dict(),
  "mae": dict(decoder_width=16, decoder_depth=1, decoder_heads=2),
  "moco": VIEWS,
  "dino": VIEWS | dict(bottleneck=16),
  "segmentation": dict(),
}
# One process after another would start Python and jax for each objective.
SCRIPT = """
import json, sys
from vit_jax.runtime.start import start
from vit_jax.train import train

start()
for name, config in json.load(open(sys.argv[1])).items():
  train(config, f"{sys.argv[2]}/{name}")
"""


def make(data_dir, name, shapes):
  config = make_config(data_dir)
  config["model"]["dropout"] = 0.0
  config["data"] |= dict(size=16, augment=dict(flip=True))
  if name == "moco":
    config["data"]["views"] = dict(count=2)
  if name == "dino":
    config["data"]["views"] = dict(count=2, local=2, local_size=8)
  if name in ("moco", "dino"):
    del config["optim"]["ema"]
  config["objective"] = dict(name=name) | OBJECTIVES[name]
  config["train"] |= dict(steps=3, log_every=1)
  evals = {}
  if name == "segmentation":
    config["data"]["source"] = f"segmentation:{shapes}"
    # The last batch is padded.
    evals["masks"] = dict(kind=name, split="validation", batch_size=8)
  return config | dict(mesh=dict(fsdp=-1), evals=evals)


def test_two_processes_do_what_one_does(tmp_path, data_dir):
  shapes = make_shapes(tmp_path / "shapes")
  configs = {name: make(data_dir, name, shapes) for name in OBJECTIVES}
  (tmp_path / "configs.json").write_text(json.dumps(configs))
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]

  def begin(workdir, **environment):
    command = ["-c", SCRIPT, tmp_path / "configs.json", workdir]
    return Heard(command, env=os.environ | environment)

  processes = [begin(tmp_path / "one")] + [
    begin(
      tmp_path / "two",
      JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(index),
    )
    for index in range(2)
  ]
  for process in processes:
    finish(process)
  for name in OBJECTIVES:
    rows, others = (
      get_timeless(read_run(tmp_path / x / name)[1]) for x in ("one", "two")
    )
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
    for a, b in zip(rows, others, strict=True):
      # Sums in another order, enlarged by normalising and low temperatures, and
      # by Adam, which divides a gradient by its size.
      assert a == pytest.approx(b, rel=1e-3, abs=1e-5), name
