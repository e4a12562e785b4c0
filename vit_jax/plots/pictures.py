# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images as the model sees them, and maps of patches over them."""

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8

from vit_jax.plots.style import MAP

SMALLEST = 192  # Pixels of the shorter side that a person can look at.
LARGEST = 512
TILE, GAP = 160, 6  # Pixels of an image among several, and between them.
SHARES = (0.15, 0.65)  # Of the map's colour, where it is small and large.


def restore(
  values: Float[np.ndarray, "H W c"],
  mean: Sequence[float],
  std: Sequence[float],
) -> UInt8[np.ndarray, "H W 3"]:
  """Pixels of a model's input; of other than three channels their mean."""
  scale, shift = (np.asarray(x, np.float32)[None, None] for x in (std, mean))
  pixels = values * scale + shift
  if pixels.shape[-1] != 3:
    pixels = np.repeat(pixels.mean(axis=-1, keepdims=True), 3, axis=-1)
  return (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8)


def _fit(height: int, width: int) -> tuple[int, int]:
  """(width, height) to show an image at; small ones in whole multiples."""
  shorter, longer = min(height, width), max(height, width)
  factor: float = max(1, -(-SMALLEST // shorter))
  if longer * factor > LARGEST:
    factor = max(LARGEST / longer, 1 / shorter)
  return max(1, round(width * factor)), max(1, round(height * factor))


def _enlarge(image: UInt8[np.ndarray, "H W 3"]) -> PIL.Image.Image:
  """An image large enough to look at, whose pixels stay what they are."""
  height, width, _ = image.shape
  size = _fit(height, width)
  smaller = size[0] < width
  how = (
    PIL.Image.Resampling.LANCZOS if smaller else PIL.Image.Resampling.NEAREST
  )
  return PIL.Image.fromarray(image).resize(size, how)


def draw_picture(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
  """An image as a PNG."""
  return _save(_enlarge(image))


def draw_overlay(
  image: UInt8[np.ndarray, "H W 3"], weights: Float[np.ndarray, "h w"]
) -> bytes:
  """An image with a map of its patches over it, from violet up to yellow.

  The map is scaled to its own smallest and largest value, and colours hide the
  image the more the larger it is.

  Args:
    image: as the model saw it.
    weights: a value for each patch.

  Returns:
    A PNG.
  """
  import matplotlib

  shown = _enlarge(image)
  low, high = float(weights.min()), float(weights.max())
  scaled = (weights - low) / max(high - low, 1e-30)
  smooth = np.asarray(
    PIL.Image.fromarray(scaled.astype(np.float32)).resize(
      shown.size, PIL.Image.Resampling.BILINEAR
    )
  )[..., None]
  colours = 255 * matplotlib.colormaps[MAP](smooth[..., 0])[..., :3]
  # Dimmed and grey below, so that the colours are the map's alone.
  grey = np.asarray(shown.convert("L"), np.float32)[..., None]
  below = 0.75 * (0.5 * np.asarray(shown, np.float32) + 0.5 * grey)
  share = SHARES[0] + (SHARES[1] - SHARES[0]) * smooth
  mixed = (1 - share) * below + share * colours
  return _save(PIL.Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)))


def draw_grid(
  images: Sequence[UInt8[np.ndarray, "H W 3"]], columns: int = 6
) -> bytes:
  """Images of one size in rows, as a PNG with gaps that are transparent."""
  shown = [_enlarge(image) for image in images]
  for image in shown:
    image.thumbnail((TILE, TILE))
  width, height = shown[0].size
  rows = -(-len(shown) // columns)
  size = (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP)
  grid = PIL.Image.new("RGBA", size)
  for i, image in enumerate(shown):
    y, x = divmod(i, columns)
    grid.paste(image, (x * (width + GAP), y * (height + GAP)))
  return _save(grid)


def read_png(png: bytes) -> UInt8[np.ndarray, "H W 3"]:
  """The pixels of a PNG; what is transparent is white."""
  image = PIL.Image.open(io.BytesIO(png)).convert("RGBA")
  page = PIL.Image.new("RGBA", image.size, "white")
  page.alpha_composite(image)
  return np.asarray(page.convert("RGB"))


def _save(image: PIL.Image.Image) -> bytes:
  """An image as a PNG."""
  file = io.BytesIO()
  image.save(file, "PNG", optimize=True)
  return file.getvalue()
