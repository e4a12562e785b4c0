# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics: folded from sums and counts, written for programs, shown to people.

Everything in a workdir is written whole, so that an object store that can
neither append nor rename will do.
"""

import concurrent.futures
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import clu.metrics
import jax
import numpy as np
from etils import epath
from tensorboardX import SummaryWriter
from tensorboardX.record_writer import register_writer_factory

from vit_jax.config import ConfigError


def merge(
  results: Iterable[Mapping[str, tuple[Any, Any]]],
) -> dict[str, clu.metrics.Average]:
  """Adds up (sum, count) pairs of many batches, in float64."""
  merged = {}
  for result in results:
    for name, (total, count) in result.items():
      part = clu.metrics.Average(
        total=np.asarray(total, np.float64), count=np.asarray(count, np.float64)
      )
      merged[name] = merged[name].merge(part) if name in merged else part
  return merged


def compute(
  results: Iterable[Mapping[str, tuple[Any, Any]]],
) -> dict[str, float]:
  """The mean of every metric over many batches."""
  merged = merge(results)
  return {name: float(metric.compute()) for name, metric in merged.items()}


def write_text(path: epath.Path, text: str) -> None:
  """Writes a file whole: a reader sees the old text or the new, never half.

  An object store does that by itself; on a disk it takes a rename.
  """
  local = "://" not in os.fspath(path)
  target = path.with_name(f".{path.name}.writing") if local else path
  target.write_text(text)
  if local:
    target.replace(path)


def to_json(value: Any, indent: int | None = None) -> str:
  """JSON, which has no word for a number that is not finite: null."""

  def clean(value):
    if isinstance(value, Mapping):
      return {key: clean(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
      return [clean(x) for x in value]
    return (
      None if isinstance(value, float) and not math.isfinite(value) else value
    )

  return json.dumps(clean(value), indent=indent, allow_nan=False)


def write_json(path: epath.Path, value: Any) -> None:
  """Writes a value as JSON for people and programs."""
  write_text(path, to_json(value, indent=2) + "\n")


def read_json(path: epath.Path) -> Any:
  """Reads what `write_json` wrote.

  Raises:
    ConfigError: if somebody else wrote there.
  """
  try:
    return json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise ConfigError(f"{path} is damaged: {error}") from error


class ObjectWriter:
  """An event file on an object store, written whole at each flush."""

  def __init__(self, path: str):
    self._path = epath.Path(path)
    self._chunks = []

  def write(self, chunk: bytes) -> None:
    self._chunks.append(chunk)

  def flush(self) -> None:
    self._path.write_bytes(b"".join(self._chunks))

  def close(self) -> None:
    self.flush()


class ObjectWriterFactory:
  """How tensorboardX opens event files behind gs://."""

  def open(self, path: str) -> ObjectWriter:
    return ObjectWriter(path)

  def directory_check(self, path: str) -> None:
    """An object store has no directories."""


