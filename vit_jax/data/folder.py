# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images, one a class: data.source=folder:DIR[#CLASS+CLASS...].

Either DIR/train/CLASS/, DIR/val/CLASS/ and DIR/test/CLASS/, of which only the
first is required, or DIR/CLASS/ alone. Of the latter a tenth is the test split.
Whether an image is in it depends on its class and name alone, so the split is
the same on every machine, and adding images moves no other. With #CLASS, only
the classes that are named are used.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures
from typing import Any

from vit_jax.config import ConfigError, nearest
from vit_jax.data.examples import Examples
from vit_jax.data.fingerprint import make_digest
from vit_jax.data.info import (
  DataError,
  DatasetInfo,
  find_gone,
  make_read_error,
  make_splits,
)
from vit_jax.data.transforms import MAX_BYTES
from vit_jax.storage.untrusted import read_file

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

# First bytes of such files.
STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")

# Folder -> split.
SPLITS = {
  "train": "train",
  "val": "validation",
  "valid": "validation",
  "validation": "validation",
  "test": "test",
}

Pair = tuple[pathlib.Path, str]  # (folder of a split, CLASS/FILE).

TENTH = (
  10  # One image of so many is a test image, if there are no split folders.
)


def read_labelled(item: tuple[str, int]) -> dict[str, Any]:
  """Reads the example of a pair (path, label).

  The image is empty, and so unreadable, if this one file is missing, too large
  or not a regular file.

  Raises:
    DataError: if its folder or its disk is gone.
  """
  path, label = item
  try:
    image = read_file(path, MAX_BYTES)
  except ConfigError:
    image = b""
  except OSError as error:
    alone = isinstance(error, FileNotFoundError | PermissionError)
    if not alone or find_gone(path):
      raise make_read_error(path, error.strerror) from error
    image = b""
  return {"image": image, "label": label, "name": path}


@dataclasses.dataclass(frozen=True)
class Folder:
  """Content of a folder of classes.

  Attributes:
    info: facts of the data set.
    splits: split name -> examples, of items (path, label). Their order is a
      hash of their names, so that any slice of a split has all classes.
    bad: (path, reason) of files with an image's suffix that are not images.
    other: number of files with other suffixes.
    hashed: whether the test split was cut from all images.
    facts: split name -> its part of the fingerprint.
  """

  info: DatasetInfo
  splits: dict[str, Examples]
  bad: tuple[tuple[str, str], ...]
  other: int
  hashed: bool
  facts: dict[str, dict[str, Any]]

  def open(self, split: str) -> Examples:
    """Opens a split, as "train[:90%]".

    Raises:
      DataError: if there is no such split, or no example in it.
    """
    items: list[tuple[str, int]] = []
    for name, start, stop in self.info.find_ranges(split):
      items += self.splits[name].items[start:stop]
    return Examples(items, read_labelled)

  def describe(self) -> str:
    """Describes what was found."""
    splits = ", ".join(
      f"{name} {len(examples):,}" for name, examples in self.splits.items()
    )
    how = ", a tenth for testing" if self.hashed else ""
    lines = [
      f"{self.info.name}: {self.info.num_classes:,} classes, images: "
      f"{splits}{how}"
    ]
    if self.other:
      lines.append(f"  ignored, as not jpg, png or webp: {self.other:,} files")
    if self.bad:
      lines.append(f"  {len(self.bad):,} files are left out, not being images:")
      lines += [f"    {path}: {why}" for path, why in self.bad[:5]]
      lines += ["    ..."] if len(self.bad) > 5 else []
    return "\n".join(lines)


def find_files(root: pathlib.Path) -> tuple[list[str], int]:
  """Finds the images below a folder.

  Returns:
    Their paths below the folder, sorted, and the number of other files.
  """
  found, other = [], 0
  for parent, folders, names in os.walk(root, followlinks=True):
    folders[:] = [
      name
      for name in folders
      if not name.startswith(".") and not _is_loop(root, parent, name)
    ]
    for name in names:
      if name.startswith("."):
        continue
      if name.lower().endswith(SUFFIXES):
        path = pathlib.Path(parent, name)
        found.append(path.relative_to(root).as_posix())
      else:
        other += 1
  return sorted(found), other


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


def parse_class(file: str) -> str:
  """Returns CLASS of CLASS/FILE."""
  return file.split("/")[0]


def _select(classes: list[str], wanted: Sequence[str], name: str) -> list[str]:
  """Returns the wanted classes, sorted.

  Raises:
    DataError: if one does not exist.
  """
  for label in wanted:
    if label not in classes:
      raise DataError(
        f"folder:{name} has no class {label!r}: {nearest(label, classes)}"
      )
  return sorted(set(wanted))


def inspect_file(path: str) -> tuple[int, str | None]:
  """Checks by its first bytes whether a file can be an image.

  Returns:
    Its size in bytes, and the reason why it is not an image; None if it can be.
  """
  try:
    if not os.path.isfile(path):
      return 0, "not a regular file"
    with open(path, "rb") as file:
      size, start = os.fstat(file.fileno()).st_size, file.read(16)
  except OSError as error:
    return 0, error.strerror or str(error)
  if not start:
    return 0, "empty"
  return size, None if start.startswith(STARTS) else "not a JPEG, PNG or WebP"


def hash_name(name: str) -> int:
  """Hashes CLASS/FILE to a number below 2^64."""
  digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
  return int.from_bytes(digest, "big")


