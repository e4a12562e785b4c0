# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs in processes of their own: two that share a run, and one that
watches what is imported."""

import json
import os
import pathlib
import shutil
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


def run_together(count, workdir, data_dir, *flags):
  """Runs one run in so many processes; what each of them said."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  processes = [
    start(
      workdir,
      data_dir,
      *flags,
      JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
      JAX_NUM_PROCESSES=str(count),
      JAX_PROCESS_ID=str(index),
    )
    for index in range(count)
  ]
  return [finish(process) for process in processes]


def test_two_and_four_processes_do_what_one_does(tmp_path, data_dir):
  """Two from the start; four from the middle of what one has begun."""
  flags = ["--config.train.steps=4", "--config.train.log_every=1"]
  flags += ["--config.checkpoint.every=2"]
  finish(start(tmp_path / "one", data_dir, *flags))
  shutil.copytree(tmp_path / "one", tmp_path / "four")
  shutil.rmtree(tmp_path / "four" / "checkpoints" / "4")
  (tmp_path / "four" / "result.json").unlink()
  one, one_rows = read_run(tmp_path / "one")
  for count, name in ((2, "two"), (4, "four")):
    texts = run_together(count, tmp_path / name, data_dir, *flags)
    assert f"replica {count}" in texts[0]
    assert ("resuming after step 2" in texts[0]) == (count == 4)
    assert not any("step" in text for text in texts[1:])
    result, rows = read_run(tmp_path / name)
    assert result["total"] == 360 and result["correct"] == one["correct"]
    assert result["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert len(rows) == len(one_rows) == 5
    for a, b in zip(one_rows, rows, strict=True):
      for speed in ("images_per_second", "data_wait"):
        a.pop(speed, None), b.pop(speed, None)
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
