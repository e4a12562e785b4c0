# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A study of the paper that is trained: one run is killed on its way, and two
processes share it."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.support import ROOT
from vit_jax.study import __main__ as study
from vit_jax.study import data_scale, runs

SMALL = [
  *("--seeds=0", "--config.train.accumulate=1"),
  *("--config.optim.warmup_steps=1", "--config.train.log_every=1"),
  "--config.train.batch_size=16",
]

# Holds a directory as a run does, until a file exists.
HOLDER = """
import pathlib, sys, time
from etils import epath
from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime.lock import WorkdirLock

workdir, path = epath.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
workdir.mkdir(parents=True)
with WorkdirLock(workdir, Hosts(), print):
  print("held", flush=True)
  while not path.exists():
    time.sleep(0.1)
"""


@pytest.fixture
def two_points(monkeypatch):
  """The study with its first ViT and its first ResNet alone."""
  short = dataclasses.replace(
    data_scale.STUDY, make_points=lambda x: data_scale.make_points(x)[::4]
  )
  monkeypatch.setitem(study.STUDIES, "data_scale", short)
  monkeypatch.setattr(runs, "POLL", 1.0)
  monkeypatch.chdir(ROOT)


def find_pid(workdir, name):
  """Waits for a run to hold its directory; returns its process."""
  lock = workdir / name / "seed_0/lock.json"
  until = time.monotonic() + 240
  while time.monotonic() < until:
    with contextlib.suppress(OSError, ValueError):
      return json.loads(lock.read_text())["pid"]
    time.sleep(0.02)
  pytest.fail(f"{name} never began")


def test_a_study_whose_run_is_killed(tmp_path, two_points, data_dir, capfd):
  workdir = tmp_path / "study"
  flags = [f"--workdir={workdir}", f"--config.data.dir={data_dir}", *SMALL]
  flags += ["--config.train.steps=3"]

  def kill():
    os.kill(find_pid(workdir, "vit-5_percent"), signal.SIGKILL)

  threading.Thread(target=kill, daemon=True).start()
  with pytest.raises(SystemExit) as caught:
    study.main(["data_scale", *flags])
  assert caught.value.code == 1
  found = json.loads((workdir / "study.json").read_text())
  assert [*found["failed"]] == ["vit-5_percent/seed_0"]
  assert [*found["runs"]] == ["resnet-5_percent/seed_0"]
  assert "killed by SIGKILL" in (workdir / "study.md").read_text()

  study.main(["data_scale", *flags])
  found = json.loads((workdir / "study.json").read_text())
  assert found["failed"] == {} and len(found["points"]) == 2
  for row in found["points"]:
    directory = workdir / row["name"] / "seed_0"
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    last = {k: x for line in lines for k, x in json.loads(line).items()}
    assert row["values"]["5-shot"]["mean"] == last["few/accuracy_5shot"]
    assert row["values"]["accuracy"]["mean"] == last["test/accuracy"]
    config = json.loads((directory / "config.json").read_text())
    assert config["data"]["train"] == "train[1%:6%]"
    assert ("stages" in config["model"]) == row["name"].startswith("resnet")
    cell = f"{100 * last['few/accuracy_5shot']:.2f}"
    assert cell in (workdir / "study.md").read_text()
  assert capfd.readouterr().err.count("finished at step 3") == 1


def test_a_run_that_another_trains_is_left_to_it(
  tmp_path, two_points, data_dir, capfd
):
  """The others are trained meanwhile; it is continued when that one ends."""
  workdir = tmp_path / "study"
  held = workdir / "vit-5_percent/seed_0"
  other = workdir / "resnet-5_percent/seed_0/result.json"
  holder = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(held), str(other)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert holder.stdout.readline() == "held\n"
  flags = [f"--workdir={workdir}", f"--config.data.dir={data_dir}", *SMALL]
  study.main(["data_scale", *flags, "--config.train.steps=2"])
  assert holder.wait(60) == 0
  found = json.loads((workdir / "study.json").read_text())
  assert [*found["runs"]] == ["resnet-5_percent/seed_0", "vit-5_percent/seed_0"]
  assert "trained by others: vit-5_percent/seed_0" in capfd.readouterr().err
