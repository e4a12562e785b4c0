# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics: folded from sums and counts, and written for programs.

Everything in a workdir is written whole, so that an object store that can
neither append nor rename will do.
"""

import concurrent.futures
import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import clu.metrics
import jax
import numpy as np
from etils import epath
from tensorboardX import SummaryWriter
from tensorboardX.record_writer import register_writer_factory

from vit_jax.config import ConfigError
from vit_jax.progress import Progress


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


class TrainLog:
  """Folds the metrics of every `log_every` steps into a row and a line.

  The device's results are awaited by a thread and reported one interval late,
  so neither the step nor its dispatch ever waits for a number.
  """

  MAX_DATA_WAIT = 0.05  # A share of the time.

  def __init__(
    self,
    writer: MetricWriter,
    progress: Progress,
    *,
    start_step: int,
    steps: int,
    batch_size: int,
    log_every: int,
    peak_images_per_second: float | None = None,
  ):
    """Starts the clock.

    Args:
      writer: of rows.
      progress: of lines.
      start_step: steps done before.
      steps: of the whole run.
      batch_size: B.
      log_every: steps a row.
      peak_images_per_second: the speed at which the model's FLOPs alone would
        fill the devices, which is an MFU of 1; None where nobody knows it.
    """
    self._peak = peak_images_per_second
    self._writer = writer
    self._progress = progress
    self._steps = steps
    self._batch_size = batch_size
    self._log_every = log_every
    self._interval = []
    self._late = None
    self._waited = 0.0
    self._intervals = 0
    self._warned = False
    self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._step = start_step
    self._clock = time.monotonic()

  @contextlib.contextmanager
  def waiting_for_data(self) -> Iterator[None]:
    """Around what waits for a batch."""
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began

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
    self._waited = 0.0

  def _close_interval(self, step: int) -> None:
    self._report()
    interval, self._interval = self._interval, []
    waited, self._waited = self._waited, 0.0
    self._late = self._thread.submit(self._fetch, step, interval, waited)

  @staticmethod
  def _fetch(step, interval, waited):
    return step, jax.device_get(interval), waited, time.monotonic()

  def _report(self) -> None:
    if self._late is None:
      return
    step, results, waited, now = self._late.result()
    self._late = None
    seconds_a_step = (now - self._clock) / (step - self._step)
    # The device may lag behind the host, by more than an interval at its ends.
    data_wait = min(1.0, waited / (now - self._clock))
    speed = {
      "images_per_second": self._batch_size / seconds_a_step,
      "data_wait": data_wait,
    }
    if self._peak is not None:
      speed["mfu"] = speed["images_per_second"] / self._peak
    self._step, self._clock = step, now
    values = compute(results)
    self._writer.write(step, values | speed)
    self._progress.show(
      step,
      self._steps,
      loss=values["loss"],
      seconds_left=(self._steps - step) * seconds_a_step,
      **speed,
    )
    self._intervals += 1
    # The first interval waits for the first batches.
    if data_wait > self.MAX_DATA_WAIT and self._intervals > 1:
      self._warn(data_wait)

  def _warn(self, data_wait: float) -> None:
    """Says once that the data are slower than the device."""
    if self._warned:
      return
    self._warned = True
    self._progress.say(
      f"{data_wait:.0%} of the time no batch was ready: `python -m "
      f"vit_jax.benchmark input --config=...` says what bounds the input; "
      f"--config.data.workers=N reads in N processes"
    )
