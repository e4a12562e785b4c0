# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading back the rows that a run has written."""

import itertools
import logging
import math
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.storage.files import to_json
from vit_jax.storage.untrusted import parse_json

log = logging.getLogger(__name__)


def make_part_path(workdir: epath.Path, number: int) -> epath.Path:
  """Makes the path of a part: rows not yet in metrics.jsonl on a store."""
  return workdir / "metrics" / f"{number:06d}.jsonl"


def parse_row(line: bytes) -> dict[str, Any] | None:
  """Parses a line; returns None if it is not a row."""
  try:
    row = parse_json(line.decode())  # Bytes may be of another encoding.
  except ValueError:
    return None
  valid = isinstance(row, dict) and type(row.get("step")) is int
  return row if valid else None


def read_lines(
  workdir: epath.Path,
) -> tuple[dict[bytes, dict[str, Any]], int]:
  """Reads line -> row of a workdir, in order, and the number of its parts.

  Damaged lines are left out, with a warning.

  Raises:
    ConfigError: if they cannot be read.
  """
  path = workdir / "metrics.jsonl"
  parts = []
  try:
    for number in itertools.count():
      try:
        parts.append(make_part_path(workdir, number).read_bytes())
      except FileNotFoundError:
        break
    # Last, because a run that ends meanwhile moves the rows of parts there.
    whole = path.read_bytes() if path.exists() else b""
  except OSError as error:
    raise ConfigError(f"{path} cannot be read: {error}") from error
  rows, damaged = {}, []
  for line in itertools.chain(*(x.splitlines() for x in (whole, *parts))):
    row = parse_row(line)
    if row is None:
      damaged.append(line)
    else:
      rows[line] = row
  if damaged:
    log.warning(
      "%s has %d damaged line(s), left out: %s",
      *(path, len(damaged), repr(damaged[0][:80])[1:]),
    )
  return rows, len(parts)


def add_known(
  kept: Mapping[bytes, dict[str, Any]],
  known: Mapping[int, Mapping[str, float]],
) -> tuple[dict[bytes, dict[str, Any]], int]:
  """Adds rows of what is known and stands in none.

  Args:
    kept: line -> row, in the order of steps.
    known: step -> metric -> value.

  Returns:
    The lines and rows in that order, and how many were added.
  """
  there = {(row["step"], name) for row in kept.values() for name in row}
  added = []
  for step, values in known.items():
    lost = {name: x for name, x in values.items() if (step, name) not in there}
    if lost:
      added.append({"step": step, **lost})
  made = {to_json(row).encode(): row for row in added}
  lines = sorted({**kept, **made}.items(), key=lambda item: item[1]["step"])
  return dict(lines) if added else dict(kept), len(added)


def read_rows(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Reads all rows of a run, each once and in order, while it runs or after.

  Args:
    workdir: directory of the run, local or gs://.

  Raises:
    ConfigError: if they cannot be read.
  """
  return list(read_lines(epath.Path(workdir))[0].values())


def read_scores(
  workdir: str | os.PathLike, name: str | None
) -> dict[int, float]:
  """Reads step -> value of a metric, from the rows that have it.

  What was not finite, null in JSON, is NaN: it was evaluated all the same.
  """
  if name is None:
    return {}
  rows = read_rows(workdir)
  return {
    row["step"]: math.nan if row[name] is None else float(row[name])
    for row in rows
    if name in row
  }
