# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The time that saving and restoring a checkpoint takes."""

import dataclasses
import time
from typing import Any

import jax
from etils import epath

from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.checkpoint.directory import sync
from vit_jax.experiment import Experiment


@dataclasses.dataclass(frozen=True)
class Report:
  """Measured times, in seconds.

  Attributes:
    model: name of the model.
    bytes: size of the state.
    plain: to write as many bytes to a file and flush them to the disk.
    blocked: from the start of a save until training can go on.
    saved: from its start until the checkpoint is complete and on the disk.
    verified: from its start until it is read back and its checksums are right.
    restored: to read the checkpoint onto the mesh and check it.
  """

  model: str
  bytes: int
  plain: float
  blocked: float
  saved: float
  verified: float
  restored: float

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON."""
    return dataclasses.asdict(self)

  def __str__(self) -> str:
    def format_row(name, seconds, text):
      speed = self.bytes / seconds / 1e6
      ratio = seconds / self.plain
      return (
        f"{name:9} {seconds:8.2f} s {speed:8,.0f} MB/s {ratio:6.2f}  {text}"
      )

    return "\n".join(
      [
        f"{self.model}: a state of {self.bytes / 1e6:,.0f} MB",
        "",
        "             time       speed  ratio to a plain file",
        format_row("plain", self.plain, "one file, and the disk holds it"),
        format_row("blocked", self.blocked, "the loop stands still"),
        format_row("saved", self.saved, "complete and on the disk"),
        format_row(
          "verified", self.verified, "read back and sound; old ones may go"
        ),
        format_row("restored", self.restored, "read onto the mesh and sound"),
      ]
    )


def measure(exp: Experiment, directory: epath.Path) -> Report:
  """Measures saving and restoring the state of an experiment.

  Args:
    exp: the experiment.
    directory: a new directory with room for three checkpoints; it is removed.
  """
  state = exp.make_state()
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  directory.mkdir(parents=True)
  try:
    plain = time_plain_write(directory / "plain", size)
    options = CheckpointOptions(keep=1)
    with Checkpointer(directory / "steps", options) as checkpointer:
      checkpointer.save(0, state)  # Compiles the checksums.
      checkpointer.finish()
      began = time.perf_counter()
      checkpointer.save(1, state)
      blocked = time.perf_counter() - began
      checkpointer.save(1, state, wait=True)
      saved = time.perf_counter() - began
      checkpointer.finish()
      verified = time.perf_counter() - began
    with Checkpointer(directory / "steps", options) as checkpointer:
      began = time.perf_counter()
      jax.block_until_ready(checkpointer.restore(exp.abstract_state))
      restored = time.perf_counter() - began
  finally:
    directory.rmtree()
  return Report(
    model=exp.config["model"]["variant"],
    bytes=size,
    plain=plain,
    blocked=blocked,
    saved=saved,
    verified=verified,
    restored=restored,
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
