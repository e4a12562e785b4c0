# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""JPEGs that cost what photographs cost: python -m vit_jax.benchmark input.

Drawn, so that they may be passed on, and the same everywhere: leaves of many
sizes that cover one another, as objects do, with textures whose amplitude falls
with the frequency (Lee, Mumford and Huang, 2001), blurred as by a lens and with
the noise of a sensor. Size, bytes and coding are those of ImageNet's typical
photograph: 500x375 pixels, 110 KB, chroma at half the resolution.
"""

import functools
import pathlib

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

HEIGHT, WIDTH = 375, 500
QUALITY = 97
LEAVES = 120
DISTINCT = 200  # Drawing one takes 30 ms.
SMALLEST, LARGEST = 6.0, 160.0  # Radii, in pixels.
FIELD = 1024  # Side of the textures, which photographs are cut from.


@functools.cache
def make_field(seed: int) -> Float32[np.ndarray, "H W"]:
  """Makes noise whose amplitude falls with the frequency; deviation 1."""
  rng = np.random.default_rng(seed)
  y = np.fft.fftfreq(FIELD)[:, None]
  x = np.fft.rfftfreq(FIELD)[None]
  frequency = np.maximum(np.hypot(y, x), 1 / FIELD)
  white = np.fft.rfft2(rng.standard_normal((FIELD, FIELD)))
  field = np.fft.irfft2(white / frequency**0.9, s=(FIELD, FIELD))
  return (field / field.std()).astype(np.float32)


def cut_field(
  rng: np.random.Generator, seed: int
) -> Float32[np.ndarray, "H W"]:
  """Cuts a random part out of a texture."""
  top = rng.integers(FIELD - HEIGHT)
  left = rng.integers(FIELD - WIDTH)
  return make_field(seed)[top : top + HEIGHT, left : left + WIDTH]


def draw(index: int) -> UInt8[np.ndarray, "H W 3"]:
  """Draws photograph number `index`, in any three colours."""
  rng = np.random.default_rng(index)
  colours = rng.normal(120, 50, 3).astype(np.float32)
  canvas = np.broadcast_to(colours, (HEIGHT, WIDTH, 3)).copy()
  contrast = np.full((HEIGHT, WIDTH), 8, np.float32)
  for _ in range(LEAVES):
    # Radii whose density falls with their cube.
    share = rng.uniform()
    radius = 1 / np.sqrt(share / SMALLEST**2 + (1 - share) / LARGEST**2)
    centre = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
    axes = int(radius), int(radius * rng.uniform(0.3, 1.0)) + 1
    angle = float(rng.uniform(0, 180))
    colour = rng.normal(120, 50) + rng.normal(0, 18, 3)
    # Some surfaces are smooth, few are rough.
    strength = float(rng.exponential(14))
    for image, value in ((canvas, colour.tolist()), (contrast, strength)):
      cv2.ellipse(image, centre, axes, angle, 0, 360, value, -1)
  texture = cut_field(rng, 0) * contrast
  hues = [cut_field(rng, seed) * contrast * 0.2 for seed in (1, 2, 3)]
  canvas += texture[..., None] + np.stack(hues, axis=-1)
  canvas = cv2.GaussianBlur(canvas, (0, 0), 0.6)
  canvas += rng.normal(0, rng.uniform(1, 5), canvas.shape)
  return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


@functools.cache
def encode(index: int) -> bytes:
  """Draws photograph number `index` and encodes it."""
  options = [
    *(cv2.IMWRITE_JPEG_QUALITY, QUALITY),
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
  ]
  return cv2.imencode(".jpg", draw(index), options)[1].tobytes()


def write(directory: pathlib.Path, count: int) -> None:
  """Writes photographs as a folder of two classes."""
  for index in range(count):
    folder = directory / "train" / "ab"[index % 2]
    folder.mkdir(parents=True, exist_ok=True)
    data = encode(index % DISTINCT)
    (folder / f"{index:05d}.jpg").write_bytes(data)
