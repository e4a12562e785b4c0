# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Finding the images below a folder, and what else lies there."""

import collections
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple

from vit_jax.config.errors import counted
from vit_jax.data import formats
from vit_jax.data.folder_names import is_system, to_line

Bad = tuple[str, str]  # (path, why it is left out).


class Listing(NamedTuple):
  """What is below a folder, without what is hidden or a system's own.

  Attributes:
    files: paths of images below the folder, sorted.
    other: suffix -> number of other files.
    bad: (path, reason) of folders that cannot be read.
    empty: folders that hold neither images nor folders.
  """

  files: list[str]
  other: collections.Counter[str]
  bad: list[Bad]
  empty: list[str]


def find_files(root: pathlib.Path) -> Listing:
  """Finds the images below a folder by their suffixes; follows links."""
  found = Listing([], collections.Counter(), [], [])

  def report(error: OSError) -> None:
    found.bad.append((str(error.filename), error.strerror or str(error)))

  walk = os.walk(root, followlinks=True, onerror=report)
  for parent, folders, names in walk:
    folders[:] = [
      name
      for name in folders
      if not is_system(name) and not _is_loop(root, parent, name)
    ]
    below = os.path.relpath(parent, root)
    prefix = "" if below == "." else pathlib.Path(below).as_posix() + "/"
    before = len(found.files)
    for name in names:
      if is_system(name):
        continue
      suffix = os.path.splitext(name)[1].lower()
      if suffix in formats.SUFFIXES:
        found.files.append(prefix + name)
      else:
        found.other[suffix or "none"] += 1
    if prefix and not folders and len(found.files) == before:
      found.empty.append(prefix)
  found.files.sort()
  found.empty.sort()
  return found


def _is_loop(root: pathlib.Path, parent: str, name: str) -> bool:
  """Returns whether a folder links to one that contains it.

  Each parent is resolved, because some may be links themselves.
  """
  path = pathlib.Path(parent, name)
  if not path.is_symlink():
    return False
  there = path.resolve()
  above = path.relative_to(root).parents
  return any((root / x).resolve().is_relative_to(there) for x in above)


def inspect_file(path: str) -> tuple[int, str | None]:
  """Checks by its first bytes whether a file can be an image.

  Returns:
    Its size in bytes, and the reason why it is not an image that can be read;
    None if it can be.
  """
  try:
    if not os.path.isfile(path):
      return 0, "not a regular file"
    with open(path, "rb") as file:
      size, start = os.fstat(file.fileno()).st_size, file.read(16)
  except OSError as error:
    return 0, error.strerror or str(error)
  return size, formats.find_fault(start)


def inspect_files(
  root: pathlib.Path, files: Sequence[str]
) -> tuple[dict[str, int], list[Bad]]:
  """Checks files as `inspect_file`.

  Returns:
    File -> size of those that can be images; (path, reason) of the others.
  """
  good, bad = {}, []
  paths = [os.path.join(root, file) for file in files]
  # In threads, because the disk takes the time.
  with futures.ThreadPoolExecutor(16) as pool:
    found = pool.map(inspect_file, paths)
    for file, path, (size, fault) in zip(files, paths, found, strict=True):
      if fault:
        bad.append((path, fault))
      else:
        good[file] = size
  return good, bad


def describe_other(other: collections.Counter[str]) -> str:
  """Describes how many files of other suffixes there are: "3 .txt, 1 none"."""
  parts = [f"{count:,} {suffix}" for suffix, count in other.most_common(8)]
  rest = sum(other.values()) - sum(x for _, x in other.most_common(8))
  return ", ".join([*parts, f"{rest:,} more"] if rest else parts)


def describe_bad(bad: Sequence[Bad], shown: int = 3) -> list[str]:
  """Describes files that are left out, a line a reason and some of each."""
  by_reason: dict[str, list[str]] = {}
  for path, why in bad:
    by_reason.setdefault(why, []).append(path)
  lines = []
  for why, paths in by_reason.items():
    lines.append(f"left out, {counted(len(paths), 'file')}: {why}")
    lines += [f"  {to_line(path)}" for path in paths[:shown]]
    lines += ["  ..."] if len(paths) > shown else []
  return lines
