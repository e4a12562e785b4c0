# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run that fails before its first step leaves no workdir behind."""

import contextlib
import os
from types import TracebackType

from etils import epath

from vit_jax.config.errors import ConfigError, Preempted
from vit_jax.storage.paths import expand, is_local

LOCK = "lock.json"  # Its holder removes it.


class FailedStart:
  """Removes what a start has made of a workdir; a context manager.

  Only of a directory that was not there, or was empty, and only if an error
  ends the run before its first step. A run that was asked to end leaves its
  files, as the same command follows.

  Attributes:
    over: whether the run has started, so that nothing is removed any more.
  """

  def __init__(self, name: str, enabled: bool):
    """Looks at what is there.

    Args:
      name: path of the workdir, as the user gave it.
      enabled: False on all hosts but the first.
    """
    self.over = not (enabled and name)
    self._made: list[epath.Path] = []
    if self.over:
      return
    try:
      self._path = path = expand(name)
      self.over = path.exists() and any(path.iterdir())
      while not path.exists() and path != path.parent:
        self._made.append(path)
        path = path.parent
    except ConfigError:
      raise
    except Exception:  # Of a store or a disk; explained where it is used.
      self.over = True

  def __enter__(self) -> "FailedStart":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Removes the directories that were made, if they are empty."""
    if self._has_failed(error):
      with contextlib.suppress(Exception):  # The error itself is reported.
        for path in self._made:
          # Path.rmdir looks first, and then removes all that came meanwhile.
          os.rmdir(path) if is_local(path) else path.rmdir()

  def clear(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    """Empties the workdir; to be called while its lock is held."""
    if not self._has_failed(error):
      return
    with contextlib.suppress(Exception):
      for path in self._path.iterdir():
        if path.is_dir():
          path.rmtree()
        elif path.name != LOCK:
          path.unlink()

  def _has_failed(self, error: BaseException | None) -> bool:
    asked = isinstance(error, Preempted)
    return isinstance(error, Exception) and not asked and not self.over
