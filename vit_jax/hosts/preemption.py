# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Preemption: ends a run on SIGTERM, SIGHUP, Ctrl-C or a cloud's notice.

A thread receives signals as they arrive, for the main thread may be inside a
library that does not return for minutes. Before the first step there is nothing
to save, and all hosts exit at once; from then on all of them stop at the same
poll, and save.

jax has a service for this agreement. It is not used: Orbax uses it too, with
numbers of its own, and it does not cover an exit before the first step.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from vit_jax.config import INTERRUPTED, PREEMPTED, ConfigError
from vit_jax.config.errors import NonFiniteError, Preempted
from vit_jax.hosts import preemption_notice

# SIGHUP comes when the terminal of a run is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Questions that all hosts answer alike, before the first step and from then on:
# the request to stop, or None.
STOP_BEFORE_STEPS, STOP = "stop_before_the_first_step", "stop"


def exit_at_once(status: int) -> NoReturn:
  """Ends this process, from any thread, and its data-loading workers."""
  for child in multiprocessing.active_children():
    child.kill()  # Orphans would wait for ever.
  os._exit(status)


class Preemption:
  """A request to stop, kept until all hosts have reached the same poll."""

  def __init__(self, program: bool = False):
    """Prepares one run.

    Args:
      program: True if this process does nothing but the run: signals are
        handled from here on, and before the first step, or at a second Ctrl-C,
        they end the process. False, as in a notebook: signals are handled from
        the first step on, and a second Ctrl-C raises KeyboardInterrupt.
    """
    self._program = program
    self._hosts = None
    self._notice = None
    # (reason, time of arrival), from this host and from another one.
    self._own_request = self._other_request = None
    self._requesting, self._exiting = threading.Lock(), threading.Lock()
    self._poll_lock = threading.Lock()
    self._polls, self._last_poll = 0, math.inf
    self._stepping = False
    self._interrupts = 0
    # nohup leaves SIGHUP ignored, for a run that outlives its terminal.
    self._signals = [
      number
      for number in SIGNALS
      if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
    self._hosts_thread = None
    if program:
      self._watch_signals()

  @contextlib.contextmanager
  def joined(self, hosts: Any, notice_of: str | None) -> Iterator[None]:
    """Wraps a run: a request to stop on one host reaches all of them.

    Args:
      hosts: hosts of the run, a `Hosts`.
      notice_of: "gce" also watches for the preemption notice of GCE.

    Raises:
      ConfigError: if no metadata server answers.
    """
    if notice_of is not None:
      try:
        self._notice = preemption_notice.ask_server()
      except OSError as error:
        raise ConfigError(
          f"hosts.preemption_notice={notice_of}: no metadata server answers "
          f"at {preemption_notice.find_server()}: {error}\n"
          f"  only VMs on Google Cloud have one; elsewhere leave this key unset"
        ) from error
    self._hosts = hosts
    if self._program:
      self._start_watching()
    try:
      yield
    except (NonFiniteError, Preempted):  # Raised on all hosts together.
      self._close()
      raise
    self._close()  # Not after other errors: the store may be gone with host 0.

  def keep_signals(self) -> None:
    """Reinstalls the signal handlers, which libtpu may have replaced."""
    if self._program:
      for number in self._signals:
        signal.signal(number, self._catch)

  @contextlib.contextmanager
  def running(self, save: Callable[[], str]) -> Iterator[None]:
    """Wraps the training loop: saves before the run ends on request.

    Args:
      save: saves the state, on all hosts after the same poll; returns what was
        saved, for the message, once it is durable.

    Raises:
      Preempted: once `save` is done.
    """
    # Until the last host is here, a request to stop ends all of them at once.
    self._hosts.gather(None)
    if self._hosts.set_once(STOP_BEFORE_STEPS, None) is not None:
      threading.Event().wait()  # Another thread ends this process.
    self._stepping = True
    with contextlib.ExitStack() as stack:
      if not self._program:
        stack.callback(self._watch_signals())
        self._start_watching()
      try:
        yield
      except Preempted:
        saved = save()
        requests = filter(None, (self._own_request, self._other_request))
        seconds = time.monotonic() - min(since for _, since in requests)
        raise Preempted(
          f"{self._describe_request()}: saved {saved} {seconds:.1f} s after "
          f"the request; the same command continues from there"
        ) from None

  def poll(self) -> None:
    """Ends the loop if a stop was requested.

    All hosts must call this equally often.

    Raises:
      Preempted: on all hosts at the same poll.
    """
    with self._poll_lock:
      self._polls += 1
      if self._polls >= self._last_poll:
        raise Preempted

  def request_stop(self, reason: str) -> None:
    """Asks all hosts to stop; callable from any thread, the first call counts.

    Args:
      reason: cause for the message, such as "SIGTERM".
    """
    if not self._requesting.acquire(blocking=False):
      return
    self._own_request = reason, time.monotonic()
    if self._hosts is None:
      self._exit_before_steps()
    mine = {"reason": reason, "host": self._hosts.index}
    if not self._stepping:
      # With nothing to save, a store that does not answer must not delay this.
      timer = threading.Timer(3, self._exit_before_steps)
      timer.daemon = True
      timer.start()
      if self._hosts.set_once(STOP_BEFORE_STEPS, mine) is not None:
        self._exit_before_steps()
      timer.cancel()
    if self._hosts.set_once(STOP, mine) is not None:
      self._stop_at_common_poll()

  def _start_watching(self) -> None:
    """Watches for requests of other hosts and the preemption notice."""
    if self._hosts.count > 1:
      thread = threading.Thread(target=self._watch_hosts, daemon=True)
      thread.start()
      self._hosts_thread = thread
    if self._notice is not None:
      threading.Thread(target=self._watch_notice, daemon=True).start()

  def _close(self) -> None:
    """Declines later requests: this host is about to finish."""
    self._requesting.acquire(blocking=False)
    if self._hosts_thread is not None:
      for question in (STOP_BEFORE_STEPS, STOP):
        self._hosts.set_once(question, None)
      self._hosts_thread.join()

  def _watch_hosts(self) -> None:
    """Waits for a request of another host."""
    # It fails when host 0 is lost, which the watchdog reports.
    with contextlib.suppress(RuntimeError):
      for question in (STOP_BEFORE_STEPS, STOP):
        request = self._hosts.wait_for(question)
        if request is None:
          continue
        reason = (
          f"{request['reason']} on {self._hosts.describe([request['host']])}"
        )
        self._other_request = reason, time.monotonic()
        if question == STOP_BEFORE_STEPS:
          self._exit_before_steps()
        self._stop_at_common_poll()
        return

  def _watch_notice(self) -> None:
    preempted, etag = self._notice
    while not preempted:
      try:
        preempted, etag = preemption_notice.ask_server(etag)
      except OSError:
        time.sleep(1)
    self.request_stop("GCE preemption notice")

  def _exit_before_steps(self) -> NoReturn:
    """Ends this process at once: there is nothing to save yet."""
    if not self._exiting.acquire(blocking=False):
      threading.Event().wait()  # Another thread ends this process.
    _say(
      f"{self._describe_request()}: ended before the first step, with nothing "
      f"to save; the same command starts or continues the run"
    )
    if self._hosts is not None and self._hosts.count > 1:
      # Host 0 serves the request to the others.
      time.sleep(2 if self._hosts.index == 0 else 0)
    exit_at_once(PREEMPTED)

  def _stop_at_common_poll(self) -> None:
    """Agrees with the other hosts on the poll at which all of them stop."""
    # The next poll waits here until every host has given its count of polls.
    with self._poll_lock:
      if self._last_poll == math.inf:
        _say(f"{self._describe_request()}: saving, then ending")
        polls = self._hosts.gather(self._polls, "polls")
        self._last_poll = max(polls) + 1

  def _describe_request(self) -> str:
    """Returns the reason to stop, for messages; this host's own comes first."""
    return (self._own_request or self._other_request)[0]

  def _watch_signals(self) -> Callable[[], None]:
    """Handles signals from now on; returns a function that undoes it.

    Only the main thread can set handlers: on any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
      return lambda: None
    inbox, outbox = os.pipe()
    os.set_blocking(outbox, False)
    wakeup = signal.set_wakeup_fd(outbox, warn_on_full_buffer=False)
    handlers = {n: signal.signal(n, self._catch) for n in self._signals}
    thread = threading.Thread(
      target=self._read_signals, args=(inbox,), daemon=True
    )
    thread.start()

    def undo() -> None:
      for number, handler in handlers.items():
        signal.signal(number, handler)
      signal.set_wakeup_fd(wakeup)
      os.close(outbox)
      thread.join()

    return undo

  def _catch(self, number: int, _: Any) -> None:
    """Handles a signal in Python, when the main thread returns to it."""
    self._interrupts += number == signal.SIGINT
    if self._interrupts > 1 and not self._program:
      raise KeyboardInterrupt

  def _read_signals(self, inbox: int) -> None:
    """Reads signals from the handler in C, which writes one byte for each."""
    interrupts = 0
    while got := os.read(inbox, 1):
      interrupts += got[0] == signal.SIGINT
      if interrupts > 1 and self._program:
        _say("SIGINT again: stopped")
        exit_at_once(INTERRUPTED)
      if got[0] in self._signals:
        # In a thread: a second Ctrl-C must not wait for the other hosts.
        name = signal.Signals(got[0]).name
        target = self.request_stop
        threading.Thread(target=target, args=(name,), daemon=True).start()
    os.close(inbox)


def _say(text: str) -> None:
  """Writes to standard error without `print`, whose lock a thread may hold."""
  # A terminal may show a progress line that is rewritten in place.
  start = "\n" if os.isatty(2) else ""
  with contextlib.suppress(OSError):
    os.write(2, f"{start}{text}\n".encode())
