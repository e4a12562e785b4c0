# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images and masks: data.source=segmentation:DIR.

DIR/train/images/NAME.jpg, of any format that is read, has its classes in
DIR/train/masks/NAME.png: a grey of 8 bits, or an entry of a palette, is the
number of a pixel's class, and 255 that it has none. Likewise DIR/validation and
DIR/test. DIR/classes.txt has a class a line; without it the largest number is
the last class. All masks are read before a run begins.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from vit_jax.config.errors import counted
from vit_jax.data import formats
from vit_jax.data.copies import describe_copies, find_alike, find_copies
from vit_jax.data.examples import Examples
from vit_jax.data.fingerprint import make_digest
from vit_jax.data.folder import read_labelled
from vit_jax.data.folder_files import find_files
from vit_jax.data.held_out import hash_name
from vit_jax.data.info import DataError, DatasetInfo, make_splits
from vit_jax.data.masks import UNLABELLED, Mask
from vit_jax.data.transforms import MAX_BYTES
from vit_jax.storage.untrusted import MAX_TEXT, read_file

SPLITS = ("train", "validation", "test")
SHOWN = 5  # Files of an error.
TURNED = (5, 6, 7, 8)  # Orientations of EXIF that swap height and width.


class Pair(NamedTuple):
  """An image and its mask.

  Attributes:
    image: path of the image.
    mask: path of the mask.
    classes: number of classes (Y).
  """

  image: str
  mask: str
  classes: int


def read_pair(pair: Pair) -> dict[str, Any]:
  """Reads an example, whose label is a `Mask`.

  Raises:
    DataError: if a folder or its disk is gone, or a mask cannot be read.
  """
  example = read_labelled((pair.image, -1))
  png = read_labelled((pair.mask, -1))["image"]
  return example | {"label": Mask(png, pair.mask, pair.classes)}


@dataclasses.dataclass(frozen=True)
class Masked:
  """Content of a folder of images and masks.

  Attributes:
    info: facts of the data set.
    splits: split name -> examples, of items `Pair`, in the order of a hash of
      their names.
    facts: split name -> its part of the fingerprint.
    alone: number of masks without an image, which are left out.
    absent: names of classes that no pixel of train has.
    alike: groups of images that may be copies, see `copies.find_alike`.
  """

  info: DatasetInfo
  splits: dict[str, Examples]
  facts: dict[str, dict[str, Any]]
  alone: int
  absent: Sequence[str]
  alike: list[list[str]]

  def open(self, split: str) -> Examples:
    """Opens a split, as "train[:90%]".

    Raises:
      DataError: if there is no such split, or no example in it.
    """
    items: list[Pair] = []
    for name, start, stop in self.info.find_ranges(split):
      items += self.splits[name].items[start:stop]
    return Examples(items, read_pair)

  def describe(self) -> str:
    """Describes what was found."""
    sizes = ", ".join(f"{name} {len(x):,}" for name, x in self.splits.items())
    names = self.info.class_names
    line = (
      f"{self.info.name}: {len(names)} classes, images: {sizes}"
      f"\n  {_shorten(names)}"
    )
    if self.absent:
      line += f"\n  no pixel of train has: {_shorten(self.absent)}"
    if self.alone:
      line += f"\n  left out: {counted(self.alone, 'mask')} without an image"
    items = {
      split: [(pair.image, 0) for pair in x.items]
      for split, x in self.splits.items()
    }
    warnings = describe_copies(find_copies(self.alike), items)
    return "\n".join([line, *warnings])


@functools.cache
def load_masked(name: str) -> Masked:
  """Lists a folder of images and masks, and reads all masks.

  Raises:
    DataError: for all that is wrong with it.
  """
  root = pathlib.Path(os.path.expanduser(name))
  if not root.is_dir():
    raise DataError(
      f"data.source=segmentation:{name}: there is no folder {root}"
    )
  pairs: dict[str, list[tuple[str, str]]] = {}
  errors: list[str] = []
  alone = 0
  for split in SPLITS:
    if (root / split / "images").is_dir():
      found = find_pairs(root / split, errors)
      pairs[split] = found.pairs
      alone += found.alone
  if not pairs.get("train") and not errors:
    raise DataError(
      f"segmentation:{name} has no images to train on: arrange them as "
      f"{root / 'train' / 'images' / 'NAME.jpg'} with "
      f"{root / 'train' / 'masks' / 'NAME.png'}, and {root / 'validation'} "
      f"beside it"
    )
  names = load_names(root)
  every = [pair for split in pairs.values() for pair in split]
  limit = None if names is None else check_count(name, root, len(names))
  read = _map(functools.partial(read_classes, limit=limit), every)
  errors += [x for x in read if isinstance(x, str)]
  _raise_all(name, errors)
  if names is None:
    largest = max((max(x, default=-1) for x in read), default=-1)
    names = [str(i) for i in range(check_count(name, root, largest + 1))]
  there = set().union(*read[: len(pairs["train"])])  # It is the first.
  if len(there) < 2:
    found = "".join(f" {i}, {names[i]}," for i in there)
    raise DataError(
      f"segmentation:{name}: the masks of train have one class{found} beside "
      f"{UNLABELLED}, which is for pixels without one, so there is nothing to "
      f"learn: classes are numbered from 0"
    )
  splits = {
    split: Examples([Pair(*pair, len(names)) for pair in found], read_pair)
    for split, found in pairs.items()
  }
  info = DatasetInfo(
    name=f"segmentation:{name}",
    directory=None,
    num_classes=len(names),
    class_names=tuple(names),
    channels=3,
    splits=make_splits({split: len(x) for split, x in splits.items()}),
  )
  facts = {split: _describe_files(root, x) for split, x in pairs.items()}
  absent = [x for i, x in enumerate(names) if i not in there]
  images = [image for found in pairs.values() for image, _ in found]
  alike = find_alike({path: os.path.getsize(path) for path in images})
  return Masked(info, splits, facts, alone, absent, alike)


