# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Lists the images of a large set, in archives or in folders.

An archive is never unpacked: its headers are read once, and an image is read
at its offset. Memory: 28 bytes an image in archives; in folders 20, plus the
length of the folder's longest file name.
"""

import dataclasses
import hashlib
import os
import tarfile
import time
from array import array
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Protocol, runtime_checkable

import numpy as np

from vit_jax.data.folder_names import is_system
from vit_jax.data.formats import SUFFIXES
from vit_jax.data.info import DataError
from vit_jax.data.transforms import MAX_BYTES
from vit_jax.metrics.progress import Progress, format_duration
from vit_jax.prepare.archives import iterate, read_member, read_member_name
from vit_jax.storage.untrusted import read_file

# Disks and networks serve many requests at a time, on however few cores.
THREADS = max(16, os.cpu_count() or 1)


@runtime_checkable
class Split(Protocol):
  """The examples of a split, to be written.

  Attributes:
    keys: uint64 [n], a hash of each name.
    num_bytes: bytes of all images, exact or estimated.
    digest: hash of names, sizes and labels, which identifies the split.
  """

  keys: np.ndarray
  num_bytes: int
  digest: str

  def locate(self, index: int) -> str:
    """Returns the path of an image, for reports."""

  def load(self, index: int) -> tuple[str, bytes, list[int]]:
    """Reads (name, encoded image, labels)."""


@dataclasses.dataclass(frozen=True)
class Source:
  """A data set to be written.

  Attributes:
    name: name of the set.
    description: text for its metadata.
    class_names: names of the classes, in the order of their labels.
    slots: largest number of labels of an image (s).
    splits: split name -> its examples.
    bad: (path, reason) of files that are left out already.
    held_out: paths of the images that are held out, if the split is ours.
  """

  name: str
  description: str
  class_names: Sequence[str]
  slots: int
  splits: Mapping[str, Split]
  bad: Sequence[tuple[str, str]] = ()
  held_out: Sequence[str] = ()


class Meter:
  """Shows the progress of a loop: on a terminal live, else every 30 s."""

  def __init__(self, progress: Progress, total: int, what: str, done: int = 0):
    """Starts the clock.

    Args:
      progress: where it is shown.
      total: number of items.
      what: name of the items, in the plural.
      done: number of items that were done before.
    """
    self._progress, self._total, self._what = progress, total, what
    self._before = self._done = done
    self._seconds_between = 0.5 if progress.live else 30.0
    self._start = self._shown = time.monotonic()

  def add(self, number: int = 1) -> None:
    """Counts items, and shows the progress if it is due."""
    self._done += number
    now = time.monotonic()
    if now - self._shown < self._seconds_between:
      return
    self._shown = now
    rate = max(self._done - self._before, 1) / (now - self._start)
    left = format_duration((self._total - self._done) / rate)
    self._progress.rewrite(
      f"{self._done:,}/{self._total:,} {self._what} "
      f"{self._done / self._total:4.0%}  {rate:,.0f}/s  {left} left"
    )


def hash_name(name: str) -> int:
  """Hashes a name to 64 bits, the same on every machine."""
  digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
  return int.from_bytes(digest, "little")


class Tally:
  """Hashes and total size of images that are listed one by one."""

  def __init__(self):
    self._keys = array("Q")
    self._digest = hashlib.blake2b(digest_size=16)
    self.num_bytes = 0

  def add(self, name: str, size: int) -> None:
    """Adds an image."""
    self._keys.append(hash_name(name))
    self._digest.update(os.fsencode(f"{name}\0{size}\n"))
    self.num_bytes += size

  @property
  def keys(self) -> np.ndarray:
    """Hashes of the names, uint64 [n]."""
    return np.array(self._keys, np.uint64)

  @property
  def digest(self) -> str:
    """Hash of all names and sizes, in their order."""
    return self._digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Archive:
  """The images of a tar, or of a tar in a tar, in its order.

  Attributes:
    path: path of the file.
    offsets: uint64 [n], offsets of the headers in the file.
    tally: names and sizes.
  """

  path: str
  offsets: np.ndarray
  tally: Tally

  def locate(self, index: int) -> str:
    """Returns ARCHIVE#MEMBER of an image, for reports."""
    name = read_member_name(self.path, int(self.offsets[index]))
    return f"{self.path}#{name}"

  def read(self, index: int) -> tuple[str, bytes]:
    """Reads (file name, encoded image)."""
    name, data = read_member(self.path, int(self.offsets[index]))
    return os.path.basename(name), data


@dataclasses.dataclass(frozen=True)
class Directory:
  """The images of a folder, sorted by name.

  Attributes:
    path: path of the folder.
    names: bytes [n], file names.
    tally: names and sizes.
  """

  path: str
  names: np.ndarray
  tally: Tally

  def locate(self, index: int) -> str:
    """Returns the path of an image."""
    return os.path.join(self.path, os.fsdecode(self.names[index]))

  def read(self, index: int) -> tuple[str, bytes]:
    """Reads (file name, encoded image)."""
    path = self.locate(index)
    return os.path.basename(path), read_file(path, MAX_BYTES)


