# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images of any size to the size of a model's input: uint8 in, uint8 out.

Each method treats each axis for itself, and pixels as squares whose centres are
at halves. A value differs from the exact one, rounded to the nearest, by at
most 1: kernels round on the way.

bilinear
  `tf.image.resize` without antialiasing, with which the ViT authors, AugReg and
  big_vision train: the nearest two pixels of each axis, however much it
  shrinks.
area
  The average of all that a pixel covers, with which big_vision resizes for
  evaluation. An axis that grows is interpolated bilinearly.
bilinear_antialias, bicubic, lanczos
  Pillow's, of timm, torchvision and Hugging Face: kernels that widen as an axis
  shrinks; a = -0.5 in bicubic, 3 lobes in lanczos.
"""

import math
from typing import Literal

import cv2
import numpy as np
from PIL import Image

# We resize in many threads; OpenCV's own would compete with them.
cv2.setNumThreads(0)

Resize = Literal["bilinear", "area", "bilinear_antialias", "bicubic", "lanczos"]

PILLOW = {
  "bilinear_antialias": Image.Resampling.BILINEAR,
  "bicubic": Image.Resampling.BICUBIC,
  "lanczos": Image.Resampling.LANCZOS,
}


def resize(
  image: np.ndarray, size: tuple[int, int], method: Resize
) -> np.ndarray:
  """Resizes to [h w c], without keeping the aspect ratio.

  Args:
    image: uint8 [H W c].
    size: height and width (h, w).
    method: see above.
  """
  if image.shape[:2] == size:
    return image
  resized = np.empty((*size, image.shape[2]), np.uint8)
  resize_into(image, resized, method)
  return resized


def resize_into(image: np.ndarray, out: np.ndarray, method: Resize) -> None:
  """Resizes as `resize`, into the memory of an array.

  Args:
    image: uint8 [H W c].
    out: uint8 [h w c], as a row of a batch.
    method: see above.
  """
  (height, width), (h, w) = image.shape[:2], out.shape[:2]
  if (height, width) == (h, w):
    out[...] = image
  elif method in PILLOW:
    _resize_by_pillow(image, out, PILLOW[method])
  elif method == "bilinear":
    _resize_by_opencv(image, out, cv2.INTER_LINEAR)
  elif h <= height and w <= width:
    _resize_by_opencv(image, out, cv2.INTER_AREA)
  else:
    # OpenCV averages only if neither axis grows.
    smaller = min(h, height), min(w, width)
    if smaller != (height, width):
      less = np.empty((*smaller, out.shape[2]), np.uint8)
      _resize_by_opencv(image, less, cv2.INTER_AREA)
      image = less
    _resize_by_opencv(image, out, cv2.INTER_LINEAR)


def _resize_by_opencv(image: np.ndarray, out: np.ndarray, kernel: int) -> None:
  h, w, channels = out.shape
  if channels > 4:  # More than OpenCV averages.
    for channel in range(channels):
      plane = np.ascontiguousarray(image[..., channel])
      out[..., channel] = cv2.resize(plane, (w, h), interpolation=kernel)
    return
  # OpenCV has the width first, and writes where it is told to if the shape and
  # the type are right.
  target = out[..., 0] if channels == 1 else out
  resized = cv2.resize(image, (w, h), dst=target, interpolation=kernel)
  if resized is not target:
    out[...] = resized.reshape(out.shape)


def _resize_by_pillow(
  image: np.ndarray, out: np.ndarray, kernel: Image.Resampling
) -> None:
  h, w, channels = out.shape
  if channels == 3:
    out[...] = Image.fromarray(image).resize((w, h), kernel)
    return
  for channel in range(channels):
    plane = Image.fromarray(image[..., channel])
    out[..., channel] = plane.resize((w, h), kernel)


def resize_small_side(
  image: np.ndarray, size: tuple[int, int], method: Resize
) -> np.ndarray:
  """Resizes to the smallest size that covers (h, w), keeping the aspect ratio.

  For a square (s, s): the small side becomes s.
  """
  height, width = image.shape[:2]
  scale = max(size[0] / height, size[1] / width)
  return resize(image, (round(height * scale), round(width * scale)), method)


def cut_middle(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Cuts out the middle [h w c], or less if the image is smaller."""
  h, w = (min(pair) for pair in zip(size, image.shape[:2], strict=True))
  top, left = (image.shape[0] - h) // 2, (image.shape[1] - w) // 2
  return image[top : top + h, left : left + w]


def central_crop(
  image: np.ndarray, size: tuple[int, int], share: float, method: Resize
) -> np.ndarray:
  """Resizes the small side, then cuts out the middle [h w c].

  Args:
    image: uint8 [H W c].
    size: height and width (h, w).
    share: the crop's share of the small side: at 0.875, a crop of 224 px is cut
      from 256 px.
    method: see above.
  """
  covered = round(size[0] / share), round(size[1] / share)
  # Of a panorama only the middle is resized: all of it may not fit in memory.
  scale = max(
    c / side for c, side in zip(covered, image.shape[:2], strict=True)
  )
  image = cut_middle(image, tuple(math.ceil(4 * c / scale) for c in covered))
  return cut_middle(resize_small_side(image, covered, method), size)
