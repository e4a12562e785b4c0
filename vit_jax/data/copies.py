# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of one image file in a folder: in two splits, or of two classes.

A test image that was trained on makes the accuracy too high. Copies have the
same bytes, so only files of one size are read.
"""

import collections
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures

from vit_jax.config import ConfigError
from vit_jax.config.errors import counted
from vit_jax.data.folder_names import to_line
from vit_jax.storage.untrusted import read_file

MOST, MOST_BYTES = 50_000, 1 << 28  # Files that are read, and their bytes.


def find_alike(sizes: Mapping[str, int]) -> list[list[str]]:
  """Groups files that have the same size; none if they are too many to read.

  Args:
    sizes: path -> bytes.
  """
  groups: dict[int, list[str]] = collections.defaultdict(list)
  for path, size in sizes.items():
    groups[size].append(path)
  alike = {size: paths for size, paths in groups.items() if len(paths) > 1}
  total = sum(size * len(paths) for size, paths in alike.items())
  if total > MOST_BYTES or sum(map(len, alike.values())) > MOST:
    return []
  return list(alike.values())


def find_copies(alike: Sequence[Sequence[str]]) -> list[list[str]]:
  """Groups files that have the same bytes, each group sorted.

  Args:
    alike: groups of `find_alike`; files that are gone are left out.
  """
  paths = [path for group in alike for path in group]
  found: dict[bytes, list[str]] = collections.defaultdict(list)
  # In threads, because the disk takes the time.
  with futures.ThreadPoolExecutor(16) as pool:
    for path, digest in zip(paths, pool.map(_digest, paths), strict=True):
      if digest is not None:
        found[digest].append(path)
  return [sorted(group) for group in found.values() if len(group) > 1]


def _digest(path: str) -> bytes | None:
  """The digest of a file; None if it cannot be read."""
  try:
    return hashlib.sha256(read_file(path, MOST_BYTES)).digest()
  except (ConfigError, OSError):
    return None


def describe_copies(
  copies: Sequence[Sequence[str]],
  splits: Mapping[str, Sequence[tuple[str, int]]],
) -> Iterator[str]:
  """Yields a warning for copies in two splits, and one for two classes.

  Args:
    copies: groups of `find_copies`.
    splits: split -> (path, label) of its images.
  """
  wanted = {path for group in copies for path in group}
  places = {
    path: (split, label)
    for split, items in splits.items()
    for path, label in items
    if path in wanted
  }
  groups = [[x for x in group if x in places] for group in copies]
  for split, items in splits.items():
    pairs = [
      (path, other[0])
      for group in groups
      if (other := [x for x in group if places[x][0] == "train"])
      for path in group
      if places[path][0] == split != "train"
    ]
    if pairs:
      copy, original = map(to_line, pairs[0])
      yield (
        f"warning: of {counted(len(items), 'image')} of {split} {len(pairs):,} "
        f"{'is a copy' if len(pairs) == 1 else 'are copies'} of training "
        f"images, so that the accuracy is not of unseen ones: {copy} is "
        f"{original}; remove one of each"
      )
  mixed = [x for x in groups if len({places[path][1] for path in x}) > 1]
  if mixed:
    first, *rest = mixed[0]
    label = places[first][1]
    second = next(path for path in rest if places[path][1] != label)
    yield (
      f"warning: {counted(len(mixed), 'image')} "
      f"{'is' if len(mixed) == 1 else 'are'} of two classes: "
      f"{to_line(first)} is {to_line(second)}; remove the wrong one"
    )
