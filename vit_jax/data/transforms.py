# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the host does to an image: decode, crop, resize; uint8 in, uint8 out."""

import cv2
import numpy as np

# Grain reads with many threads; OpenCV's own would only fight them.
cv2.setNumThreads(0)


def decode(data: bytes, channels: int) -> np.ndarray:
  """Encoded image -> uint8 [H W c], colours in the order RGB.

  Args:
    data: a JPEG, PNG or other file that OpenCV reads.
    channels: 1 for grey, 3 for colour.

  Raises:
    ValueError: if it is no image, or a broken one.
  """
  flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
  image = None
  if data:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
  if image is None:
    raise ValueError(f"not a readable image ({len(data)} bytes)")
  return image[:, :, None] if channels == 1 else image


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H W c] -> [h w c], not keeping the aspect.

  Averages areas where neither side grows, and is bilinear otherwise.

  Args:
    image: uint8 [H W c].
    size: (h, w).
  """
  if image.shape[:2] == size:
    return image
  h, w = size
  shrinks = image.shape[0] >= h and image.shape[1] >= w
  kernel = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  # Unlike everything here, OpenCV names the width first.
  resized = cv2.resize(image, (w, h), interpolation=kernel)
  return resized.reshape(h, w, image.shape[2])


def central_crop(
  image: np.ndarray, size: tuple[int, int], share: float
) -> np.ndarray:
  """The middle of an image, resized to [h w c].

  Args:
    image: uint8 [H W c].
    size: (h, w).
    share: of the sides of the largest box of the aspect of `size`.
  """
  height, width = image.shape[:2]
  scale = share * min(height / size[0], width / size[1])
  h, w = (max(1, round(scale * side)) for side in size)
  top, left = (height - h) // 2, (width - w) // 2
  return resize(image[top : top + h, left : left + w], size)


def sample_crop(
  height: int,
  width: int,
  rng: np.random.Generator,
  area: tuple[float, float],
  aspect: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
  """A random box (top, left, height, width) as of Szegedy et al., 2015.

  Args:
    height: H of the image.
    width: W of the image.
    rng: where chance comes from.
    area: range of the box's share of the image.
    aspect: range of its width over its height, log-uniform.

  Returns:
    A box inside the image; the whole image if ten draws do not fit.
  """
  for _ in range(10):
    pixels = height * width * rng.uniform(*area)
    ratio = np.exp(rng.uniform(*np.log(aspect)))
    w = round(float(np.sqrt(pixels * ratio)))
    h = round(float(np.sqrt(pixels / ratio)))
    if 0 < h <= height and 0 < w <= width:
      top = int(rng.integers(height - h + 1))
      left = int(rng.integers(width - w + 1))
      return top, left, h, w
  return 0, 0, height, width


def inception_crop(
  image: np.ndarray,
  size: tuple[int, int],
  rng: np.random.Generator,
  area: tuple[float, float],
) -> np.ndarray:
  """A random box of the image, resized to [h w c]; `size` is (h, w)."""
  top, left, h, w = sample_crop(*image.shape[:2], rng, area)
  return resize(image[top : top + h, left : left + w], size)
