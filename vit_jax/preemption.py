# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Asking a run to end: SIGTERM from a cloud, Ctrl-C from a person."""

import os
import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils


class Preempted(Exception):
  """The run was asked to end, and saved what it had done (exit status 42)."""


class Preemption:
  """Remembers a signal until the loop asks; a context manager.

  A second Ctrl-C stops at once. With several processes all of them answer yes
  at the same step, whoever got the signal.
  """

  def __init__(self):
    self._signal = None
    self._previous = {}

  def __enter__(self):
    # Handlers can be set on the main thread alone. Where several processes must
    # agree, JAX has one of its own for SIGTERM.
    if threading.current_thread() is threading.main_thread():
      signals = [signal.SIGINT]
      if jax.process_count() == 1:
        signals.append(signal.SIGTERM)
      self._previous = {s: signal.signal(s, self._catch) for s in signals}
    return self

  def __exit__(self, *_: Any) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _catch(self, number: int, _: Any) -> None:
    if self._signal == number == signal.SIGINT:
      raise KeyboardInterrupt
    self._signal = number
    # Not by print, which may be at work when the signal comes.
    os.write(2, f"\n{self.name}: saving after this step\n".encode())
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)

  @property
  def name(self) -> str:
    """What asked, for a message."""
    return signal.Signals(self._signal or signal.SIGTERM).name

  def is_asked(self, step: int) -> bool:
    """Whether to save and end now; every process gets the same answer."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._signal is not None
