# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs in processes of their own: several that share a run, and one that
watches what is imported."""

import contextlib
import csv
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from etils import epath

from tests.support.processes import (
  ENDLESS,
  NAME,
  finish,
  read_run,
  start,
  start_together,
  wait_for,
)
from vit_jax.plots.examined import load_mistakes


def read_examined(workdir):
  """Path, label and class of every image; probabilities; images, rollouts."""
  directory = workdir / "evaluation"
  with (directory / "predictions.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  found = load_mistakes(epath.Path(directory))
  table = [(x["path"], x["label"], x["prediction"]) for x in rows]
  chances = [float(x["probability"]) for x in rows]
  return table, np.array(chances), np.stack(found.images), np.stack(found.maps)


def test_two_and_four_processes_do_what_one_does(tmp_path, data_dir):
  """Two from the start; four from the middle of what one has begun.

  The loss of every step is that of the same examples, in whatever process.
  """
  flags = ["--config.train.steps=4", "--config.train.log_every=1"]
  # Parameters that are sharded over processes, too.
  flags += ["--config.checkpoint.every=2", "--config.mesh.fsdp=-1"]
  flags += ["--config.train.report=True"]
  finish(start(tmp_path / "one", data_dir, *flags))
  shutil.copytree(tmp_path / "one", tmp_path / "four")
  shutil.rmtree(tmp_path / "four" / "checkpoints" / "4")
  (tmp_path / "four" / "result.json").unlink()
  one, one_rows = read_run(tmp_path / "one")
  for count, name in ((2, "two"), (4, "four")):
    processes = start_together(count, tmp_path / name, data_dir, *flags)
    texts = [finish(process) for process in processes]
    assert f"fsdp {count}" in texts[0]
    assert ("resuming after step 2" in texts[0]) == (count == 4)
    assert not any("step" in text for text in texts[1:])
    examined = read_examined(tmp_path / name)
    alone = read_examined(tmp_path / "one")
    assert examined[0] == alone[0] and len(alone[0]) == 360
    for a, b in zip(alone[1:], examined[1:], strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)
    text = (tmp_path / name / "report.html").read_text()
    assert ">Classes<" in text and ">Worst mistakes<" in text
    result, rows = read_run(tmp_path / name)
    assert result["total"] == 360 and result["correct"] == one["correct"]
    assert result["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert len(rows) == len(one_rows) == 5
    for a, b in zip(one_rows, rows, strict=True):
      for speed in ("images_per_second", "data_wait"):
        a.pop(speed, None), b.pop(speed, None)
      assert a == pytest.approx(b, rel=1e-6)
  # What two have saved, one restores and evaluates.
  together, _ = read_run(tmp_path / "two")
  (tmp_path / "two" / "result.json").unlink()
  assert "resuming after step 4" in finish(
    start(tmp_path / "two", data_dir, *flags)
  )
  alone, _ = read_run(tmp_path / "two")
  assert alone["params_sha256"] == together["params_sha256"]
  assert alone["correct"] == together["correct"] and alone["total"] == 360
  assert alone["loss"] == pytest.approx(together["loss"], rel=1e-6)


# A busy machine leaves a process alone for long: short where a test waits.
LONG = [*ENDLESS, "--config.hosts.heartbeat_timeout=60"]
SHORT = [*ENDLESS, "--config.hosts.heartbeat_timeout=12"]


def test_hosts_of_other_configs_refuse_to_run(tmp_path, data_dir):
  """Other reasons to refuse: tests/hosts/test_refusals.py."""
  own = ["--config.optim.lr=0.5"]
  for process in start_together(2, tmp_path / "run", data_dir, *LONG, own=own):
    text = finish(process, 2)
    assert "error: the hosts of this run differ:\n  optim.lr: 0.002 on" in text
    assert f"; 0.5 on host 1 ({NAME})\n" in text
  assert not (tmp_path / "run").exists()


def test_a_killed_process_ends_the_run_by_name(tmp_path, data_dir):
  first, second = start_together(2, tmp_path, data_dir, *SHORT)
  wait_for(first, "step")
  second.kill()
  text = finish(first, 43)
  assert f"lost: host 1 ({NAME}): no heartbeat for 12 s" in text
  assert "train.py" in text.partition(f"stacks of host 0 ({NAME}):")[2]
  finish(second, -signal.SIGKILL)


@contextlib.contextmanager
def hangup(action):
  """What processes that are started within do on SIGHUP."""
  before = signal.signal(signal.SIGHUP, action)
  try:
    yield
  finally:
    signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_saves(tmp_path, data_dir):
  with hangup(signal.SIG_DFL):  # Also where the tests run under nohup.
    process = start(tmp_path, data_dir, *ENDLESS)
  wait_for(process, "step")
  process.send_signal(signal.SIGHUP)
  assert "SIGHUP: saved step" in finish(process, 42)


def test_a_run_under_nohup_outlives_its_terminal(tmp_path, data_dir):
  with hangup(signal.SIG_IGN):  # As nohup does.
    process = start(tmp_path, data_dir, *ENDLESS)
  wait_for(process, "step")
  process.send_signal(signal.SIGHUP)
  for _ in range(3):
    wait_for(process, "step")
  process.send_signal(signal.SIGTERM)
  text = finish(process, 42)
  assert "SIGTERM: saved step" in text and "SIGHUP" not in text


def list_workers(process):
  """Numbers of the processes that read for a run."""
  threads = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
  return [
    int(pid)
    for children in threads
    for pid in children.read_text().split()
    if "spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()
  ]


def test_a_killed_worker_ends_a_run_in_one_message(tmp_path, data_dir):
  process = start(tmp_path, data_dir, *ENDLESS, "--config.data.workers=2")
  wait_for(process, "step")
  workers = list_workers(process)
  assert len(workers) == 2
  os.kill(workers[0], signal.SIGKILL)
  text = finish(process, 2)
  assert "signal 9 (SIGKILL)" in text and "data.workers=2" in text
  for word in ("Traceback", "resource_tracker", "leaked", "Warning"):
    assert word not in text


def test_a_run_never_looks_for_tensorflow(tmp_path, data_dir):
  """A TensorFlow that tells when it is imported stands first in the path."""
  package = tmp_path / "path" / "tensorflow"
  package.mkdir(parents=True)
  told = tmp_path / "imported"
  (package / "__init__.py").write_text(
    f"open({str(told)!r}, 'w').close()\nraise ImportError('not today')\n"
  )
  environment = dict(PYTHONPATH=str(tmp_path / "path"))
  flags = ["--config.train.steps=2"]
  finish(start(tmp_path / "run", data_dir, *flags, **environment))
  assert not told.exists()
  probe = [sys.executable, "-c", "import tensorflow"]
  subprocess.run(probe, env=os.environ | environment, capture_output=True)
  assert told.exists(), "the trap works"
