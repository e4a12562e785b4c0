# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs in processes of their own: two that share a run, and one that
watches what is imported."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def start(workdir, data_dir, *flags, **environment):
  """Starts a short run on the digits as a user would."""
  command = [sys.executable, "-m", "vit_jax.main"]
  command += ["--config=configs/digits.py", f"--workdir={workdir}"]
  command += [f"--config.data.dir={data_dir}", "--config.model.depth=1"]
  command += ["--config.train.batch_size=32", "--config.optim.warmup_steps=1"]
  return subprocess.Popen(
    [*command, *flags],
    cwd=ROOT,
    env=os.environ | environment,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process):
  _, text = process.communicate(timeout=240)
  assert process.returncode == 0, text
  return text


def read_run(workdir):
  result = json.loads((workdir / "result.json").read_text())
  rows = (workdir / "metrics.jsonl").read_text().splitlines()
  return result, [json.loads(row) for row in rows]


def test_two_processes_do_what_one_does(tmp_path, data_dir):
  flags = ["--config.train.steps=4", "--config.train.log_every=1"]
  finish(start(tmp_path / "one", data_dir, *flags))
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  processes = [
    start(
      tmp_path / "two",
      data_dir,
      *flags,
      JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
      JAX_NUM_PROCESSES="2",
      JAX_PROCESS_ID=str(index),
    )
    for index in range(2)
  ]
  texts = [finish(process) for process in processes]
  assert "fsdp 2" in texts[0] and "step" not in texts[1]
  one, one_rows = read_run(tmp_path / "one")
  two, two_rows = read_run(tmp_path / "two")
  assert two["total"] == 360 and two["correct"] == one["correct"]
  assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
  assert len(one_rows) == len(two_rows) == 5
  for a, b in zip(one_rows, two_rows, strict=True):
    a.pop("images_per_second", None), b.pop("images_per_second", None)
    assert a == pytest.approx(b, rel=1e-6)


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
