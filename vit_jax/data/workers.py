# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Worker processes that read and decode: their start, and their failures."""

import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

from vit_jax.data.info import DataError

UNGUARDED = 78  # Exit status of a worker that would train.

# The usual cause of a signal.
CAUSES = {
  signal.SIGKILL: "the machine may be out of memory",
  signal.SIGBUS: "/dev/shm may be full: a container needs more of it, as "
  "docker's --shm-size=8g",
}


@contextlib.contextmanager
def shielding() -> Iterator[None]:
  """Processes that are started meanwhile ignore Ctrl-C and a closed terminal.

  Both reach every process of a terminal, and the run may still need these. One
  that could only ignore them after its imports would end before, with a trace.
  """
  # As Python starts it with the first process, it takes the next line back.
  resource_tracker.ensure_running()
  # A new process has the mask of the thread that starts it; so has a thread.
  before = signal.pthread_sigmask(
    signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP)
  )
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent(*_: int) -> None:
  """Ends this process, of multiprocessing, when the one that started it ends.

  That may be killed, and cannot end it then; it would wait for work for ever.
  """
  threading.Thread(target=_end_with_parent, daemon=True).start()


def check_worker() -> None:
  """Ends a worker that would train: it has imported a script without a guard.

  A worker imports the script that started it, so what trains there would start
  other workers. The run says so once, in `watch`, for all of its workers.
  """
  if getattr(multiprocessing.current_process(), "_inheriting", False):
    os._exit(UNGUARDED)


def quiet_tracker() -> None:
  """Keeps Python from warning of shared memory that a killed worker left.

  The process that cleans it up is started with the first worker, and prints
  what it has cleaned up as a leak.
  """
  sys.warnoptions.append("ignore:resource_tracker:UserWarning")


def _end_with_parent() -> None:
  multiprocessing.parent_process().join()
  os._exit(1)


def watch(batches: Iterator[Any], workers: int) -> Iterator[Any]:
  """Yields the same batches, and raises one clear error if a worker dies.

  Args:
    batches: batches of Grain, which takes one from each worker in turn.
    workers: number of workers.

  Raises:
    DataError: if a worker has died, within seconds, at its next turn.
  """
  with contextlib.closing(batches):  # Frees shared memory.
    for number in itertools.count():
      # All workers are started for the first batch.
      shield = contextlib.nullcontext() if number else shielding()
      try:
        with shield:
          batch = next(batches)
      except StopIteration:
        return
      except RuntimeError as error:
        found = re.search(r"terminated.* with exit code (-?\d+)", str(error))
        if found is None:
          raise
        if int(found[1]) == UNGUARDED:
          raise DataError(describe_unguarded()) from None
        raise DataError(
          f"worker process {number % workers} of data.workers={workers} "
          f"{describe_end(int(found[1]))}\n"
          f"  to save memory, use fewer workers, --config.data.workers=N (0 "
          f"reads in threads of the run), or threads, --config.data.threads=N"
        ) from error
      yield batch


def describe_unguarded() -> str:
  """Describes why workers cannot import the script that started them."""
  script = getattr(sys.modules.get("__main__"), "__file__", "the script")
  return (
    f"{script} trains when a worker of data.workers imports it: put what "
    f"trains below `if __name__ == '__main__':`, or set data.workers=0"
  )


def describe_end(code: int) -> str:
  """Describes the end of a process.

  Args:
    code: exit status; minus the number of a signal.
  """
  if code >= 0:
    return f"ended with status {code}: see its output above"
  number = signal.Signals(-code)
  cause = CAUSES.get(number, "see the system's log")
  return f"was killed by signal {-code} ({number.name}): {cause}"
