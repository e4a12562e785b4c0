# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Facts of a data set, of any kind of source."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.storage.paths import is_local

Range = tuple[str, int, int]  # Split, start, stop.


class DataError(ConfigError):
  """Missing data, or data unlike the config or damaged (exit status 2)."""


def find_gone(path: str) -> str | None:
  """Finds the highest missing directory above a file, if any.

  Returns:
    Its path; None if all exist, or for a path on an object store.
  """
  if not is_local(path):
    return None
  above = pathlib.Path(os.path.abspath(path)).parents
  gone = [os.fspath(parent) for parent in above if not os.path.isdir(parent)]
  return gone[-1] if gone else None


def make_read_error(path: str, cause: object) -> DataError:
  """Makes the error for a file that cannot be read during a run.

  Args:
    path: path of the file.
    cause: error of the reader.
  """
  gone = find_gone(path)
  if gone is not None:
    return DataError(
      f"the data are gone: {path} was read before, and the directory {gone} "
      f"no longer exists\n"
      f"  restore it, or mount its disk again"
    )
  return DataError(
    f"{path} cannot be read: {cause}\n"
    f"  repair the file or its disk, copy it again, or prepare the set again"
  )


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
  """Facts of a data set that a config is built with.

  Attributes:
    name: name of the set.
    directory: where it is prepared; None if it is not.
    num_classes: number of classes (Y).
    class_names: names of the classes; empty if the set is not on disk.
    channels: channels of its images (c).
    splits: split name -> TFDS's SplitInfo.
    label_slots: largest number of labels of an image (s); None if each has one
      label, 0 if it is several and unknown how many.
    parts: sources of a mixture.
    held_out: paths below a folder of the images that are held out of it for
      testing.
    origins: split name -> (split of the files, start, stop) of what it is laid
      together of, where splits are parts of others.
  """

  name: str
  directory: epath.Path | None
  num_classes: int
  class_names: Sequence[str]
  channels: int
  splits: Mapping[str, Any]
  label_slots: int | None = None
  parts: tuple["DatasetInfo", ...] = ()
  held_out: tuple[str, ...] = ()
  origins: Mapping[str, Sequence[Range]] = dataclasses.field(
    default_factory=dict
  )

  def find_ranges(self, split: str) -> list[Range]:
    """Resolves a split, as "train[:90%]+test", to ranges of examples.

    Returns:
      (name, start, stop) of each.

    Raises:
      DataError: if the set has no such split, or no example in it, or if it
        has an example twice.
    """
    try:
      instruction = tfds.core.ReadInstruction.from_spec(split)
      parts = instruction.to_absolute(self.splits)
    except (ValueError, AssertionError) as error:
      splits = ", ".join(
        f"{name} ({info.num_examples:,})" for name, info in self.splits.items()
      )
      why = str(error).splitlines()[0]
      # What TFDS says of a name that is not there is said already.
      more = "" if why.startswith("Unknown split") else f" ({why})"
      raise DataError(
        f"{self.name} has no split {split!r}: it has {splits}, and slices of "
        f"them as 'train[:90%]'{more}"
      ) from error
    ranges = []
    for part in parts:
      size = self.splits[part.splitname].num_examples
      stop = size if part.to is None else part.to
      ranges.append((part.splitname, part.from_ or 0, stop))
    if sum(stop - start for _, start, stop in ranges) < 1:
      raise DataError(f"{self.name} has no example in the split {split!r}")
    filled = sorted(self._find_origins(ranges))
    for (name, _, stop), (other, start, _) in itertools.pairwise(filled):
      if name == other and start < stop:
        raise DataError(
          f"the split {split!r} has examples twice, from {name}[{start}] on: "
          f"give parts that do not overlap"
        )
    return ranges

  def find_files(self, split: str) -> list[Range]:
    """Resolves a split to ranges of the splits that the files have.

    Returns, raises:
      as `find_ranges`; no range is empty.
    """
    return self._find_origins(self.find_ranges(split))

  def _find_origins(self, ranges: Sequence[Range]) -> list[Range]:
    """Looks ranges up in `origins`; leaves out those of nothing."""
    return [
      piece
      for name, start, stop in ranges
      for piece in cut(self.origins.get(name, [(name, 0, stop)]), start, stop)
    ]

  def count(self, split: str) -> int:
    """Counts the examples of a split; raises DataError as `find_ranges`."""
    if self.parts:
      return sum(part.count(split) for part in self.parts)
    return sum(stop - start for _, start, stop in self.find_ranges(split))

  def count_shared(self, one: str, other: str) -> int:
    """Counts the examples that are in both of two splits."""
    if self.parts:
      return sum(part.count_shared(one, other) for part in self.parts)
    return sum(
      max(0, min(stop, end) - max(start, begin))
      for name, start, stop in self.find_files(one)
      for split, begin, end in self.find_files(other)
      if name == split
    )


def cut(parts: Sequence[Range], start: int, stop: int) -> Iterator[Range]:
  """Yields the pieces from `start` to `stop` of parts laid end to end."""
  for split, first, last in parts:
    begin, end = max(first, first + start), min(last, first + stop)
    if begin < end:
      yield split, begin, end
    start, stop = start - (last - first), stop - (last - first)


def make_splits(sizes: Mapping[str, int]) -> dict[str, Any]:
  """Makes TFDS's SplitInfo of each split from its number of examples."""
  return {
    name: tfds.core.SplitInfo(
      name=name, shard_lengths=[size], num_bytes=0, filename_template=None
    )
    for name, size in sizes.items()
  }
