# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""metrics.csv: the rows of metrics.jsonl as a table."""

import collections
import math
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from vit_jax.storage.append_log import AppendLog
from vit_jax.storage.files import replacing, to_csv
from vit_jax.storage.paths import is_local


class CsvLog:
  """One table: a column a metric, a row a row; empty where a row has none.

  One file, because what people do with it is to draw a metric by step, or two
  of training and of an evaluation in one picture. Rows are appended. Where one
  brings a metric that no row before had, as the first evaluation does, the file
  is written again, with the new columns at the right.

  Its beginning is made of the rows that a resumed run keeps: it has the steps
  that metrics.jsonl has, also where the run began without it.
  """

  lost = 0

  def __init__(self, path: epath.Path, kept: Iterable[Mapping[str, Any]]):
    """Writes nothing yet.

    Args:
      path: of the file.
      kept: the rows before.
    """
    self._path = path
    self._columns = {"step": 0}
    self._lines: list[bytes] = []
    self._new = collections.deque(kept)
    self._log: AppendLog | None = None  # Of a file with these columns.

  @property
  def waiting(self) -> int:
    """Number of rows that are not written."""
    if self._log is None:
      return len(self._lines) + len(self._new)
    return len(self._new) + self._log.waiting

  def scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Takes a row; another thread may flush meanwhile."""
    self._new.append({"step": step, **values})

  def flush(self, durable: bool = False) -> None:
    """Writes what waits; to a store only what must be durable.

    Raises:
      Exception: whatever the disk or the client of the store raises; the next
        flush writes all the same.
    """
    while self._new:
      self._add(self._new.popleft())
    if is_local(self._path):
      if self._log is None or not self._path.exists():
        self._write()
      assert self._log is not None
      self._log.flush(durable)
    elif durable and self._log is None:  # An object is written whole.
      self._write()

  def close(self) -> None:
    """Nothing is open."""

  def _add(self, row: Mapping[str, Any]) -> None:
    count = len(self._columns)
    for name in row:
      self._columns.setdefault(name, len(self._columns))
    cells = [_format(row.get(name)) for name in self._columns]
    line = to_csv(cells).encode()
    self._lines.append(line)
    if len(self._columns) > count or not is_local(self._path):
      self._log = None
    if self._log is not None:
      self._log.add(line)

  def _write(self) -> None:
    """Writes the whole file, its older rows as wide as its newest."""
    width = len(self._columns)
    header = to_csv(list(self._columns)).encode()
    short = 0
    for i, line in enumerate(self._lines):
      # Cells are numbers, or nothing: each comma is between two of them.
      short = width - 1 - line.count(b",")
      self._lines[i] = line[:-1] + b"," * short + b"\n"
    data = b"".join([header, *self._lines])
    with replacing(self._path) as target:
      target.write_bytes(data)
    self._log = AppendLog(lambda _: self._path, len(data))


def _format(value: Any) -> Any:
  """A cell: empty for what there is not, and for what is not finite."""
  if value is None or not math.isfinite(value):
    return ""
  return value
