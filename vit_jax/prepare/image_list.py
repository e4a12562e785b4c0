# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets given by an image list, of any size and with several labels each.

JSON lines (.jsonl), one image a line:

  {"image": "photos/1.jpg", "labels": ["cat", "sofa"], "split": "train"}

or CSV (.csv), with column names in its first line, and | between labels:

  image,labels,split
  photos/1.jpg,cat|sofa,train

An image is a path, relative to the list's folder or to --root, or a member of
an archive, as photos.tar#1.jpg. Splits are train, val and test; without them
all images are for training. Classes are the labels in sorted order.

Memory: 20 bytes an image, 8 more where some are in archives, and the classes.
The lines stay in the file, and are read again when they are needed.
"""

import hashlib
import os
import tarfile
from array import array

import numpy as np

from vit_jax.config.errors import counted
from vit_jax.data.info import DataError
from vit_jax.data.transforms import MAX_BYTES
from vit_jax.metrics.progress import Progress
from vit_jax.prepare.archives import iterate, read_member
from vit_jax.prepare.image_list_lines import (
  COLUMNS,
  MAX_LINE,
  ImageList,
  read_csv,
  split_image,
)
from vit_jax.prepare.listing import Meter, Source, hash_name
from vit_jax.storage.paths import locate
from vit_jax.storage.untrusted import read_file

MAX_ERRORS = 5  # Invalid lines that are reported.

SAMPLE = 1000  # Files whose sizes estimate the space that all take.

LOOSE = -1  # Archive number of images that are in none.


class ListedSplit:
  """The images of one split of an image list.

  Attributes:
    keys: uint64 [n], hashes of the images' names.
    archives: int32 [n], numbers of archives, or LOOSE.
    members: uint64 [n], offsets of headers in archives.
    num_bytes: bytes of all images; estimated where they are files.
    digest: hash of the lines.
  """

  def __init__(self, image_list: ImageList, archives: list[str]):
    """Starts without lines.

    Args:
      image_list: where the lines are.
      archives: names of the list's archives; grows while lines are added.
    """
    self._image_list, self._names = image_list, archives
    self._classes: dict[str, int] = {}
    self._lines, self._keys, self._archives = array("Q"), array("Q"), array("i")
    self._digest = hashlib.blake2b(digest_size=16)
    self.members = np.zeros(0, np.uint64)
    self.num_bytes = 0

  def add(self, offset: int, line: bytes, image: str, archive: int) -> None:
    """Adds the line at `offset`."""
    self._lines.append(offset)
    self._keys.append(hash_name(image))
    self._archives.append(archive)
    self._digest.update(line.strip() + b"\n")

  def close(self, classes: dict[str, int]) -> None:
    """Ends adding lines, and sets which label is which class."""
    self._classes = classes
    self.keys = np.frombuffer(self._keys, np.uint64)
    self.archives = np.frombuffer(self._archives, np.int32)
    self.digest = self._digest.hexdigest()
    if (self.archives != LOOSE).any():
      self.members = np.zeros(len(self.keys), np.uint64)

  def locate(self, index: int) -> str:
    """Returns the path of an image, for reports."""
    listed = self._image_list.read(self._lines[index])
    return self._image_list.locate(listed.image)

  def load(self, index: int) -> tuple[str, bytes, list[int]]:
    """Reads (name in the list, encoded image, labels)."""
    listed = self._image_list.read(self._lines[index])
    archive = self.archives[index]
    if archive != LOOSE:
      path = self._image_list.locate(self._names[archive])
      _, data = read_member(path, int(self.members[index]))
    else:
      data = read_file(self._image_list.locate(listed.image), MAX_BYTES)
    return listed.image, data, [self._classes[x] for x in listed.labels]


def load_image_list(
  path: str, name: str, root: str | None, progress: Progress
) -> Source:
  """Reads an image list once, and the headers of its archives.

  Args:
    path: path of the list.
    name: name of the set to be made.
    root: directory that relative paths start from; None is the list's own.
    progress: where progress is shown.

  Raises:
    DataError: for invalid lines and missing images.
  """
  image_list = open_image_list(path, root)
  archives: list[str] = []
  numbers: dict[str, int] = {}
  splits: dict[str, ListedSplit] = {}
  labels: set[str] = set()
  slots = 1
  errors = []
  meter = Meter(progress, os.path.getsize(path), "bytes of the image list")
  for number, offset, line in image_list.iterate():
    meter.add(len(line))
    try:
      listed = image_list.parse(line)
    except ValueError as error:
      errors.append(f"  line {number:,}: {error}")
      if len(errors) == MAX_ERRORS:
        break
      continue
    archive, _ = split_image(listed.image)
    if archive and archive not in numbers:
      numbers[archive] = len(archives)
      archives.append(archive)
    if listed.split not in splits:
      splits[listed.split] = ListedSplit(image_list, archives)
    splits[listed.split].add(
      offset, line, listed.image, numbers[archive] if archive else LOOSE
    )
    labels.update(listed.labels)
    slots = max(slots, len(listed.labels))
  progress.end()
  if errors:
    raise DataError(f"{path} has invalid lines:\n" + "\n".join(errors))
  if not splits:
    raise DataError(f"{path} lists no image")
  classes = {label: i for i, label in enumerate(sorted(labels))}
  for split in splits.values():
    split.close(classes)
  find_members(image_list, archives, list(splits.values()), progress)
  for split in splits.values():
    estimate_bytes(split, image_list)
  return Source(
    name, f"listed by {os.path.basename(path)}", list(classes), slots, splits
  )


def open_image_list(path: str, root: str | None) -> ImageList:
  """Checks the kind of an image list, and its first line.

  Raises:
    DataError: if it is neither CSV with the right columns nor JSON lines.
  """
  root = os.fspath(locate(root or os.path.dirname(path)))
  if not os.path.isfile(path):
    raise DataError(f"manifest:{path}: there is no such file")
  if not os.path.isdir(root or "."):
    raise DataError(f"--root={root}: there is no such folder")
  if path.endswith(".jsonl"):
    return ImageList(path, root, None)
  if not path.endswith(".csv"):
    raise DataError(f"manifest:{path} must be a .jsonl or .csv file")
  with open(path, encoding="utf-8-sig", errors="replace") as file:
    columns = tuple(read_csv(file.readline(MAX_LINE)))
  if sorted(columns) not in (sorted(COLUMNS), sorted(COLUMNS[:2])):
    raise DataError(
      f"{path} has the columns {','.join(columns)} in its first line, and must "
      f"have image,labels or image,labels,split"
    )
  return ImageList(path, root, columns)


def find_members(
  image_list: ImageList,
  archives: list[str],
  splits: list[ListedSplit],
  progress: Progress,
) -> None:
  """Finds the offsets of all members, reading each archive's headers once.

  Raises:
    DataError: for archives that cannot be read, and members that are missing.
  """
  errors = []
  # The images of each archive, one archive after another.
  orders = [np.argsort(split.archives, kind="stable") for split in splits]
  meter = Meter(progress, len(archives), "archives listed")
  for number, name in enumerate(archives):
    path = image_list.locate(name)
    try:
      keys, offsets, sizes = list_members(path, name)
    except (OSError, tarfile.TarError) as error:
      errors.append(f"  {path} cannot be read: {error}")
      continue
    for split, order in zip(splits, orders, strict=True):
      start, stop = np.searchsorted(
        split.archives, [number, number + 1], sorter=order
      )
      rows = order[start:stop]
      wanted = split.keys[rows]
      missing = rows[~np.isin(wanted, keys)]
      if len(missing):
        first = split.locate(int(missing[0]))
        errors.append(
          f"  missing: {counted(len(missing), 'image')}, as {first}"
        )
        continue
      places = np.searchsorted(keys, wanted)
      split.members[rows] = offsets[places]
      split.num_bytes += int(sizes[places].sum())
    meter.add()
  progress.end()
  if errors:
    more = [f"  and {len(errors) - MAX_ERRORS:,} more archives"]
    shown = errors[:MAX_ERRORS] + more * (len(errors) > MAX_ERRORS)
    raise DataError(
      "the image list does not match its archives:\n" + "\n".join(shown)
    )


def list_members(
  path: str, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lists the members of an archive.

  Args:
    path: path of the archive.
    name: name of the archive in the image list.

  Returns:
    uint64 [n] each, sorted by the first: hashes of the members' names in the
    image list, offsets of their headers, their sizes.
  """
  keys, offsets, sizes = array("Q"), array("Q"), array("Q")
  with open(path, "rb") as file:
    for member in iterate(file):
      if member.isreg():
        keys.append(hash_name(f"{name}#{member.name.removeprefix('./')}"))
        offsets.append(member.offset)
        sizes.append(member.size)
  table = np.array([keys, offsets, sizes], np.uint64)
  keys, offsets, sizes = table[:, np.argsort(table[0])]
  return keys, offsets, sizes


def estimate_bytes(split: ListedSplit, image_list: ImageList) -> None:
  """Adds the bytes of a split's loose files, estimated from a sample.

  Raises:
    DataError: if all files of the sample are missing.
  """
  loose = np.flatnonzero(split.archives == LOOSE)
  if not len(loose):
    return
  some = loose[np.argsort(split.keys[loose])[:SAMPLE]]
  sizes, missing = [], []
  for index in map(int, some):
    path = split.locate(index)
    if os.path.isfile(path):
      sizes.append(os.path.getsize(path))
    else:
      missing.append(path)
  if not sizes:
    raise DataError(
      f"all images are missing, as {missing[0]}: relative paths start from "
      f"{os.path.abspath(image_list.root)}, change that with --root=DIR"
    )
  split.num_bytes += int(np.mean(sizes) * len(loose))
