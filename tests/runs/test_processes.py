# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs in processes of their own: several that share a run, and one that
watches what is imported."""

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath

from tests.support import build
from tests.support.processes import (
  ENDLESS,
  NAME,
  finish,
  read_run,
  start,
  start_together,
  wait_for,
)
from tests.support.runs import get_timeless, list_workers
from tests.support.shared import make_once
from vit_jax.checkpoint import Checkpointer, load_params
from vit_jax.plots.examined import load_mistakes
from vit_jax.train_state import compute_digest


def read_examined(workdir):
  """Path, label and class of every image; probabilities; images, rollouts."""
  directory = workdir / "evaluation"
  with (directory / "predictions.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  found = load_mistakes(epath.Path(directory))
  table = [(x["path"], x["label"], x["prediction"]) for x in rows]
  chances = [float(x["probability"]) for x in rows]
  return table, np.array(chances), np.stack(found.images), np.stack(found.maps)


FLAGS = [
  *("--config.train.steps=4", "--config.train.log_every=1"),
  # Parameters that are sharded over processes, too; each reads what it holds.
  *("--config.checkpoint.every=2", "--config.mesh.fsdp=-1"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
  """A directory with a run of one process, `one`, and of two, `two`."""

  def train(directory):
    flags = [*FLAGS, "--config.train.report=True"]
    texts = [finish(start(directory / "one", data_dir, *flags))]
    together = start_together(2, directory / "two", data_dir, *flags)
    texts += [finish(process) for process in together]
    (directory / "said.json").write_text(json.dumps(texts))

  return make_once(tmp_path_factory, "runs_of_one_and_two", train)


def check_same(workdir, expected):
  """A run is that of one process: what it computed of the same examples."""
  one, one_rows = read_run(expected)
  result, rows = read_run(workdir)
  assert result["total"] == 360 and result["correct"] == one["correct"]
  assert result["loss"] == pytest.approx(one["loss"], rel=1e-6)
  rows, one_rows = get_timeless(rows), get_timeless(one_rows)
  assert len(rows) == len(one_rows) == 5
  for a, b in zip(one_rows, rows, strict=True):
    assert a == pytest.approx(b, rel=1e-6)


def test_two_processes_do_what_one_does(trained):
  one, two = trained / "one", trained / "two"
  check_same(two, one)
  _, first, second = json.loads((trained / "said.json").read_text())
  assert "fsdp 2" in first and "step" not in second
  examined, alone = read_examined(two), read_examined(one)
  assert examined[0] == alone[0] and len(alone[0]) == 360
  for a, b in zip(alone[1:], examined[1:], strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)
  text = (two / "report.html").read_text()
  assert ">Classes<" in text and ">Worst mistakes<" in text


def test_one_restores_what_two_have_saved(trained):
  config = json.loads((trained / "two" / "config.json").read_text())
  for name in ("hardware", "versions", "sha256"):
    del config[name]
  exp = build(config, jax.devices()[:1])
  directory = epath.Path(trained / "two" / "checkpoints")
  with Checkpointer(directory, exp.checkpoint) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  result, _ = read_run(trained / "two")
  assert compute_digest(state.params) == result["params_sha256"]


def test_four_processes_go_on_with_the_run_of_one(trained, tmp_path, data_dir):
  shutil.copytree(trained / "one", tmp_path / "four")
  shutil.rmtree(tmp_path / "four" / "checkpoints" / "4")
  (tmp_path / "four" / "result.json").unlink()
  processes = start_together(4, tmp_path / "four", data_dir, *FLAGS)
  texts = [finish(process) for process in processes]
  assert "fsdp 4" in texts[0] and "resuming after step 2" in texts[0]
  assert not any("step" in text for text in texts[1:])
  check_same(tmp_path / "four", trained / "one")


def test_all_hosts_go_back_where_one_cannot_read(trained, tmp_path, data_dir):
  workdir = tmp_path / "run"
  shutil.copytree(trained / "two", workdir)
  result, rows = read_run(workdir)
  newest = workdir / "checkpoints" / "4" / "state" / "ocdbt.process_1"
  files = [path for path in newest.rglob("*") if path.is_file()]
  assert files
  for path in files:
    path.write_bytes(b"")
  (workdir / "result.json").unlink()
  processes = start_together(2, workdir, data_dir, *FLAGS)
  first, second = (finish(process) for process in processes)
  text = "the checkpoint of step 4 is damaged: "
  assert text in first and f"(host 1 ({NAME}))" in first
  assert "going back to step 2" in first and "resuming after step 2" in first
  assert "going back to step 2" in second
  again, rows_again = read_run(workdir)
  assert again["params_sha256"] == result["params_sha256"]
  assert [row["step"] for row in rows_again] == [row["step"] for row in rows]
  # The damaged one was written again.
  assert load_params(epath.Path(workdir) / "checkpoints")


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


def test_a_killed_worker_ends_a_run_in_one_message(tmp_path, data_dir):
  process = start(tmp_path, data_dir, *ENDLESS, "--config.data.workers=2")
  wait_for(process, "step")
  workers = list_workers(process.pid)
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
