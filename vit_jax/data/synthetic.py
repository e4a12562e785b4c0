# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic images: data.source=synthetic:CLASSES.

For trying a recipe, a machine or the input pipeline without a data set; nothing
can be learned from them. Each is a JPEG of 256 px, decoded like any other.
"""

import functools
import hashlib
from typing import Any

import cv2
import numpy as np

from vit_jax.data.catalogue import CATALOGUE
from vit_jax.data.examples import Examples
from vit_jax.data.info import DataError, DatasetInfo, make_splits

SIDE = 256
DISTINCT = 64  # Number of different images; labels depend on the index alone.
SIZES = {"train": 1_281_167, "test": 50_000}  # As of ImageNet.


@functools.cache
def _draw(index: int) -> bytes:
  """Draws a JPEG of smooth noise."""
  rng = np.random.default_rng(index)
  coarse = rng.integers(0, 256, (16, 16, 3), np.uint8)
  image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
  return cv2.imencode(".jpg", image)[1].tobytes()


def _make_example(split: str, num_classes: int, index: int) -> dict[str, Any]:
  """Makes an example; its label is a function of its split and its index."""
  name = f"{split}/{index}"
  digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
  label = int.from_bytes(digest, "big") % num_classes
  return {"image": _draw(index % DISTINCT), "label": label, "name": name}


def load_info(name: str) -> DatasetInfo:
  """Makes the facts of synthetic:NAME.

  Args:
    name: a number of classes, or the name of a set of the catalogue.

  Raises:
    DataError: if it is neither.
  """
  if name in CATALOGUE:
    classes, sizes = CATALOGUE[name].num_classes, CATALOGUE[name].splits
  elif name.isdecimal() and int(name) > 1:
    classes, sizes = int(name), SIZES
  else:
    raise DataError(
      f"data.source=synthetic:{name} is invalid: write synthetic:CLASSES, as "
      f"synthetic:1000, or synthetic:NAME for the sizes of one of "
      f"{', '.join(CATALOGUE)}"
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
  """Opens a split or a slice of one.

  Raises:
    DataError: if there is no such split, or it joins several slices.
  """
  info = load_info(name)
  ranges = info.find_ranges(split)
  if len(ranges) > 1:
    raise DataError(
      f"synthetic:{name} cannot join slices: {split!r} must be a single one"
    )
  name, start, stop = ranges[0]
  read = functools.partial(_make_example, name, info.num_classes)
  return Examples(range(start, stop), read)
