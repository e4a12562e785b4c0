# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images that nobody took: data.source=synthetic:CLASSES.

To try a recipe, a machine or the input without a data set; nothing can be
learned from them. Every one is a JPEG of 256 px that has to be decoded like any
other.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from vit_jax.data.info import DataError, DatasetInfo, make_splits
from vit_jax.data.known import KNOWN

SIDE = 256
DISTINCT = 64  # Different images; a label is of the index, not of the image.
SIZES = {"train": 1_281_167, "test": 50_000}  # As of ImageNet.


@functools.cache
def _draw(index: int) -> bytes:
  """A JPEG of smooth noise."""
  rng = np.random.default_rng(index)
  coarse = rng.integers(0, 256, (16, 16, 3), np.uint8)
  image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
  return cv2.imencode(".jpg", image)[1].tobytes()


@dataclasses.dataclass(frozen=True)
class Examples(Sequence[dict[str, Any]]):
  """Images by index.

  Attributes:
    name: of the split, which the labels depend on.
    start: the first index.
    stop: one after the last.
    classes: Y.
  """

  name: str
  start: int
  stop: int
  classes: int

  def __len__(self) -> int:
    return self.stop - self.start

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(index)
    index += self.start
    name = f"{self.name}/{index}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    label = int.from_bytes(digest, "big") % self.classes
    return {"image": _draw(index % DISTINCT), "label": label, "name": name}


def load_info(name: str) -> DatasetInfo:
  """Facts of synthetic:NAME, a number of classes or a known set's name.

  Raises:
    DataError: if it is neither.
  """
  if name in KNOWN:
    classes, sizes = KNOWN[name].num_classes, KNOWN[name].splits
  elif name.isdecimal() and int(name) > 1:
    classes, sizes = int(name), SIZES
  else:
    raise DataError(
      f"data.source=synthetic:{name} is not of the form synthetic:CLASSES, as "
      f"synthetic:1000, or synthetic:NAME for the sizes of one of "
      f"{', '.join(KNOWN)}"
    )
  return DatasetInfo(
    name=f"synthetic:{name}",
    directory=None,
    num_classes=classes,
    class_names=(),
    channels=3,
    splits=make_splits(sizes),
  )


def open_source(name: str, split: str) -> Examples:
  """The examples of one part of a split.

  Raises:
    DataError: if there is no such split, or it has several parts.
  """
  info = load_info(name)
  ranges = info.get_ranges(split)
  if len(ranges) > 1:
    raise DataError(f"synthetic:{name} is read in one piece, not {split!r}")
  return Examples(*ranges[0], info.num_classes)