class Groups:
  """A split of archives and folders, one after another."""

  def __init__(
    self, groups: Sequence[Archive | Directory], labels: Sequence[np.ndarray]
  ):
    """Joins archives and folders.

    Args:
      groups: at least one.
      labels: int32 [n] of each group.
    """
    self._groups = groups
    self._labels = np.concatenate(labels)
    sizes = [len(group.tally.keys) for group in groups]
    self._starts = np.cumsum([0, *sizes])
    self.keys = np.concatenate([group.tally.keys for group in groups])
    self.num_bytes = sum(group.tally.num_bytes for group in groups)
    digest = hashlib.blake2b(self._labels.tobytes(), digest_size=16)
    for group in groups:
      digest.update(group.tally.digest.encode())
    self.digest = digest.hexdigest()

  def locate(self, index: int) -> str:
    """Returns the path of an image, for reports."""
    group, place = self._find(index)
    return group.locate(place)

  def load(self, index: int) -> tuple[str, bytes, list[int]]:
    """Reads (file name, encoded image, its label alone)."""
    group, place = self._find(index)
    return *group.read(place), [int(self._labels[index])]

  def _find(self, index: int) -> tuple[Archive | Directory, int]:
    group = int(np.searchsorted(self._starts, index, side="right")) - 1
    return self._groups[group], index - int(self._starts[group])


def is_image(name: str) -> bool:
  """Returns whether a file has the suffix of an image, and is not hidden."""
  return not is_system(name) and name.lower().endswith(SUFFIXES)


def list_archive(path: str, start: int = 0, stop: int | None = None) -> Archive:
  """Lists the images of a tar by its headers.

  Args:
    path: path of the file.
    start: offset of the tar in the file.
    stop: offset of its end; None is the end of the file.

  Raises:
    DataError: if it is not a tar, or is cut off.
  """
  offsets, tally = array("Q"), Tally()
  where = f"{path} at {start:,} bytes" if start else path
  with open(path, "rb") as file:
    file.seek(start)
    try:
      for member in iterate(file, stop):
        name = os.path.basename(member.name)
        if member.isreg() and is_image(name):
          offsets.append(member.offset)
          tally.add(name, member.size)
    except tarfile.TarError as error:
      raise DataError(f"{where} is not a complete tar: {error}") from error
  return Archive(path, np.array(offsets, np.uint64), tally)


def list_directory(path: str) -> Directory:
  """Lists the images in a folder, with their sizes."""
  tally = Tally()
  with os.scandir(path) as entries:
    found = sorted(
      (entry.name, entry.stat().st_size)
      for entry in entries
      if entry.is_file() and is_image(entry.name)
    )
  for name, size in found:
    tally.add(name, size)
  names = np.array([os.fsencode(name) for name, _ in found], dtype=bytes)
  return Directory(path, names, tally)


def list_all(
  places: Sequence[tuple[str, int, int | None]], progress: Progress
) -> tuple[list[Archive | Directory], list[str]]:
  """Lists many archives and folders in parallel.

  Args:
    places: (path, start, stop) of each, see `list_archive`; or of a folder.
    progress: where progress is shown.

  Returns:
    The archives and folders in the order of `places`, and messages about those
    that could not be listed.
  """
  listed, errors = [], []

  def list_one(place):
    path, start, stop = place
    if os.path.isdir(path):
      return list_directory(path)
    return list_archive(path, start, stop)

  pool = futures.ThreadPoolExecutor(THREADS)
  try:
    jobs = [pool.submit(list_one, place) for place in places]
    meter = Meter(progress, len(jobs), "classes listed")
    for job in jobs:
      try:
        listed.append(job.result())
      except (DataError, OSError) as error:
        errors.append(str(error))
      meter.add()
  finally:
    pool.shutdown(cancel_futures=True)
  return listed, errors


class Files:
  """A split of files, whose paths are kept in memory."""

  def __init__(self, root: str, items: Sequence[tuple[str, int]]):
    """Looks up the sizes of the files.

    Args:
      root: directory that names are relative to.
      items: path and label of each.
    """
    self._root, self._items = root, items
    paths = [path for path, _ in items]
    tally = Tally()
    with futures.ThreadPoolExecutor(THREADS) as pool:
      sizes = pool.map(os.path.getsize, paths, chunksize=256)
      for path, size in zip(paths, sizes, strict=True):
        tally.add(os.path.relpath(path, root), size)
    self.keys, self.num_bytes = tally.keys, tally.num_bytes
    digest = hashlib.blake2b(tally.digest.encode(), digest_size=16)
    digest.update(np.array([x for _, x in items], np.int32).tobytes())
    self.digest = digest.hexdigest()

  def locate(self, index: int) -> str:
    """Returns the path of an image."""
    return self._items[index][0]

  def load(self, index: int) -> tuple[str, bytes, list[int]]:
    """Reads (path below the root, encoded image, its label alone)."""
    path, label = self._items[index]
    data = read_file(path, MAX_BYTES)
    return os.path.relpath(path, self._root), data, [label]
