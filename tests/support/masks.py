# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of generated shapes and their masks."""

import numpy as np
from PIL import Image

from vit_jax.data.masks import UNLABELLED

CLASSES = ("ground", "square", "disc")
COLOURS = np.array([[90, 110, 90], [200, 60, 60], [60, 80, 200]])


def draw_shape(rng, height, width):
  """An image with a square and a disc, and its mask, in places of their own.

  Classes have colours, with noise; the border of a shape has no class.
  """
  y, x = np.mgrid[:height, :width]
  mask = np.zeros((height, width), np.uint8)
  side = min(height, width) // 5
  for kind, left in zip(rng.permutation([1, 2]), (0, width // 2), strict=True):
    row = rng.integers(side, height - side)
    column = left + rng.integers(side, width // 2 - side + 1)
    far = np.maximum(abs(y - row), abs(x - column))
    if kind == 2:
      far = np.hypot(y - row, x - column)
    mask[far <= side] = UNLABELLED
    mask[far < side] = kind
  shown = np.where(mask == UNLABELLED, 0, mask)
  noise = rng.normal(scale=25, size=(height, width, 3))
  image = np.clip(COLOURS[shown] + noise, 0, 255).astype(np.uint8)
  return image, mask


def save_pair(split, name, image, mask, palette=True):
  """Writes an image and its mask, of a palette or in greys."""
  for folder in ("images", "masks"):
    (split / folder).mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(split / "images" / f"{name}.png")
  found = Image.fromarray(mask)
  if palette:
    found.putpalette(np.arange(768, dtype=np.uint8)[::-1].tobytes())
  found.save(split / "masks" / f"{name}.png")


def make_shapes(root, train=32, validation=10, size=(32, 40)):
  """Writes a folder of shapes, for data.source=segmentation:ROOT."""
  rng = np.random.default_rng(0)
  for split, count in (("train", train), ("validation", validation)):
    for i in range(count):
      # Of several sizes; masks as palettes and as greys.
      height, width = size[0] + 4 * (i % 3), size[1] + 6 * (i % 2)
      pair = draw_shape(rng, height, width)
      save_pair(root / split, f"{i:03}", *pair, palette=i % 2 == 0)
  (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
  return root
