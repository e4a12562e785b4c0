# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Watchdog: ends all hosts of a run when one of them is lost, stuck or failed.

Every two seconds each host writes a heartbeat, with what it is doing, to the
key-value store, and reads those of the others. When one is lost, has failed or
makes no progress, all end within a bounded time; those that are left name it,
print their stacks and exit with status 43. A run of one host watches itself as
long as Python runs: a library that never releases the GIL is noticed only by
other hosts.
"""

import contextlib
import ctypes
import dataclasses
import faulthandler
import itertools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax

from vit_jax.config import (
  BAD_CONFIG,
  INTERRUPTED,
  WATCHDOG,
  ConfigError,
  RunError,
)
from vit_jax.config.errors import NonFiniteError, Preempted
from vit_jax.hosts.coordination import Hosts, Timeouts, is_coordinator_reachable
from vit_jax.hosts.preemption import exit_at_once

STARTING = 6.0  # Times progress_timeout, for all that precedes the first step.


@dataclasses.dataclass
class Heartbeat:
  """The last heartbeat of a host.

  Attributes:
    number: sequence number.
    marks: number of `Watchdog.mark` calls so far. All hosts make the same calls
      in the same order, so the host with the fewest is the one waited for.
    doing: current activity, for messages.
    factor: multiple of `progress_timeout` that it may take.
    idle: seconds since the last mark, when the heartbeat was sent.
    failure: error that is about to end the host, if any.
    done: True in the last heartbeat of a run that is over.
    received: time of arrival in seconds, on the clock of `Watchdog`.
  """

  number: int = 0
  marks: int = 0
  doing: str = "starting"
  factor: float = STARTING
  idle: float = 0.0
  failure: str | None = None
  done: bool = False
  received: float = 0.0


class Watchdog:
  """Wraps a run: ends this host if it is stuck or another one is lost."""

  def __init__(self, hosts: Hosts, timeouts: Timeouts):
    """Starts nothing yet; see `__enter__`."""
    self._hosts, self._index = hosts, hosts.index
    self._heartbeat_timeout = timeouts.heartbeat_timeout
    self._progress_timeout = timeouts.progress_timeout
    # A host is lost when at least twelve heartbeats in a row are.
    bound = min(
      self._heartbeat_timeout, self._progress_timeout or self._heartbeat_timeout
    )
    self._interval = min(2.0, bound / 12)
    self._suspended = 0.0
    self._heartbeats = [
      Heartbeat(received=self._now()) for _ in range(hosts.count)
    ]
    self._progress = Heartbeat(received=self._now())
    self._failure = None
    self._done = threading.Event()
    self._ending = threading.Lock()
    self._threads = []

  def __enter__(self):
    tasks: list[Callable[[], None]] = [self._watch]
    if self._hosts.count > 1:
      tasks.append(self._exchange)
      self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._on_abort)
      handler = ctypes.cast(self._handler, ctypes.c_void_p)
      self._previous = _set_abort_handler(handler)
    for task in tasks:
      self._threads.append(threading.Thread(target=task, daemon=True))
      self._threads[-1].start()
    return self

  def __exit__(self, *error: Any) -> None:
    self.fail(*error)
    self._done.set()
    for thread in self._threads:
      thread.join(self._heartbeat_timeout)
    if self._hosts.count > 1:
      faulthandler.cancel_dump_traceback_later()
      _set_abort_handler(self._previous)

  def mark(self, doing: str, factor: float = 1.0) -> None:
    """Records progress.

    Args:
      doing: next activity, for messages.
      factor: multiple of `progress_timeout` that it may take.
    """
    marks = self._progress.marks + 1
    self._progress = Heartbeat(0, marks, doing, factor, received=self._now())

  def fail(self, _: Any, error: BaseException | None, *__: Any) -> None:
    """Ends this host on an error of its own; takes the arguments of `__exit__`.

    Closing checkpoints and jax.distributed would wait for the other hosts. An
    error may be caused by the loss of another host, so the watchdog is first
    given time to detect that.
    """
    # All hosts raise these at the same step, so none waits for another.
    together = error is None or isinstance(error, Preempted | NonFiniteError)
    if together or self._hosts.count == 1:
      return
    kind = type(error).__name__
    # After a failure of another kind elsewhere, this one is its consequence.
    causes = [
      index
      for index in self._list_failed()
      if not self._heartbeats[index].failure.startswith(f"{kind}: ")
    ]
    self._failure = f"{kind}: {error}"
    if isinstance(error, KeyboardInterrupt):
      self._end(INTERRUPTED)
    if isinstance(error, ConfigError):
      self._end(BAD_CONFIG, f"error: {error}")
    if isinstance(error, RunError):
      print(f"error: {error}", file=sys.stderr, flush=True)
    else:
      traceback.print_exception(error)
    until = self._now() + self._heartbeat_timeout + 2 * self._interval
    while self._now() < until:
      if len(self._list_failed()) == self._hosts.count - 1:
        break
      time.sleep(self._interval)
    if causes:
      self._end(WATCHDOG, self._describe_failed(causes))
    self._end(1)

  def _now(self) -> float:
    """Returns seconds on a clock that stops while the process is suspended."""
    return time.monotonic() - self._suspended

  def _exchange(self) -> None:
    """Writes heartbeats, and reads those of the other hosts."""
    client, key = self._hosts.client, f"{self._hosts.prefix}/beats"
    for number in itertools.count(1):
      done = self._done.is_set()
      beat = self._age(self._progress)
      beat.number, beat.failure, beat.done = number, self._failure, done
      text = json.dumps(dataclasses.asdict(beat))
      # An error is a missing heartbeat, which `_check_others` deals with.
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        client.key_value_set(f"{key}/{self._index}", text, allow_overwrite=True)
        for path, text in client.key_value_dir_get(f"{key}/"):
          self._receive(
            int(path.rpartition("/")[2]), Heartbeat(**json.loads(text))
          )
      if done:
        return
      self._done.wait(self._interval)

  def _receive(self, index: int, beat: Heartbeat) -> None:
    """Keeps the heartbeat of a host; one with a failure is its last."""
    last = self._heartbeats[index]
    if beat.number == last.number or (last.failure and index != self._index):
      return
    beat.received = self._now()
    if beat.failure:  # A host that was lost before it is to be named first.
      beat.received += 4 * self._interval
    self._heartbeats[index] = beat

  def _watch(self) -> None:
    """Ends this host when it is stuck, or another one is lost."""
    last = time.monotonic()
    while not self._done.wait(self._interval):
      tick = time.monotonic()
      # Time suspended by Ctrl-Z, or a laptop's sleep, is not idle time.
      self._suspended += max(0.0, tick - last - 2 * self._interval)
      last = tick
      if self._hosts.count > 1:
        # If the GIL is never released, only C can end this process. Its clock
        # does not stop, so a longer suspension ends the process as well.
        faulthandler.dump_traceback_later(
          2 * self._heartbeat_timeout, exit=True
        )
        self._check_others()
      if self._progress_timeout and not self._failure:
        self._check_progress(self._progress_timeout)

  def _check_others(self) -> None:
    """Ends this host if another one sends no heartbeat, or has failed."""
    now = self._now()
    silent = [
      index
      for index, beat in enumerate(self._heartbeats)
      if not beat.done and now - beat.received > self._heartbeat_timeout
    ]
    if self._index in silent:  # Its own are missing too: host 0 serves them.
      silent = [0]
    if not silent:
      return
    if failed := [index for index in silent if self._heartbeats[index].failure]:
      self._end(WATCHDOG, self._describe_failed(failed))
    who = self._hosts.describe(silent)
    text = f"lost: {who}: no heartbeat for {self._heartbeat_timeout:g} s"
    self._end(WATCHDOG, text)

  def _list_failed(self) -> list[int]:
    """Lists the other hosts that have reported a failure."""
    return [
      index
      for index, beat in enumerate(self._heartbeats)
      if beat.failure and index != self._index
    ]

  def _describe_failed(self, indices: Sequence[int]) -> str:
    """Formats the failures of hosts, each error once."""
    failures = dict.fromkeys(
      self._heartbeats[index].failure for index in indices
    )
    return f"failed: {self._hosts.describe(indices)}: {'; '.join(failures)}"

  def _check_progress(self, limit: float) -> None:
    """Ends this host if neither it nor the host it waits for makes progress."""
    mine = self._age(self._progress)
    if mine.idle <= mine.factor * limit:
      return
    index, last = self._rank()[0]
    if last.idle > last.factor * limit:
      self._end(
        WATCHDOG,
        f"stuck: {self._hosts.describe([index])}: {last.doing}, for "
        f"{last.idle:.0f} s (limit {last.factor * limit:g} s: "
        f"{last.factor:g} x hosts.progress_timeout={limit:g})",
      )

  def _age(self, beat: Heartbeat) -> Heartbeat:
    """Returns a heartbeat with `idle` counted up to now."""
    idle = beat.idle + max(0.0, self._now() - beat.received)
    return dataclasses.replace(beat, idle=idle)

  def _rank(self) -> list[tuple[int, Heartbeat]]:
    """Sorts (host, its heartbeat as of now), the host furthest behind first."""
    rows = [
      (index, self._age(beat))
      for index, beat in enumerate(self._heartbeats)
      if index != self._index and not beat.done
    ]
    rows.append((self._index, self._age(self._progress)))
    return sorted(rows, key=lambda row: (row[1].marks, -row[1].idle))

  def _on_abort(self, _: int) -> None:
    """Handles SIGABRT: jaxlib aborts when host 0 no longer answers."""
    if failed := self._list_failed():
      self._end(WATCHDOG, self._describe_failed(failed))
    if not is_coordinator_reachable():
      who = self._hosts.describe([0])
      self._end(
        WATCHDOG, f"lost: {who}: its coordination service does not answer"
      )

  def _end(self, status: int, text: str = "") -> None:
    """Ends this process without clean-up, after a message and a last heartbeat.

    Args:
      status: exit status; with WATCHDOG all activities and stacks are printed.
      text: message for standard error.
    """
    if not self._ending.acquire(blocking=False):
      threading.Event().wait()  # Another thread ends this process.
    # The others must receive the failure first; host 0 also serves the store.
    pause = (4 if self._index == 0 else 2) * self._interval
    if self._hosts.count == 1:
      pause = 0.0
    # Writing to standard error may hang as well.
    timer = threading.Timer(pause + 10, os._exit, [status])
    timer.daemon = True
    timer.start()
    self._failure = self._failure or text
    if text:
      print(text, file=sys.stderr, flush=True)
    if status == WATCHDOG:
      self._print_state()
    time.sleep(pause)
    exit_at_once(status)

  def _print_state(self) -> None:
    """Prints the activity of every host and the stacks of this one."""
    lines = [
      f"  {self._hosts.describe([index])}: {beat.doing}, for {beat.idle:.0f} s"
      for index, beat in self._rank()[:8]
    ]
    lines.append("  the same command continues the run")
    lines.append(f"stacks of {self._hosts.describe([self._index])}:")
    print("\n".join(lines), file=sys.stderr, flush=True)
    faulthandler.dump_traceback(2, all_threads=True)


def _set_abort_handler(handler: Any) -> Any:
  """Sets the handler of SIGABRT in C; Python's would run too late.

  Args:
    handler: pointer to a C function.

  Returns:
    The previous handler.
  """
  set_handler = ctypes.CDLL(None).signal
  set_handler.argtypes = [ctypes.c_int, ctypes.c_void_p]
  set_handler.restype = ctypes.c_void_p
  return set_handler(signal.SIGABRT, handler)
