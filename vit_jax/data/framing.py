# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What of an image a model sees: all of it, or its middle.

Programs agree on a central crop up to a pixel: how the longer side and the
corner of the crop are rounded is a rule of each.

big_vision
  Every length to the nearest, the corner down.
timm
  The sides that the crop is cut from down; the longer side of the image, where
  the crop is a square, down; the corner to the nearest even number.
transformers
  The longer side and the corner down.
"""

import math
from typing import Literal

import numpy as np

from vit_jax.data.resize import Resize, central_crop, cut_middle, resize

Rounding = Literal["big_vision", "timm", "transformers"]


def compute_around(
  size: tuple[int, int], crop: float, rounding: Rounding
) -> tuple[int, int]:
  """The sides (h, w) of which a crop of `size` is the share `crop`."""
  turn = math.floor if rounding == "timm" else round
  height, width = (max(side, turn(side / crop)) for side in size)
  return height, width


def frame(
  image: np.ndarray,
  size: tuple[int, int],
  crop: float | None,
  method: Resize,
  *,
  squash: bool,
  rounding: Rounding,
) -> np.ndarray:
  """Fits an image for evaluation: [h w c].

  Args:
    image: uint8 [H W c].
    size: height and width (h, w).
    crop: share of a central crop; None resizes the whole image.
    method: of resizing.
    squash: resizes both sides before the crop, whatever the aspect ratio.
    rounding: see above.
  """
  if crop is None:
    return resize(image, size, method)
  if rounding == "big_vision" and not squash:
    return central_crop(image, size, crop, method)
  around = compute_around(size, crop, rounding)
  if squash:
    return _cut(resize(image, around, method), size, rounding)
  height, width = image.shape[:2]
  # Of a panorama only the middle is resized: all of it may not fit in memory.
  scale = max(around[0] / height, around[1] / width)
  most = [math.ceil(8 * side / scale) for side in around]
  image = cut_middle(image, (most[0], most[1]))
  height, width = image.shape[:2]
  if around[0] == around[1]:
    short, long = sorted((height, width))
    long = int(around[0] * long / short)
    covered = (long, around[0]) if width <= height else (around[0], long)
  else:
    # Divided as timm does, for the same last bit.
    ratio = min(height / around[0], width / around[1])
    covered = round(height / ratio), round(width / ratio)
  return _cut(resize(image, covered, method), size, rounding)


def _cut(
  image: np.ndarray, size: tuple[int, int], rounding: Rounding
) -> np.ndarray:
  """Cuts out the middle [h w c], its corner rounded by the rule."""
  if rounding != "timm":
    return cut_middle(image, size)
  (height, width), (h, w) = image.shape[:2], size
  # To the nearest, and halves to the even: as Python rounds.
  top, left = round((height - h) / 2), round((width - w) / 2)
  return image[top : top + h, left : left + w]
