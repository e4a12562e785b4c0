# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The time that saving and restoring a checkpoint takes."""

import dataclasses
import time
from typing import Any

import jax
from etils import epath

from vit_jax.benchmark.report import (
  describe_machine,
  format_machine,
  format_table,
)
from vit_jax.benchmark.timing import Spread, make_spread
from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.checkpoint.directory import sync
from vit_jax.experiment import Experiment

MEANINGS = {
  "plain": "one file, and the disk holds it",
  "blocked": "the loop stands still",
  "saved": "complete and on the disk",
  "verified": "read back and sound; old ones may go",
  "restored": "read onto the mesh and sound",
}


@dataclasses.dataclass(frozen=True)
class Report:
  """Measured times, in seconds.

  Attributes:
    model: name of the model.
    machine: of `describe_machine`.
    bytes: size of the state.
    plain: to write as many bytes to a file and flush them to the disk.
    blocked: from the start of a save until training can go on.
    saved: from its start until the checkpoint is complete and on the disk.
    verified: from its start until it is read back and its checksums are right.
    restored: to read the checkpoint onto the mesh and check it.
  """

  model: str
  machine: dict[str, Any]
  bytes: int
  plain: Spread
  blocked: Spread
  saved: Spread
  verified: Spread
  restored: Spread

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON: medians, and their spreads."""
    spreads = {name: getattr(self, name) for name in MEANINGS}
    return {
      "model": self.model,
      "machine": self.machine,
      "bytes": self.bytes,
      **{name: x.median for name, x in spreads.items()},
      "spreads": {name: x.to_json() for name, x in spreads.items()},
    }

  def __str__(self) -> str:
    rows = []
    for name, text in MEANINGS.items():
      seconds: Spread = getattr(self, name)
      speed = self.bytes / seconds.median / 1e6
      ratio = seconds.median / self.plain.median
      cells = [*seconds.format(",.2f"), f"{speed:,.0f}", f"{ratio:.2f}", text]
      rows.append([name, *cells])
    header = ["", "s", "range", "MB/s", "to plain", ""]
    return "\n".join(
      [
        f"{self.model}: a state of {self.bytes / 1e6:,.0f} MB, saved and "
        f"restored {len(self.plain.values)} times",
        format_machine(self.machine),
        "",
        *format_table(header, rows, "<>>>><"),
      ]
    )


def measure(exp: Experiment, directory: epath.Path, repeats: int) -> Report:
  """Measures saving and restoring the state of an experiment.

  Args:
    exp: the experiment.
    directory: a new directory with room for three checkpoints; it is removed.
    repeats: how often.
  """
  state = exp.make_state()
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  directory.mkdir(parents=True)
  options = CheckpointOptions(keep=1)
  found: dict[str, list[float]] = {name: [] for name in MEANINGS}
  try:
    with Checkpointer(directory / "steps", options) as checkpointer:
      checkpointer.save(0, state)  # Compiles the checksums.
      checkpointer.finish()
    for step in range(1, repeats + 1):
      found["plain"].append(time_plain_write(directory / "plain", size))
      with Checkpointer(directory / "steps", options) as checkpointer:
        began = time.perf_counter()
        checkpointer.save(step, state)
        found["blocked"].append(time.perf_counter() - began)
        checkpointer.save(step, state, wait=True)
        found["saved"].append(time.perf_counter() - began)
        checkpointer.finish()
        found["verified"].append(time.perf_counter() - began)
      with Checkpointer(directory / "steps", options) as checkpointer:
        began = time.perf_counter()
        jax.block_until_ready(checkpointer.restore(exp.abstract_state))
        found["restored"].append(time.perf_counter() - began)
  finally:
    directory.rmtree()
  return Report(
    model=exp.config["model"]["variant"],
    machine=describe_machine(list(exp.mesh.devices.flat)),
    bytes=size,
    **{name: make_spread(values) for name, values in found.items()},
  )


def time_plain_write(path: epath.Path, size: int) -> float:
  """Seconds to write `size` zero bytes to a file and flush them to the disk."""
  chunk = bytes(1 << 24)
  began = time.perf_counter()
  with path.open("wb") as file:
    for start in range(0, size, len(chunk)):
      file.write(chunk[: size - start])
  sync(path)
  seconds = time.perf_counter() - began
  path.unlink()
  return seconds
