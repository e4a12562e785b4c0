# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Two tasks that are trained, the first killed on its way, and resumed."""

import contextlib
import io
import json
import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.support import ROOT
from vit_jax.study.__main__ import main

# How it fits is given: to estimate that traces the model twice.
SMALL = [
  *("--config.model.variant=mu/8", "--config.model.depth=1"),
  *("--config.model.remat=none", "--config.train.accumulate=1"),
  *("--config.data.size=16", "--config.data.threads=1"),
  *("--config.train.batch_size=16", "--config.train.steps=4"),
  *("--config.optim.warmup_steps=1", "--config.train.report=false"),
  "--allow_cpu",
]


@pytest.fixture(scope="module")
def small_norb(tmp_path_factory):
  """A small set of 805 and 432 images, as TFDS's builder writes it."""
  data_dir = tmp_path_factory.mktemp("sets")
  builder = tfds.builder(
    "smallnorb", data_dir=data_dir, file_format="array_record"
  )
  features = builder.info.features
  rng = np.random.default_rng(0)

  def generate(count):
    for i in range(count):
      azimuth = i % 18
      pixels = rng.integers(0, 8, (96, 96, 1)).astype(np.uint8)
      pixels[5 * azimuth : 5 * azimuth + 5] += 200
      png = cv2.imencode(".png", pixels)[1].tobytes()
      labels = dict.fromkeys(features, 0)
      labels |= {"label_azimuth": azimuth, "label_elevation": i % 9}
      labels |= {"image": io.BytesIO(png), "image2": io.BytesIO(png)}
      yield str(i), labels

  sizes = {"train": 805, "test": 432}
  builder._split_generators = lambda _: {
    split: generate(size) for split, size in sizes.items()
  }
  tfds.disable_progress_bar()
  builder.download_and_prepare()
  return data_dir


@pytest.mark.usefixtures("forked_runs")
def test_vtab(small_norb, tmp_path, monkeypatch, capfd):
  monkeypatch.chdir(ROOT)
  workdir = tmp_path / "study"
  flags = [f"--workdir={workdir}", f"--data_dir={small_norb}", *SMALL]
  lock = workdir / "snorb_azim/seed_0/lock.json"

  def kill():
    while True:
      time.sleep(0.02)
      with contextlib.suppress(OSError, ValueError):
        os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
        return

  threading.Thread(target=kill, daemon=True).start()
  with pytest.raises(SystemExit) as caught:
    main(["vtab", *flags])
  assert caught.value.code == 1
  found = json.loads((workdir / "vtab.json").read_text())
  assert found["failed"]["snorb_azim/seed_0"]["status"] == -signal.SIGKILL
  assert [*found["scores"]] == ["snorb_elev"]
  assert len(found["missing"]) == 17
  assert found["model"] == "mu/8" and found["paper"] == {}
  out, err = capfd.readouterr()
  assert "over 1 of 8 tasks" in out and "killed by SIGKILL" in out
  assert "step 4/4" in err

  main(["vtab", *flags])
  found = json.loads((workdir / "vtab.json").read_text())
  assert found["failed"] == {}
  results = {
    task: json.loads((workdir / task / "seed_0/result.json").read_text())
    for task in ("snorb_azim", "snorb_elev")
  }
  for task, result in results.items():
    assert found["runs"][f"{task}/seed_0"] == result
    assert found["scores"][task]["mean"] == result["accuracy"]
    assert result["total"] == 216 and result["steps"] == 4
    config = json.loads((workdir / task / "seed_0/config.json").read_text())
    assert config["data"]["source"] == f"vtab:{task}"
    assert config["data"]["train"] == "train800val200"
  mean = sum(x["accuracy"] for x in results.values()) / 2
  assert found["groups"]["structured"] == {"mean": mean, "tasks": 2, "of": 8}
  out, err = capfd.readouterr()
  assert f"{100 * mean:.2f}" in out
  assert err.count("snorb_elev/seed_0 (2 of 2): finished before") == 1
