# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Untrusted files, read in bounded memory."""

import json
import os
import stat
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.storage.paths import is_local

# Parsed JSON takes up to 30 times the memory of its text.
MAX_TEXT = 16 << 20  # Bytes; names of 21,843 classes take 1 MiB.

# Compression makes weights a tenth smaller, a head of zeros a thousand times.
# Small files may unpack to UNPACK_FLOOR bytes, large ones to UNPACK_RATIO times
# their own size.
UNPACK_FLOOR, UNPACK_RATIO = 1 << 30, 32


def compute_unpack_limit(size: int) -> int:
  """Computes how many bytes may be unpacked from files of `size` bytes."""
  return max(UNPACK_FLOOR, UNPACK_RATIO * size)


def check_file(path: epath.PathLike, limit: int) -> None:
  """Checks that a file is small enough to be read whole.

  Args:
    path: path on a disk or an object store.
    limit: maximum size in bytes.

  Raises:
    ConfigError: if it is larger, or a pipe or device, which may never end.
    OSError: if it does not exist.
  """
  name = os.fspath(path)
  if is_local(name):  # Not by epath: ten times as fast, which images need.
    found = os.stat(name)
    size, regular = found.st_size, stat.S_ISREG(found.st_mode)
  else:
    found = epath.Path(name).stat()
    size, regular = found.length, not found.is_directory
  if not regular:
    raise ConfigError(f"{name} is not a regular file")
  if size > limit:
    raise ConfigError(
      f"{name} has {size:,} bytes, but files of its kind may have at most "
      f"{limit:,}: is it the right file?"
    )


def read_file(path: epath.PathLike, limit: int) -> bytes:
  """Reads a whole file; raises as `check_file`."""
  check_file(path, limit)
  name = os.fspath(path)
  if not is_local(name):
    return epath.Path(name).read_bytes()
  with open(name, "rb") as file:
    return file.read()


def parse_json(text: str | bytes) -> Any:
  """Parses JSON; raises ValueError for anything wrong with it."""
  try:
    return json.loads(text, object_pairs_hook=_make_object)
  except RecursionError as error:
    raise ValueError("JSON is nested too deeply") from error


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """An object; raises ValueError for a name that has two values."""
  made = dict(pairs)
  if len(made) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"it has {twice!r} twice")
  return made


def load_json(path: epath.PathLike) -> Any:
  """Reads a JSON file.

  Raises:
    ConfigError: if it is not JSON, or cannot be read.
  """
  try:
    return parse_json(read_file(path, MAX_TEXT))
  except ConfigError:
    raise
  except (OSError, ValueError) as error:
    raise ConfigError(f"{os.fspath(path)} cannot be read: {error}") from error
