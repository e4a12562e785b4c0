# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Digital corruptions (Hendrycks and Dietterich, 2019, appendix); as `blur`."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
from jaxtyping import Array, Float, UInt8

from vit_jax.perturbations.blur import (
  SIDE,
  apply_matrices,
  get_scale,
  make_gaussian,
)
from vit_jax.perturbations.noise import Severity, pick

QUALITIES = (25, 18, 15, 10, 7)

# The published program has 244 for the side of 224.
WIDE = 244 / SIDE


def distort(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Elastic transform: an affine one, and a smooth field of displacements.

  Pixels are interpolated once, at the place of both; the published program
  interpolates twice.
  """
  height, width = image.shape[:2]
  side = WIDE * SIDE * get_scale(image)
  reach = side * pick((2, 2, 0.05, 0.07, 0.12), severity)
  corners = side * pick((0.1, 0.2, 0.02, 0.02, 0.02), severity)
  corner_key, field_key = jax.random.split(key)
  matrices = [
    pick([make_gaussian(n, side * x, truncate=3.0) for x in sigmas], severity)
    for n in (height, width)
    for sigmas in [(0.7, 0.08, 0.01, 0.01, 0.01)]
  ]
  field = jax.random.uniform(field_key, (height, width, 2), minval=-1.0)
  moved = reach * apply_matrices(field, *matrices)
  middle = np.array([height // 2, width // 2], np.float32)
  away = min(height, width) // 3
  places = middle[None] + away * np.array([[1, 1], [1, -1], [-1, -1]])
  drawn = jax.random.uniform(corner_key, (3, 2), minval=-1.0)
  # The affine map that takes the drawn places back to the three.
  ones = jnp.ones((3, 1))
  matrix = jnp.linalg.solve(
    jnp.concatenate([places + corners * drawn, ones], axis=1),
    jnp.asarray(places, jnp.float32),
  )
  y, x = jnp.mgrid[:height, :width]
  here = jnp.stack([y, x], axis=2) + moved
  source = (
    jnp.einsum("hwi,ij->hwj", here, matrix[:2], precision="highest")
    + matrix[2][None, None]
  )
  sample = jax.vmap(
    lambda channel: jax.scipy.ndimage.map_coordinates(
      channel, [source[..., 0], source[..., 1]], order=1, mode="mirror"
    ),
    in_axes=2,
    out_axes=2,
  )
  return sample(image)


def make_pixelation(length: int, share: float) -> Float[np.ndarray, "n n"]:
  """The matrix that shrinks a side to a share and enlarges it again.

  A pixel of the smaller side is the mean of those whose centres it covers.

  Args:
    length: n, pixels of the side.
    share: of them that are left.
  """
  small = max(1, int(length * share))
  centres = np.arange(length) + 0.5
  owner = np.ceil(centres * small / length - 1e-9).astype(int) - 1
  means = owner[None] == np.arange(small)[:, None]
  means = means / means.sum(axis=1, keepdims=True)
  # Of the two ways the second is by the nearest.
  return means[np.floor(centres * small / length).astype(int)]


def pixelate(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Fewer and larger pixels."""
  del key
  shares = 0.6, 0.5, 0.4, 0.3, 0.25
  sides = [
    pick([make_pixelation(n, x) for x in shares], severity)
    for n in image.shape[:2]
  ]
  return apply_matrices(image, *sides)


def compress(
  images: UInt8[np.ndarray, "B H W c"], severity: int
) -> UInt8[np.ndarray, "B H W c"]:
  """JPEG of low quality, on the host; other than three channels each alone."""

  def encode(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(
      file, "JPEG", quality=QUALITIES[severity - 1]
    )
    return np.asarray(PIL.Image.open(file))

  if images.shape[3] == 3:
    found = [encode(x) for x in images]
  else:
    found = [
      np.stack([encode(y) for y in np.moveaxis(x, 2, 0)], axis=2)
      for x in images
    ]
  return np.stack(found)
