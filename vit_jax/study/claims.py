# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Claims of runs, by which several processes share a study.

A run holds its directory only some seconds after its process was started. Two
studies that begin together would start the same run, of which one waits for the
other, and so on with each further one.
"""

import contextlib
import os
from collections.abc import Iterator

from etils import epath

from vit_jax.config import ConfigError, RunError
from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime.lock import WorkdirLock, is_dead, is_held, read_holder
from vit_jax.runtime.workdir import writing
from vit_jax.storage.paths import is_local


@contextlib.contextmanager
def claiming(workdir: epath.Path) -> Iterator[bool]:
  """Claims a run, in a directory beside its own, until the block ends.

  Takes seconds if another machine has it, or had it and was lost.

  Args:
    workdir: of the run.

  Yields:
    Whether no other living process has claimed it or trains it.
  """
  place = locate_claim(workdir)
  with contextlib.ExitStack() as stack:
    free = True
    try:
      with writing(place, ""):
        place.mkdir(parents=True, exist_ok=True)
      stack.callback(_remove, place)
      lock = WorkdirLock(place, Hosts(), lambda _: None, patience=0.0)
      stack.enter_context(lock)
      free = not is_held(workdir)
      lock.check()
    except ConfigError:  # Another process has it.
      free = False
    except RunError:  # Nothing can be written: the run says why.
      free = not is_held(workdir)
    yield free


def tidy(workdir: epath.Path) -> None:
  """Removes the claim of a run if the process that had it was killed.

  That of another machine stays, as it takes seconds to find out.

  Args:
    workdir: of the run.
  """
  place = locate_claim(workdir)
  # Of a store clients raise exceptions of any kind; it may stay.
  with contextlib.suppress(Exception):
    found = read_holder(place / "lock.json")
    if found is not None and is_dead(found):
      (place / "lock.json").unlink()
      _remove(place)


def locate_claim(workdir: epath.Path) -> epath.Path:
  """The directory of a run's claim, which is beside the run's own."""
  return workdir.with_name(f".{workdir.name}.claim")


def _remove(place: epath.Path) -> None:
  """Removes a directory, and the one around it, if they are empty."""
  if is_local(place):  # A store has none.
    with contextlib.suppress(OSError):
      os.rmdir(place)
      os.rmdir(place.parent)