def check_count(name: str, root: pathlib.Path, count: int) -> int:
  """Returns a number of classes; raises DataError for one that is none."""
  if 2 <= count <= UNLABELLED:
    return count
  raise DataError(
    f"segmentation:{name} has {counted(count, 'class')}, and 2 to {UNLABELLED} "
    f"can be told apart: name them in {root / 'classes.txt'}, one a line; "
    f"{UNLABELLED} in a mask is no class"
  )


class Found(NamedTuple):
  """What a split has.

  Attributes:
    pairs: paths of images and their masks, in the order of a hash.
    alone: number of masks without an image.
  """

  pairs: list[tuple[str, str]]
  alone: int


def find_pairs(split: pathlib.Path, errors: list[str]) -> Found:
  """Finds the images of a split and their masks; appends what is wrong."""
  images: dict[str, list[str]] = {}
  for file in find_files(split / "images").files:
    images.setdefault(os.path.splitext(file)[0], []).append(file)
  masks = find_files(split / "masks").files if images else []
  there = {x.removesuffix(".png") for x in masks if x.endswith(".png")}
  missing = [x for x in sorted(images) if x not in there]
  errors += [f"there is no mask {split / 'masks' / x}.png" for x in missing]
  errors += [
    f"{split / 'images'} has {len(files)} images {stem}: one mask is for one"
    for stem, files in images.items()
    if len(files) > 1
  ]
  stems = sorted(images.keys() & there, key=lambda x: (hash_name(x), x))
  pairs = [
    (str(split / "images" / images[x][0]), str(split / "masks" / f"{x}.png"))
    for x in stems
  ]
  return Found(pairs, len(there - images.keys()))


def read_size(path: str, known: Sequence[str] | None = None) -> tuple[int, int]:
  """Reads (height, width) of an image as it stands upright.

  Args:
    path: of the file.
    known: Pillow's names of formats; None is all that are read.
  """
  known = tuple(formats.find_formats() if known is None else known)
  with PIL.Image.open(path, formats=known) as image:
    turned = image.getexif().get(0x0112) in TURNED
    width, height = image.size[:: -1 if turned else 1]
  return height, width


def read_classes(pair: tuple[str, str], limit: int | None) -> set[int] | str:
  """Reads the classes of a mask, or says what is wrong with it.

  An image that cannot be read is left to `data.max_unreadable`.

  Args:
    pair: paths of an image and its mask.
    limit: number of classes; None if it is not known.
  """
  image, name = pair
  try:
    mask = Mask(read_file(name, MAX_BYTES), name, limit).decode()
  except (OSError, DataError) as error:
    return str(error)
  try:
    size = read_size(image)
  except Exception:  # Untrusted bytes can cause any.
    size = mask.shape
  if size != mask.shape:
    (height, width), (own_height, own_width) = size, mask.shape
    return (
      f"{name} is {own_width}x{own_height} px, and its image "
      f"{width}x{height}: a mask has the size of its image"
    )
  counts = np.bincount(mask.ravel(), minlength=UNLABELLED + 1)
  return set(np.flatnonzero(counts[:UNLABELLED]).tolist())


def load_names(root: pathlib.Path) -> list[str] | None:
  """Reads classes.txt; None if there is none."""
  path = root / "classes.txt"
  try:
    if not path.exists():
      return None
    text = read_file(path, MAX_TEXT).decode("utf-8-sig")
  except (OSError, ValueError) as error:
    raise DataError(f"{path}: {error}") from error
  names = [line.strip() for line in text.rstrip().splitlines()]
  if "" in names:
    raise DataError(
      f"{path}: line {names.index('') + 1} is empty, and the number of a class "
      f"is that of its line"
    )
  return names


def _shorten(names: Sequence[str]) -> str:
  """Lists the first 20 names."""
  return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _map(function: Any, items: Sequence[Any]) -> list[Any]:
  """Applies a function in threads, as the disk takes the time."""
  with futures.ThreadPoolExecutor(16) as pool:
    return list(pool.map(function, items))


def _raise_all(name: str, errors: Sequence[str]) -> None:
  """Raises DataError with the first of many errors, if there are any."""
  if errors:
    more = len(errors) - SHOWN
    lines = [*errors[:SHOWN], *([f"and {more:,} more"] if more > 0 else [])]
    raise DataError("\n  ".join([f"segmentation:{name} is not whole:", *lines]))


def _describe_files(
  root: pathlib.Path, pairs: Sequence[tuple[str, str]]
) -> dict[str, Any]:
  """Computes a split's part of the fingerprint, from names and sizes."""
  files = sorted(path for pair in pairs for path in pair)
  lines = [
    f"{pathlib.Path(x).relative_to(root).as_posix()} {os.path.getsize(x)}"
    for x in files
  ]
  return {"examples": len(pairs), "names and sizes": make_digest(lines)}
