# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The runs of a study, each a process of `python -m vit_jax.main`."""

import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.storage.untrusted import load_json

TITLES = "accuracy  correct/total  loss    seconds"


def train(
  name: str, recipe: str, workdir: epath.Path, flags: Sequence[str]
) -> dict[str, Any]:
  """Trains a recipe, unless it is trained already, and returns result.json.

  A run that fails ends the study with its exit status.

  Args:
    name: name of the run, for people.
    recipe: FILE[:key=value,...].
    workdir: directory of the run.
    flags: further flags of vit_jax.main.
  """
  print(f"{name}: {workdir}", file=sys.stderr, flush=True)
  command = [sys.executable, "-m", "vit_jax.main"]
  command += [f"--config={recipe}", f"--workdir={workdir}", *flags]
  status = wait(subprocess.Popen(command))
  if status:
    sys.exit(status)
  return load_json(workdir / "result.json")


def wait(process: subprocess.Popen) -> int:
  """Waits until a process ends, and returns its exit status.

  It is not cut short: Ctrl-C reaches the process too and SIGTERM is passed on
  to it, upon which it saves and ends.
  """
  before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
  try:
    while True:
      try:
        return process.wait()
      except KeyboardInterrupt:
        continue
  finally:
    signal.signal(signal.SIGTERM, before)


def format_rows(
  title: str, rows: Iterable[tuple[Any, Mapping[str, Any]]]
) -> list[str]:
  """Formats runs, given as (name, result.json), as lines of a table."""
  rows = [(str(name), result) for name, result in rows]
  width = max(len(name) for name, _ in [(title, None), *rows])
  lines = [f"{title:{width}}  {TITLES}"]
  for name, result in rows:
    counted = f"{result['correct']}/{result['total']}"
    lines.append(
      f"{name:{width}}  {result['accuracy']:8.2%}  {counted:>13}  "
      f"{result['loss']:.4f}  {result['seconds']:7.1f}"
    )
  return lines
