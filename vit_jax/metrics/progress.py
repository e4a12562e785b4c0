# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Progress lines for people, on a terminal and in a log."""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from vit_jax.config.errors import counted

# What a terminal acts on, or shows as another line or in another order.
CONTROLS = re.compile(
  "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)

CLEAR = "\r\x1b[2K"  # A terminal's line, up to its begin.


def escape(text: str) -> str:
  """A name for a terminal: what would act on it is written out, as \\x1b."""
  return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def format_duration(seconds: float) -> str:
  """Formats seconds for people: 42s, 3m05s, 2h07m, 3d04h, 1,234d."""
  seconds = round(seconds)
  if seconds < 60:
    return f"{seconds}s"
  minutes, seconds = divmod(seconds, 60)
  if minutes < 60:
    return f"{minutes}m{seconds:02d}s"
  hours, minutes = divmod(minutes, 60)
  if hours < 48:
    return f"{hours}h{minutes:02d}m"
  days, hours = divmod(hours, 24)
  return f"{days}d{hours:02d}h" if days < 1000 else f"{days:,}d"


def describe_values(name: str, values: Mapping[str, float]) -> str:
  """Describes the results of an evaluation in one clause.

  Args:
    name: name of the evaluation.
    values: metric -> value.
  """
  if "accuracy" in values:
    ranked = f"mAP {values['map']:.2%}, " if "map" in values else ""
    right = f"{values['correct']:,}/{values['total']:,}"
    return (
      f"{name} {ranked}accuracy {values['accuracy']:.2%} ({right}), loss "
      f"{values['loss']:.4f}"
    )
  parts = [f"{k} {x:.4g}" for k, x in values.items() if k != "total"]
  if "total" in values:
    parts.append(counted(int(values["total"]), "image"))
  return f"{name} " + ", ".join(parts)


class Progress:
  """Reports progress on standard error.

  On a terminal one line is rewritten in place; elsewhere (a file, a pod's log)
  each report is a line of its own. Lines that cannot be written, because the
  terminal is closed or the disk full, are lost and stop nothing.
  """

  def __init__(
    self, enabled: bool = True, stream: TextIO | io.TextIOBase | None = None
  ):
    self._stream = stream or sys.stderr  # None where it was closed at start.
    self._enabled = enabled and self._stream is not None
    self.live = self._enabled and self._stream.isatty()
    self._open = False
    self._passing = False

  def show(self, step: int, steps: int, **values: Any) -> None:
    """Shows the state of training; arguments are those of `describe`."""
    self.rewrite(self.describe(step, steps, **values))

  @staticmethod
  def describe(
    step: int,
    steps: int,
    *,
    loss: float,
    images_per_second: float,
    data_wait: float,
    seconds_left: float,
    mfu: float | None = None,
  ) -> str:
    """Describes the state of training in one line.

    Args:
      step: steps done.
      steps: length of the run.
      loss: mean since the last line.
      images_per_second: since the last line.
      data_wait: share of that time in which no batch was ready.
      seconds_left: until the run is done, at this speed.
      mfu: model FLOPs utilisation; None where the devices' peak is unknown.
    """
    share = "" if mfu is None else f"MFU {mfu:.1%}  "
    return (
      f"step {step:{len(str(steps))}d}/{steps} {step / steps:4.0%}  "
      f"loss {loss:.4f}  {images_per_second:,.0f} images/s  "
      f"{share}data {data_wait:.0%}  "
      f"{format_duration(seconds_left)} left"
    )

  def rewrite(self, line: str) -> None:
    """Replaces the last line, unless `say` printed it."""
    if self.live:
      # What goes on in a second row of the terminal would stay there.
      self._print(f"{CLEAR}{line[: self._measure_width()]}", end="")
      self._open, self._passing = True, False
    else:
      self._print(line)

  def show_doing(self, line: str) -> None:
    """Shows what takes a while on a terminal, until the next line is there."""
    if self.live:
      self.end()
      self.rewrite(line)
      self._passing = True

  def _measure_width(self) -> int | None:
    """Letters that have room beside one another; None if that is not known."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
      columns = os.get_terminal_size(self._stream.fileno()).columns
      return max(1, columns - 1) if columns else None
    return None

  def say(self, text: str) -> None:
    """Prints a line that is not replaced."""
    self._print(self._leave() + text)

  @contextlib.contextmanager
  def show_warnings(self) -> Iterator[None]:
    """Prints the package's warnings as lines of their own."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: self.say(record.getMessage())
    logger = logging.getLogger("vit_jax")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
      yield
    finally:
      logger.removeHandler(handler)
      logger.propagate = propagate

  def clear(self) -> None:
    """Takes back what was not `say`'s, so that other output has its place."""
    self._passing = self._open
    self.end()

  def end(self) -> None:
    """Ends the current line, so that the next output starts on its own."""
    if ending := self._leave():
      self._print(ending, end="")

  def _leave(self) -> str:
    """What ends the current line, or clears one that says what is done."""
    ending = CLEAR if self._passing else "\n" if self._open else ""
    self._open = self._passing = False
    return ending

  def _print(self, text: str, end: str = "\n") -> None:
    if not self._enabled:
      return
    with contextlib.suppress(OSError, ValueError):
      print(text, end=end, file=self._stream, flush=True)


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
  """Shows the progress, and the warnings, of a verb."""
  progress = Progress()
  try:
    with progress.show_warnings():
      yield progress
  finally:
    progress.end()
