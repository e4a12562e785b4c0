# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs in processes of their own, and what is left of them."""

import json
import os
import queue
import re
import socket
import subprocess
import threading

import pytest

from tests.support import ROOT
from tests.support.forked import Forked

NAME = socket.gethostname()
ENDLESS = ["--config.train.steps=100000", "--config.train.log_every=1"]


class Heard(Forked):
  """A process whose standard error is read as it comes.

  Otherwise one of several that says much waits until it is its turn to be read,
  and those of its run wait for it.
  """

  def __init__(self, command, **options):
    super().__init__(command, stderr=subprocess.PIPE, text=True, **options)
    self._lines = queue.SimpleQueue()
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def _read(self):
    for line in self.stderr:
      self._lines.put(line)
    self._lines.put(None)

  def __iter__(self):
    """Yields the lines that nobody has read yet, to the end."""
    while (line := self._lines.get()) is not None:
      yield line
    self._lines.put(None)


def start(workdir, data_dir, *flags, fresh=False, **environment):
  """Starts a short run on the digits as a user would.

  How it fits into memory is given: to estimate that traces the model twice. It
  draws no report, a third of its time, unless a flag says so. Only a fresh
  process imports what it needs.
  """
  command = ["-m", "vit_jax.main"]
  command += [f"--config={ROOT}/configs/digits.py", f"--workdir={workdir}"]
  command += [f"--config.data.dir={data_dir}", "--config.model.depth=1"]
  command += ["--config.train.batch_size=32", "--config.optim.warmup_steps=1"]
  command += ["--config.train.accumulate=1", "--config.model.remat=none"]
  command += ["--config.train.report=False"]
  environment = os.environ | environment
  return Heard([*command, *flags], fresh=fresh, env=environment)


def finish(process, status=0):
  """Waits for the end of a process, and returns what nobody has read of it."""
  try:
    process.wait(240)
  except subprocess.TimeoutExpired:
    process.kill()
    pytest.fail(f"it has not ended: {''.join(process)}")
  text = "".join(process)
  assert process.returncode == status, text
  return text


def read_run(workdir):
  result = json.loads((workdir / "result.json").read_text())
  rows = (workdir / "metrics.jsonl").read_text().splitlines()
  return result, [json.loads(row) for row in rows]


def start_together(count, workdir, data_dir, *flags, own=(), **environment):
  """Starts one run in so many processes.

  The last has some flags of its own.
  """
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  return [
    start(
      workdir,
      data_dir,
      *flags,
      *(own if index == count - 1 else ()),
      **environment,
      JAX_COORDINATOR_ADDRESS=f"localhost:{port}",
      JAX_NUM_PROCESSES=str(count),
      JAX_PROCESS_ID=str(index),
    )
    for index in range(count)
  ]


def wait_for(process, text):
  """Reads what a run says until a line starts so."""
  lines = []
  for line in process:
    lines.append(line)
    if line.startswith(text):
      return
  pytest.fail(f"ended before {text!r}: {''.join(lines)}")


def check_saved(text, workdir, cause="SIGTERM"):
  """The step that a message names, after a look at what is on disk."""
  found = re.search(
    rf"^{re.escape(cause)}: saved step (\d+) in {workdir} (\d+\.\d) s after ",
    text,
    re.MULTILINE,
  )
  assert found, text
  assert float(found[2]) < 30
  step = int(found[1])
  names = [path.name for path in (workdir / "checkpoints").iterdir()]
  assert all(map(str.isdecimal, names)), "nothing half-written"
  assert max(map(int, names)) == step
  assert not (workdir / "result.json").exists()
  rows = [row for row in read_rows(workdir) if "loss" in row]
  assert [row["step"] for row in rows] == list(range(1, step + 1))
  return step


def read_rows(workdir):
  text = (workdir / "metrics.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]
