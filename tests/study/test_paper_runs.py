# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A study of the paper that is trained, whose first run is killed on its way;
and, on runs of a stand-in, one that two processes share."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time

import numpy as np
import pytest
from etils import epath

import vit_jax
from tests.support import ROOT
from vit_jax.analysis.attention import compute_mean_distance
from vit_jax.analysis.explain import compute_attention
from vit_jax.study import __main__ as study
from vit_jax.study import attention_distance, data_scale, runs

SMALL = [
  *("--seeds=0", "--yes", "--config.train.accumulate=1"),
  *("--config.optim.warmup_steps=1", "--config.train.log_every=1"),
  *("--config.train.batch_size=16", "--config.train.report=false"),
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


def take(monkeypatch, chosen):
  """Has the study trained with some of its points alone."""
  made = data_scale.make_points("digits")[chosen]
  short = dataclasses.replace(data_scale.STUDY, make_points=lambda _: made)
  monkeypatch.setitem(study.STUDIES, "data_scale", short)
  monkeypatch.chdir(ROOT)
  return [point.name for point in made]


def find_pid(workdir, name):
  """Waits for a run to hold its directory; returns its process."""
  lock = workdir / name / "seed_0/lock.json"
  until = time.monotonic() + 240
  while time.monotonic() < until:
    with contextlib.suppress(OSError, ValueError):
      return json.loads(lock.read_text())["pid"]
    time.sleep(0.02)
  pytest.fail(f"{name} never began")


@pytest.mark.usefixtures("forked_runs")
def test_a_study_whose_run_is_killed(tmp_path, monkeypatch, data_dir, capfd):
  """The one that starts from it fails too; then both are trained."""
  names = take(monkeypatch, slice(0, 2))
  first, tuned = (f"{name}/seed_0" for name in names)
  workdir = tmp_path / "study"
  flags = [f"--workdir={workdir}", f"--config.data.dir={data_dir}", *SMALL]
  flags += ["--config.train.steps=3"]

  def kill():
    os.kill(find_pid(workdir, names[0]), signal.SIGKILL)

  threading.Thread(target=kill, daemon=True).start()
  with pytest.raises(SystemExit) as caught:
    study.main(["data_scale", *flags])
  assert caught.value.code == 1
  found = json.loads((workdir / "study.json").read_text())
  assert [*found["failed"]] == [first, tuned] and found["runs"] == {}
  reasons = [x["reason"] for x in found["failed"].values()]
  assert "killed by SIGKILL" in reasons[0]
  assert reasons[1] == f"{first}, which it starts from, failed: {reasons[0]}"
  assert reasons[1] in (workdir / "study.md").read_text()
  assert not (workdir / tuned).exists()

  study.main(["data_scale", *flags])
  found = json.loads((workdir / "study.json").read_text())
  (row,) = found["points"]
  assert found["failed"] == {} and [*found["runs"]] == [first, tuned]
  last = read_last(workdir / first)
  values = {name: x["mean"] for name, x in row["values"].items()}
  assert values == {
    "fine-tuned": read_last(workdir / tuned)["test/accuracy"],
    "5-shot": last["few/accuracy_5shot"],
    "accuracy": last["test/accuracy"],
  }
  check_distances(epath.Path(workdir / first))
  page = (workdir / "study.md").read_text()
  assert all(f" {100 * x:.2f} |" in page for x in values.values())
  before, config = (
    json.loads((workdir / name / "config.json").read_text())
    for name in (first, tuned)
  )
  assert before["data"]["train"] == "train[10%:15%]" and not before["init"]
  assert config["data"]["train"] == "train[:10%]"
  assert config["init"] == str(workdir / first)
  assert config["transfer"]["head"] == "drop"
  assert f"from {workdir / first}: " in capfd.readouterr().err


def check_distances(workdir):
  """Of the checkpoint of a run; the table is of two seeds, to the digit."""
  found = attention_distance.measure(workdir)
  assert found["steps"] == [3] and np.shape(found["pixels"]) == (1, 4, 4)
  model, preprocess = vit_jax.load(workdir)
  images = np.zeros((2, *preprocess.size, 1), np.float32)
  distances = compute_mean_distance(
    compute_attention(model, images), model.module.make_layout(16, 16), 4
  )
  # After three steps heads still look at all patches alike, of any image.
  near = pytest.approx(found["uniform"], rel=0.05)
  assert np.mean(found["pixels"]) == near == float(distances.mean())
  other = found | {"pixels": (np.asarray(found["pixels"]) + 0.2).tolist()}
  summary = {"distances": {"a": found, "b": other}}
  table = attention_distance.STUDY.make_table(summary)
  assert table[0] == ["step", *(f"layer {i}" for i in (1, 2, 3, 4))]
  means = np.mean(found["pixels"], axis=2)[0] + 0.1
  assert table[1:] == [["3", *(f"{x:.2f} ± 0.14" for x in means)]]
  lost = found | {"steps": [2, 3], "pixels": found["pixels"] * 2}
  summary = {"distances": {"c": lost, "a": found, "b": other}}
  assert attention_distance.STUDY.make_table(summary) == table
  rest = {"config": "", "failed": {}, "lost": {}}
  text = attention_distance.STUDY.explain(summary | rest)[-1]
  assert "Left out: c has checkpoints of the steps 2, 3, and the" in text


def read_last(workdir):
  """The newest values of all metrics of a run."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return {k: x for line in lines for k, x in json.loads(line).items()}


def test_runs_have_a_terminal_as_wide(monkeypatch):
  screen, end = os.openpty()
  termios.tcsetwinsize(end, (24, 40))
  with open(end, "w") as stream:
    monkeypatch.setattr(sys, "stderr", stream)
    own = runs.open_terminal()
    assert os.get_terminal_size(own[1]).columns == 40
  for number in (screen, *own):
    os.close(number)


def test_a_run_that_another_trains_is_left_to_it(
  tmp_path, monkeypatch, score, data_dir, capfd
):
  """And so is what starts from it; they are begun when that one ends."""
  names = take(monkeypatch, slice(0, 3))
  first, tuned, apart = (f"{name}/seed_0" for name in names)
  monkeypatch.setattr(runs, "POLL", 0.2)
  score(data_scale.STUDY)
  workdir = tmp_path / "study"
  holder = subprocess.Popen(
    [
      *(sys.executable, "-c", HOLDER, str(workdir / first)),
      str(workdir / apart / "result.json"),
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert holder.stdout.readline() == "held\n"
  flags = [f"--workdir={workdir}", f"--config.data.dir={data_dir}", "--yes"]
  study.main(["data_scale", *flags, "--seeds=0"])
  assert holder.wait(60) == 0
  found = json.loads((workdir / "study.json").read_text())
  assert [*found["runs"]] == [apart, first, tuned]
  said = capfd.readouterr().err
  assert f"trained by others: {first}, {tuned}" in said
  assert f"{apart} (3 of 3): {workdir / apart}\n" in said
