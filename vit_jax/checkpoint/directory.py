# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The directory of checkpoints: listing, deleting and choosing them."""

import contextlib
import dataclasses
import logging
import math
import os
import pathlib
import re
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.config import ConfigError, Count
from vit_jax.storage.paths import is_local

log = logging.getLogger(__name__)

# Names that Orbax uses.
METADATA = "_CHECKPOINT_METADATA"
COMMITTED = "commit_success.txt"
TEMPORARY = re.compile(r"\d+\.orbax-checkpoint-tmp.*")

DELETING = re.compile(r"deleting_(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
  """The `checkpoint` section of a config.

  An old checkpoint is deleted once a newer one was read back and is sound, so
  for a while there may be one more than these.

  Attributes:
    every: steps between two checkpoints; None saves at the end only.
    keep: number of the newest checkpoints to keep.
    keep_every: checkpoints whose step is a multiple of it are never deleted.
    keep_best: number of checkpoints to keep with the best value of `best`.
    best: metric as EVALUATION/METRIC, e.g. test/accuracy. Larger is better,
      except for a loss.
  """

  every: Count | None = None
  keep: Count = 2
  keep_every: Count | None = None
  keep_best: Count | None = None
  best: str | None = None

  def __post_init__(self):
    if (self.keep_best is None) != (self.best is None):
      raise ConfigError(
        "checkpoint.keep_best is a number of checkpoints, checkpoint.best the "
        "metric that ranks them, e.g. test/accuracy: set both or neither"
      )


@contextlib.contextmanager
def holding_interrupts() -> Iterator[None]:
  """Puts off Ctrl-C to the end, which Orbax would take for a damaged file.

  A second one is not put off, and neither are those that a run handles itself.
  """
  usual = signal.default_int_handler
  if (
    threading.current_thread() is not threading.main_thread()
    or signal.getsignal(signal.SIGINT) is not usual
  ):
    yield
    return
  held: list[int] = []

  def hold(number: int, frame: Any) -> None:
    if held:
      usual(number, frame)
    held.append(number)

  signal.signal(signal.SIGINT, hold)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, usual)
    if held:
      raise KeyboardInterrupt


def list_steps(directory: epath.Path) -> list[int]:
  """Lists the steps of the complete checkpoints, ascending."""
  if not directory.exists():
    return []
  names = {path.name for path in directory.iterdir()}
  # Half-deleted ones count as deleted.
  steps = {int(name) for name in names if name.isdecimal()}
  steps -= {int(match[1]) for match in map(DELETING.fullmatch, names) if match}
  return sorted(step for step in steps if is_complete(directory / str(step)))


def is_complete(path: epath.Path) -> bool:
  """Returns whether a checkpoint was written to its end.

  On a disk Orbax renames its directory last; on an object store it writes a
  last object.
  """
  return (path / (METADATA if is_local(path) else COMMITTED)).exists()


def delete(directory: epath.Path, step: int) -> None:
  """Deletes a checkpoint; a half-deleted one already counts as deleted."""
  marker = directory / f"deleting_{step}"
  marker.write_text("")
  path = directory / str(step)
  if path.exists():
    path.rmtree()
  marker.unlink()


def sweep(directory: epath.Path) -> None:
  """Removes checkpoints that a killed process left half-written or -deleted."""
  if not directory.exists():  # A store has no empty directories.
    return
  for path in list(directory.iterdir()):
    try:
      if match := DELETING.fullmatch(path.name):
        delete(directory, int(match[1]))
      elif TEMPORARY.fullmatch(path.name) or (
        not is_local(path) and path.name.isdecimal() and not is_complete(path)
      ):
        path.rmtree()
    # It does no harm. Clients of stores have errors of their own.
    except Exception as error:
      log.warning("%s cannot be removed: %s", path, error)


def sync(path: epath.Path) -> None:
  """Makes what was written below a path survive a loss of power."""
  if not is_local(path):
    return
  local = pathlib.Path(path)
  for name in (local.parent, local, *local.rglob("*")):
    file = os.open(name, os.O_RDONLY)
    try:
      os.fsync(file)
    finally:
      os.close(file)


def get_sign(name: str) -> int:
  """Returns 1 for a metric of which more is better, -1 for a loss.

  Args:
    name: EVALUATION/METRIC.
  """
  return -1 if name.endswith("loss") else 1


def choose_old(
  steps: Sequence[int],
  options: CheckpointOptions,
  scores: Mapping[int, float],
  trusted: Collection[int],
  damaged: Collection[int],
) -> list[int]:
  """Chooses the checkpoints to delete: none newer than the newest sound one.

  Args:
    steps: steps of all checkpoints, ascending.
    options: number of checkpoints to keep.
    scores: step -> value of `options.best`, for steps that were evaluated.
    trusted: steps whose checkpoints were read back and are sound.
    damaged: steps whose checkpoints are damaged.

  Returns:
    Steps of the checkpoints to delete; none before one is trusted.
  """
  if not trusted:
    return []
  good = [step for step in steps if step not in damaged]
  keep = set(good[-options.keep :])
  if options.keep_every:
    keep |= {step for step in good if step % options.keep_every == 0}
  if options.keep_best and options.best:
    sign = get_sign(options.best)
    ranked = [
      step for step in good if math.isfinite(scores.get(step, math.nan))
    ]
    ranked.sort(key=lambda step: (sign * scores[step], step))
    keep |= set(ranked[-options.keep_best :])
  newest = max(trusted)
  return [step for step in steps if step < newest and step not in keep]
