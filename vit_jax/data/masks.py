# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of segmentation: a class for each pixel, 255 where there is none.

Worker processes import this module, so it imports no jax.
"""

import io
import math
from typing import NamedTuple

import numpy as np
import PIL.Image

from vit_jax.data.info import DataError
from vit_jax.data.jpeg import Box
from vit_jax.data.transforms import MAX_PIXELS

UNLABELLED = 255
GREY, PALETTE = 0, 3  # Colour types of PNG.


class Mask(NamedTuple):
  """A mask that is still encoded.

  Attributes:
    png: the file.
    name: its path, for messages.
    classes: number of classes (Y); None if it is not known yet.
  """

  png: bytes
  name: str
  classes: int | None

  def decode(self) -> np.ndarray:
    """Decodes the class of each pixel: uint8 [H W].

    Raises:
      DataError: if it is no such PNG, or has a number that is no class.
    """
    try:
      mask = decode_mask(self.png)
    except ValueError as error:
      raise DataError(f"{self.name}: {error}") from error
    largest = find_largest(mask)
    if self.classes is not None and largest >= self.classes:
      raise DataError(
        f"{self.name} has the class {largest}, and there are {self.classes}, "
        f"0 to {self.classes - 1}, and {UNLABELLED} for pixels without one: "
        f"correct it, or name all classes in classes.txt"
      )
    return mask


def decode_mask(png: bytes) -> np.ndarray:
  """Decodes a PNG of class numbers, as greys or of a palette: uint8 [H W].

  Raises:
    ValueError: if it is something else.
  """
  depth, kind = (png[24], png[25]) if len(png) > 25 else (0, 0)
  try:
    with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as image:
      # Greys of 2 or 4 bits would be scaled to 8.
      if kind != PALETTE and (kind, depth) not in ((GREY, 8), (GREY, 1)):
        raise ValueError(
          f"its pixels are {image.mode} of {depth} bits, and those of a mask "
          f"are class numbers: greys of 8 bits, or a palette"
        )
      if math.prod(image.size) > MAX_PIXELS:
        raise ValueError(f"it is larger than {MAX_PIXELS:,} pixels")
      return np.asarray(image).astype(np.uint8)
  except ValueError:
    raise
  except Exception as error:  # Untrusted bytes can cause any.
    raise ValueError(f"not a readable PNG ({len(png)} bytes)") from error


def find_largest(mask: np.ndarray) -> int:
  """Finds the largest class of a mask; -1 if no pixel has one."""
  found = mask[mask != UNLABELLED]
  return int(found.max()) if found.size else -1


def cut_mask(mask: np.ndarray, box: Box | None, out: np.ndarray) -> None:
  """Resizes a box of a mask by the nearest neighbour.

  A pixel takes the class at its centre, so that a mask stays below an image
  that is resized about the centres of pixels, as all methods of `resize` do.

  Args:
    mask: uint8 [H W].
    box: top, left, height and width; None is the whole mask.
    out: uint8 [h w], where it is written.
  """
  top, left, height, width = box or (0, 0, *mask.shape)
  rows, columns = (
    start + (2 * np.arange(new) + 1) * old // (2 * new)
    for start, old, new in (
      (top, height, out.shape[0]),
      (left, width, out.shape[1]),
    )
  )
  out[...] = mask[rows[:, None], columns[None]]
