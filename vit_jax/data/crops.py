# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Random boxes of an image, after Inception (Szegedy et al., 2015).

Its paper gives the ranges of a box's area and aspect. Of these TensorFlow and
torchvision made two distributions, and TensorFlow's boxes are the smaller: of
500x375 px, at areas of 5 to 100 %, they have 33 % of the image on average, and
torchvision's 42 %.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from vit_jax.data.jpeg import Box

Crop = Literal["distorted_box", "random_resized", "none"]

# Ranges of a box's width over its height.
TENSORFLOW_ASPECT = (0.75, 1.33)
TORCHVISION_ASPECT = (3 / 4, 4 / 3)
LOG_ASPECT = tuple(np.log(TORCHVISION_ASPECT).tolist())


def sample_distorted_box(
  height: int,
  width: int,
  rng: np.random.Generator,
  area: tuple[float, float],
) -> Box:
  """Samples a box as TensorFlow's `sample_distorted_bounding_box` does.

  Without objects to cover, as the ViT authors, AugReg and big_vision call it:
  the aspect is uniform, then the height between those of the least and the
  largest area. What does not fit is drawn again, a hundred times at most; so if
  the range of areas is narrow, few boxes fit.

  Args:
    height: height of the image (H).
    width: width of the image (W).
    rng: random generator.
    area: range of the box's share of the image's area.

  Returns:
    (top, left, height, width); the whole image if no draw fits.
  """
  least, most = (share * height * width for share in area)
  low, high = TENSORFLOW_ASPECT
  for _ in range(100):
    aspect = low + (high - low) * rng.random()
    h = round(math.sqrt(least / aspect))
    tallest = round(math.sqrt(most / aspect))
    if round(tallest * aspect) > width:
      tallest = int((width + 0.5) / aspect)
      tallest -= round(tallest * aspect) > width
    tallest = min(tallest, height)
    if h < tallest:
      h += int(rng.integers(tallest - h + 1))
    else:
      h = tallest
    w = round(h * aspect)
    # Rounding alone shall not take it out of the range.
    if h * w < least:
      h += 1
      w = round(h * aspect)
    if h * w > most:
      h -= 1
      w = round(h * aspect)
    fits = 0 < h <= height and 0 < w <= width
    if fits and least <= h * w <= most:
      # The last place is never drawn there.
      top = int(rng.integers(height - h)) if h < height else 0
      left = int(rng.integers(width - w)) if w < width else 0
      return top, left, h, w
  return 0, 0, height, width


def sample_random_resized(
  height: int,
  width: int,
  rng: np.random.Generator,
  area: tuple[float, float],
) -> Box:
  """Samples a box as torchvision's `RandomResizedCrop`, and timm's, do.

  The area is uniform, and so is the logarithm of the aspect. Arguments as of
  `sample_distorted_box`.

  Returns:
    (top, left, height, width); if ten draws do not fit, the largest box in the
    middle whose aspect is in the range.
  """
  for _ in range(10):
    pixels = height * width * rng.uniform(*area)
    ratio = float(np.exp(rng.uniform(*LOG_ASPECT)))
    w = round(math.sqrt(pixels * ratio))
    h = round(math.sqrt(pixels / ratio))
    if 0 < h <= height and 0 < w <= width:
      top = int(rng.integers(height - h + 1))
      left = int(rng.integers(width - w + 1))
      return top, left, h, w
  low, high = TORCHVISION_ASPECT
  h = max(1, min(height, round(width / low)))
  w = max(1, min(width, round(height * high)))
  return (height - h) // 2, (width - w) // 2, h, w


# Value of `data.crop` -> what samples its boxes.
CROPS: dict[str, Callable[..., Box]] = {
  "distorted_box": sample_distorted_box,
  "random_resized": sample_random_resized,
}
