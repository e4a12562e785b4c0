# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writing the rows of a run to metrics.jsonl and TensorBoard.

An object store can neither append nor rename. There rows are written to
metrics/000000.jsonl, metrics/000001.jsonl and so on, and moved to metrics.jsonl
when the run ends.
"""

import concurrent.futures
import logging
import math
import time
from collections.abc import Callable, Mapping

from etils import epath

from vit_jax.metrics import rows, tensorboard
from vit_jax.storage.append_log import AppendLog
from vit_jax.storage.files import to_json, write_text
from vit_jax.storage.paths import is_local

log = logging.getLogger(__name__)


class MetricWriter:
  """Writes metrics.jsonl and TensorBoard events in a workdir.

  Rows after the step that a run resumes from are dropped: the run writes them
  again, so every step has its rows once.

  An error never ends a run: rows wait in memory, the next write tries again,
  and what is lost in the end is counted.

  Attributes:
    empty: whether no row was kept.
    dropped: number of rows of later steps, which are dropped.
    restored: number of rows that were made again of what a checkpoint knows.
    losses: of the kept rows of training.
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
  ):
    """Reads the rows that a resumed run keeps.

    Args:
      workdir: directory of the run.
      start_step: number of steps done before; rows up to it are kept.
      enabled: False on all processes but the first.
      known: step -> metric -> value up to `start_step`, as a checkpoint has
        recorded them; what no row has is written again.

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
    self._events = tensorboard.EventLog(workdir / "events", start_step)
    self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._writing = None
    self._due = -math.inf
    self._errors: dict[epath.Path, Exception] = {}

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Adds a row to metrics.jsonl and TensorBoard, in the background."""
    if step != self._step:
      self._step, self._names = step, set()
    self._names |= values.keys()
    if not self._enabled:
      return
    self._rows.add(to_json({"step": step, **values}).encode() + b"\n")
    self._events.add_row(step, values)
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

  def close(self) -> None:
    """Flushes, completes metrics.jsonl, and warns of what is lost.

    Later calls, of any method, do nothing.
    """
    if not self._enabled:
      return
    self.flush()
    self._enabled = False
    self._thread.shutdown()
    if not is_local(self._workdir):
      self._try(self._path, self._gather)
    for path, log_file in (
      (self._path, self._rows),
      (self._workdir / "events", self._events),
    ):
      lost = log_file.lost + log_file.waiting
      if lost:
        error = self._errors.get(path)
        log.warning("%s lacks %d entries: %s", path, lost, error)

  def _write(self, durable: bool = False) -> None:
    """Tries once to write all that waits."""
    self._due = time.monotonic() + self.SECONDS_BETWEEN_WRITES
    self._try(self._path, lambda: self._write_rows(durable))
    self._try(self._workdir / "events", lambda: self._events.flush(durable))

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

  def _try(self, path: epath.Path, act: Callable[[], None]) -> None:
    """Runs `act`; warns of the first error of each path."""
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
