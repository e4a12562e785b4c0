# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic writes of files and directories; text, JSON and rows of CSV."""

import contextlib
import csv
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.storage.paths import is_local


@contextlib.contextmanager
def replacing(
  path: epath.Path, durable: bool = False, shared: bool = False
) -> Iterator[epath.Path]:
  """Writes a file whole: a reader sees the old content or the new, never half.

  Args:
    path: the file to write; its directory exists.
    durable: whether the content reaches the disk before the file has its name,
      so that it survives a loss of power.
    shared: whether another process may write it at the same time: the last one
      to end has written it.

  Yields:
    The path to write to. On a disk it is a temporary file beside `path`, which
    is renamed at the end, or removed after an error. On an object store, which
    shows a file only once it is closed, it is `path`.
  """
  if not is_local(path):
    yield path
    return
  mark = f".{uuid.uuid4().hex[:8]}" if shared else ""
  temporary = path.with_name(f".{path.name}{mark}.writing")
  try:
    yield temporary
    if durable:
      with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    raise


@contextlib.contextmanager
def replacing_directory(path: epath.Path) -> Iterator[epath.Path]:
  """Makes a directory on a disk whole: it is as before, or has all of the new.

  Args:
    path: the directory; what is there is removed at the end.

  Yields:
    A new, empty directory beside it, which gets its name at the end, or is
    removed after an error.
  """
  temporary, old = (
    path.with_name(f".{path.name}.{what}") for what in ("writing", "old")
  )

  def tidy() -> None:
    if old.exists() and not path.exists():  # Between two names.
      os.replace(old, path)
    for directory in (temporary, old):
      shutil.rmtree(directory, ignore_errors=True)

  tidy()  # After a process that was killed.
  try:
    temporary.mkdir(parents=True)
    yield temporary
    if path.exists():
      os.replace(path, old)
    os.replace(temporary, path)
  finally:
    tidy()


def write_text(path: epath.Path, text: str) -> None:
  """Writes a text file whole, see `replacing`."""
  with replacing(path) as target:
    target.write_text(text)


def to_json(value: Any, indent: int | None = None) -> str:
  """Formats a value as JSON; numbers that are not finite become null."""

  def clean(value):
    if isinstance(value, Mapping):
      return {key: clean(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
      return [clean(x) for x in value]
    return (
      None if isinstance(value, float) and not math.isfinite(value) else value
    )

  return json.dumps(clean(value), indent=indent, allow_nan=False)


def to_csv(row: Sequence[Any]) -> str:
  """Formats a row as CSV, which ends in a newline."""
  text = io.StringIO()
  # Python before 3.13 quotes, of \r and \n, only what ends a line.
  csv.writer(text, lineterminator="\r\n").writerow(row)
  return text.getvalue()[:-2] + "\n"


def write_csv(path: epath.Path, rows: Iterable[Sequence[Any]]) -> None:
  """Writes rows as CSV in UTF-8; bytes of no encoding stay as they are."""
  with replacing(path) as target, target.open("wb") as out:
    for row in rows:
      out.write(to_csv(row).encode("utf-8", "surrogateescape"))


def write_json(path: epath.Path, value: Any) -> None:
  """Writes a value as indented JSON."""
  write_text(path, to_json(value, indent=2) + "\n")