class MetricWriter:
  """metrics.jsonl and TensorBoard events in a workdir.

  Rows after the step that a run resumes from are dropped: they are written
  again, so every step stands once.
  """

  # A file that is written whole costs more as it grows.
  SECONDS_BETWEEN_WRITES = 5.0

  def __init__(
    self, workdir: epath.Path, start_step: int, enabled: bool = True
  ):
    """Takes up the rows that are there.

    Args:
      workdir: of the run.
      start_step: rows up to this step stay.
      enabled: False on all processes but the first.
    """
    self._enabled = enabled
    self._path = workdir / "metrics.jsonl"
    self._rows = []
    self._written = 0.0
    if self._path.exists():
      rows = [json.loads(line) for line in self._path.read_text().splitlines()]
      self._rows = [row for row in rows if row["step"] <= start_step]
    if not enabled:
      return
    register_writer_factory("gs", ObjectWriterFactory())
    self._events = SummaryWriter(
      os.fspath(workdir / "events"),
      purge_step=start_step + 1,
      filename_suffix=f".after_step_{start_step}",
    )

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds one row, and shows it in TensorBoard."""
    self._rows.append({"step": step, **values})
    if not self._enabled:
      return
    for name, value in values.items():
      if not math.isfinite(value):
        continue
      self._events.add_scalar(name, value, step)
    if time.monotonic() - self._written > self.SECONDS_BETWEEN_WRITES:
      self.flush()

  def has_row(self, step: int, prefix: str) -> bool:
    """Whether a row of this step has values whose names start like this."""
    return any(
      row["step"] == step and any(name.startswith(prefix) for name in row)
      for row in self._rows
    )

  def flush(self) -> None:
    """Puts every row on disk."""
    if not self._enabled:
      return
    write_text(self._path, "".join(to_json(row) + "\n" for row in self._rows))
    self._events.flush()
    self._written = time.monotonic()

  def close(self) -> None:
    """Flushes and closes."""
    if self._enabled:
      self.flush()
      self._events.close()


def format_duration(seconds: float) -> str:
  """Seconds as people say them: 42s, 3m05s, 2h07m, 3d04h."""
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
  return f"{days}d{hours:02d}h"


class Progress:
  """One line that a person watches; one line a report where nobody can.

  On a terminal the line is rewritten in place, elsewhere (a file, a pod's log)
  each report is a line of its own.
  """

  def __init__(self, enabled: bool = True, stream: io.TextIOBase | None = None):
    self._enabled = enabled
    self._stream = stream or sys.stderr
    self.live = self._stream.isatty()
    self._open = False

  def show(
    self,
    step: int,
    steps: int,
    *,
    loss: float,
    images_per_second: float,
    seconds_left: float,
  ) -> None:
    """Rewrites the line."""
    line = (
      f"step {step:{len(str(steps))}d}/{steps} {step / steps:4.0%}  "
      f"loss {loss:.4f}  {images_per_second:,.0f} images/s  "
      f"{format_duration(seconds_left)} left"
    )
    self.rewrite(line)

  def rewrite(self, line: str) -> None:
    """Puts a line in the place of the last one that was not to stay."""
    if self.live:
      self._print(f"\r\x1b[2K{line}", end="")
      self._open = True
    else:
      self._print(line)

  def say(self, text: str) -> None:
    """Prints a line that stays."""
    self._print(("\n" if self._open else "") + text)
    self._open = False

  def end(self) -> None:
    """Leaves the line as it stands; what comes next starts on its own."""
    if self._open:
      self._print("")
    self._open = False

  def _print(self, text: str, end: str = "\n") -> None:
    if self._enabled:
      print(text, end=end, file=self._stream, flush=True)


class TrainLog:
  """Folds the metrics of every `log_every` steps into a row and a line.

  The device's results are awaited by a thread and reported one interval late,
  so neither the step nor its dispatch ever waits for a number.
  """

  def __init__(
    self,
    writer: MetricWriter,
    progress: Progress,
    *,
    start_step: int,
    steps: int,
    batch_size: int,
    log_every: int,
  ):
    """Starts the clock.

    Args:
      writer: of rows.
      progress: of lines.
      start_step: steps done before.
      steps: of the whole run.
      batch_size: B.
      log_every: steps a row.
    """
    self._writer = writer
    self._progress = progress
    self._steps = steps
    self._batch_size = batch_size
    self._log_every = log_every
    self._interval = []
    self._late = None
    self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._step = start_step
    self._clock = time.monotonic()

  def add(self, step: int, step_metrics: Mapping[str, Any]) -> None:
    """Takes the results of a step; they may still be on their way."""
    self._interval.append(step_metrics)
    if step % self._log_every == 0:
      self._close_interval(step)

  def flush(self, step: int) -> None:
    """Waits for, and reports, every step so far."""
    if self._interval:
      self._close_interval(step)
    self._report()
    self._writer.flush()

  def restart_clock(self) -> None:
    """What was done since the last flush is not training."""
    self._clock = time.monotonic()

  def _close_interval(self, step: int) -> None:
    self._report()
    interval, self._interval = self._interval, []
    self._late = self._thread.submit(self._fetch, step, interval)

  @staticmethod
  def _fetch(step, interval):
    return step, jax.device_get(interval), time.monotonic()

  def _report(self) -> None:
    if self._late is None:
      return
    step, results, now = self._late.result()
    self._late = None
    seconds_a_step = (now - self._clock) / (step - self._step)
    images_per_second = self._batch_size / seconds_a_step
    self._step, self._clock = step, now
    values = compute(results)
    self._writer.write(step, values | {"images_per_second": images_per_second})
    self._progress.show(
      step,
      self._steps,
      loss=values["loss"],
      images_per_second=images_per_second,
      seconds_left=(self._steps - step) * seconds_a_step,
    )