def is_test_image(name: str) -> bool:
  """Returns whether CLASS/FILE is in the tenth that is the test split."""
  return hash_name(name) % TENTH == 0


def parse_name(name: str) -> tuple[pathlib.Path, tuple[str, ...]]:
  """Splits "DIR#CLASS+CLASS", or "DIR", into the folder and the classes.

  Raises:
    DataError: if there is no such folder.
  """
  path, classes = name, ""
  if not pathlib.Path(name).expanduser().exists() and "#" in name:
    path, _, classes = name.rpartition("#")
  root = pathlib.Path(path).expanduser()
  if not root.is_dir():
    raise DataError(f"data.source=folder:{name}: there is no folder {root}")
  return root, tuple(classes.split("+")) if classes else ()


@functools.cache
def load_folder(name: str) -> Folder:
  """Lists a folder of classes, and reads the first bytes of each file.

  Raises:
    DataError: if it is not a folder of classes.
  """
  root, wanted = parse_name(name)
  inside = sorted(
    path for path in root.iterdir() if path.is_dir() and path.name[0] != "."
  )
  by_split = {
    path: SPLITS[path.name.lower()]
    for path in inside
    if path.name.lower() in SPLITS
  }
  hashed = "train" not in by_split.values()
  if hashed:
    by_split = {root: "train"}
  names: dict[str, list[Pair]] = {}
  other = 0
  for folder, split in by_split.items():
    files, more = find_files(folder)
    other += more
    names.setdefault(split, []).extend((folder, file) for file in files)
  if wanted:
    there = sorted({parse_class(file) for _, file in names["train"]})
    chosen = _select(there, wanted, name)
    names = {
      split: [pair for pair in pairs if parse_class(pair[1]) in chosen]
      for split, pairs in names.items()
    }
  bad, good, sizes = _sort_out(names)
  loose = [file for file in good["train"] if "/" not in file[1]]
  if loose:
    raise DataError(
      f"folder:{name} has images outside of class folders, as {loose[0][1]}: "
      f"move each to a folder with the name of its class"
    )
  classes = sorted({parse_class(file) for _, file in good["train"]})
  if len(classes) < 2:
    raise DataError(
      f"folder:{name} has images of {len(classes)} classes, and at least two "
      f"are needed: arrange images as {root / 'CLASS' / 'photo.jpg'}, or as "
      f"{root / 'train' / 'CLASS' / 'photo.jpg'} with {root / 'test'} beside "
      f"it; images end in {', '.join(SUFFIXES)}"
    )
  if hashed:
    chosen = {file for _, file in good["train"] if is_test_image(file)}
    pairs = good["train"]
    good["train"] = [pair for pair in pairs if pair[1] not in chosen]
    good |= {"test": [x for x in pairs if x[1] in chosen]} if chosen else {}
  elif "test" not in good and "validation" in good:
    good["test"] = good["validation"]
  splits = {
    split: _label(pairs, classes, name) for split, pairs in good.items()
  }
  info = DatasetInfo(
    name=f"folder:{name}",
    directory=None,
    num_classes=len(classes),
    class_names=tuple(classes),
    channels=3,
    splits=make_splits({split: len(x) for split, x in splits.items()}),
  )
  facts = {
    split: _describe_files(pairs, sizes) for split, pairs in good.items()
  }
  return Folder(info, splits, bad, other, hashed, facts)


def _sort_out(
  names: dict[str, list[Pair]],
) -> tuple[tuple, dict[str, list[Pair]], dict[Pair, int]]:
  """Separates images from other files.

  Returns:
    (path, reason) of files that are not images; split -> images; image -> size.
  """
  bad, good, sizes = [], {}, {}
  # In threads, because the disk takes the time.
  with futures.ThreadPoolExecutor(16) as pool:
    for split, pairs in names.items():
      paths = [os.fspath(folder / file) for folder, file in pairs]
      good[split] = []
      for pair, path, (size, fault) in zip(
        pairs, paths, pool.map(inspect_file, paths), strict=True
      ):
        if fault:
          bad.append((path, fault))
        else:
          good[split].append(pair)
          sizes[pair] = size
  return tuple(bad), good, sizes


def _describe_files(
  pairs: list[Pair], sizes: dict[Pair, int]
) -> dict[str, Any]:
  """Computes a split's part of the fingerprint, from names and sizes."""
  ordered = sorted(pairs, key=lambda pair: pair[1])
  return {
    "examples": len(pairs),
    "bytes": sum(sizes[pair] for pair in pairs),
    "names and sizes": make_digest(f"{x[1]} {sizes[x]}" for x in ordered),
  }


def _label(pairs: list[Pair], classes: list[str], name: str) -> Examples:
  """Makes the examples of a split.

  Raises:
    DataError: for a class that the training split does not have.
  """
  index = {label: i for i, label in enumerate(classes)}
  unknown = {parse_class(file) for _, file in pairs} - index.keys()
  if unknown:
    raise DataError(
      f"folder:{name} has classes without training images: "
      f"{', '.join(sorted(unknown)[:5])}"
    )
  pairs = sorted(pairs, key=lambda pair: (hash_name(pair[1]), pair))
  items = [
    (os.fspath(folder / file), index[parse_class(file)])
    for folder, file in pairs
  ]
  return Examples(items, read_labelled)
