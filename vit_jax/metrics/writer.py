# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writing the rows of a run to metrics.jsonl, and telling its loggers.

An object store can neither append nor rename. There rows are written to
metrics/000000.jsonl, metrics/000001.jsonl and so on, and moved to metrics.jsonl
when the run ends.
"""

import concurrent.futures
import functools
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import UInt8

from vit_jax.metrics import loggers, rows
from vit_jax.metrics.csv_log import CsvLog
from vit_jax.metrics.tensorboard import TensorBoard
from vit_jax.storage.append_log import AppendLog
from vit_jax.storage.files import to_json, write_text
from vit_jax.storage.paths import is_local

log = logging.getLogger(__name__)


class MetricWriter:
  """Writes metrics.jsonl in a workdir, and gives its rows to loggers.

  Rows after the step that a run resumes from are dropped: the run writes them
  again, so every step has its rows once.

  An error never ends a run: rows wait in memory, the next write tries again,
  and what is lost in the end is counted.

  Attributes:
    empty: whether no row was kept.
    dropped: number of rows of later steps, which are dropped.
    restored: number of rows that were made again of what a checkpoint knows.
    losses: of the kept rows of training.
    on_row: called with the step of the first row that is added, on the process
      that writes.
  """

  SECONDS_BETWEEN_WRITES = 5.0
  # A store's client itself retries for up to half a minute.
  SECONDS_AFTER_A_FAILURE = 60.0

  def __init__(
    self,
    workdir: epath.Path,
    start_step: int,
    enabled: bool = True,
    known: Mapping[int, Mapping[str, float]] | None = None,
    named: str | None = "tensorboard",
    config: Mapping[str, Any] | None = None,
  ):
    """Reads the rows that a resumed run keeps.

    Args:
      workdir: directory of the run.
      start_step: number of steps done before; rows up to it are kept.
      enabled: False on all processes but the first.
      known: step -> metric -> value up to `start_step`, as a checkpoint has
        recorded them; what no row has is written again.
      named: train.loggers.
      config: the run's, for loggers that keep it.

    Raises:
      ConfigError: if there are rows that cannot be read.
    """
    self._enabled = enabled
    self._workdir = workdir
    self._path = workdir / "metrics.jsonl"
    found, self._parts = rows.read_lines(workdir)
    kept = {x: row for x, row in found.items() if row["step"] <= start_step}
    self.empty, self.dropped = not kept, len(found) - len(kept)
    kept, self.restored = rows.add_known(kept, known or {})
    self.losses = [row["loss"] for row in kept.values() if "loss" in row]
    self.on_row: Callable[[int], None] | None = None
    self._step = start_step
    self._names = {
      name for row in kept.values() if row["step"] == start_step for name in row
    }
    if not enabled:
      return
    # Rows that metrics.jsonl must begin with; None once it does.
    self._kept: bytes | None = b"".join(line + b"\n" for line in kept)
    if is_local(workdir):
      self._rows = AppendLog(lambda _: self._path, len(self._kept))
    else:
      self._rows = AppendLog(lambda part: rows.make_part_path(workdir, part))
    self._loggers: dict[epath.Path | str, Any] = {}
    for name in loggers.parse_names(named):
      if name == "tensorboard":
        path = workdir / "events"
        self._loggers[path] = TensorBoard(path, start_step)
      elif name == "csv":
        path = workdir / "metrics.csv"
        self._loggers[path] = CsvLog(path, kept.values())
      else:
        self._loggers[f"logger {name}"] = loggers.make_foreign(
          name, workdir, config or {}, start_step, log.warning
        )
    self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._writing = None
    self._due = -math.inf
    self._errors: dict[epath.Path | str, Exception] = {}

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a row to metrics.jsonl and every logger, in the background."""
    if step != self._step:
      self._step, self._names = step, set()
    self._names |= values.keys()
    if not self._enabled:
      return
    self._rows.add(to_json({"step": step, **values}).encode() + b"\n")
    self._log("scalars", step, values)
    if self.on_row is not None:
      begin, self.on_row = self.on_row, None
      begin(step)
    idle = self._writing is None or self._writing.done()
    if idle and time.monotonic() > self._due:
      self._writing = self._thread.submit(self._write)

  def has_row(self, step: int, prefix: str) -> bool:
    """Returns whether this, the newest step, has a metric with this prefix."""
    return step == self._step and any(
      name.startswith(prefix) for name in self._names
    )

  def flush(self) -> None:
    """Writes every row durably: it survives a loss of power.

    Rows that cannot be written keep waiting.
    """
    if not self._enabled:
      return
    if self._writing is not None:
      self._writing.result()
    self._write(durable=True)

  @property
  def takes_images(self) -> bool:
    """Whether any logger shows pictures: they need not be drawn otherwise."""
    return self._enabled and any(
      hasattr(logger, "images") for logger in self._loggers.values()
    )

  def images(
    self, step: int, images: Mapping[str, UInt8[np.ndarray, "H W 3"]]
  ) -> None:
    """Gives pictures to the loggers that show them, by name."""
    self._log("images", step, images)

  def histograms(
    self, step: int, values: Mapping[str, loggers.Histogram]
  ) -> None:
    """Gives histograms to the loggers that show them, by name."""
    self._log("histograms", step, values)

  def complete(self) -> None:
    """Completes metrics.jsonl; no row follows, but pictures may."""
    if self._enabled:
      self.flush()
      if not is_local(self._workdir):
        self._try(self._path, self._gather)

  def close(self) -> None:
    """Flushes, completes metrics.jsonl, and warns of what is lost.

    Later calls, of any method, do nothing.
    """
    if not self._enabled:
      return
    self.complete()
    self._enabled = False
    self._thread.shutdown()
    for logger in self._loggers.values():
      logger.close()
    for path, log_file in ((self._path, self._rows), *self._loggers.items()):
      lost = log_file.lost + log_file.waiting
      if lost:
        error = getattr(log_file, "error", None) or self._errors.get(path)
        log.warning("%s lacks %d entries: %s", path, lost, error)

  def _log(self, method: str, *arguments: Any) -> None:
    """Calls a method of every logger that has it; none of them waits."""
    for name, logger in self._loggers.items() if self._enabled else ():
      if (act := getattr(logger, method, None)) is not None:
        self._try(name, functools.partial(act, *arguments))

  def _write(self, durable: bool = False) -> None:
    """Tries once to write all that waits."""
    self._due = time.monotonic() + self.SECONDS_BETWEEN_WRITES
    self._try(self._path, lambda: self._write_rows(durable))
    for name, logger in self._loggers.items():
      self._try(name, functools.partial(logger.flush, durable))

  def _write_rows(self, durable: bool) -> None:
    if self._kept is not None:
      self._replace(self._kept)
      self._kept = None
    self._rows.flush(durable)

  def _replace(self, lines: bytes) -> None:
    """Replaces metrics.jsonl by these lines, and removes the parts."""
    there = self._path.read_bytes() if self._path.exists() else b""
    if lines != there:
      write_text(self._path, lines.decode())
    # From the last, so that those left by an error are the first ones.
    for number in reversed(range(self._parts)):
      rows.make_part_path(self._workdir, number).unlink(missing_ok=True)

  def _gather(self) -> None:
    """Moves the rows of parts to metrics.jsonl."""
    found, self._parts = rows.read_lines(self._workdir)
    self._replace(b"".join(line + b"\n" for line in found))

  def _try(self, path: epath.Path | str, act: Callable[[], None]) -> None:
    """Runs `act`; warns of the first error of each path or logger."""
    try:
      act()
    # Clients of stores have errors of their own, and a run is worth more than
    # its log.
    except Exception as error:
      self._due = time.monotonic() + self.SECONDS_AFTER_A_FAILURE
      if path not in self._errors:
        log.warning(
          "%s cannot be written: %s; the run continues and tries again",
          *(path, str(error) or repr(error)),
        )
      self._errors[path] = error
