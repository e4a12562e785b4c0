# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Blurs (Hendrycks and Dietterich, 2019, appendix); signature as in `noise`.

Published lengths are pixels of images of 224 px: here they are scaled with the
shorter side of an image.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vit_jax.perturbations.noise import Severity, pick

SIDE = 224  # Of the images that the published lengths are for.


def get_scale(image: jax.Array) -> float:
  """Pixels of an image [H W ...] per pixel of the published lengths."""
  return min(image.shape[:2]) / SIDE


def make_gaussian(
  length: int, sigma: float, truncate: float
) -> Float[np.ndarray, "n n"]:
  """The matrix of a Gaussian blur along a side; borders are mirrored.

  Args:
    length: n, pixels of the side.
    sigma: standard deviation in pixels.
    truncate: standard deviations at which it is cut off.
  """
  radius = int(truncate * sigma + 0.5)
  weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
  source = np.pad(np.arange(length), radius, mode="symmetric")
  matrix = np.zeros((length, length))
  for i, weight in enumerate(weights / weights.sum()):
    matrix[np.arange(length), source[i : i + length]] += weight
  return matrix


def apply_matrices(
  image: Float[Array, "H W c"],
  rows: Float[Array, "H H"],
  columns: Float[Array, "W W"],
) -> Float[Array, "H W c"]:
  """Mixes the rows of an image and its columns."""
  return jnp.einsum(
    *("ih,hwc,jw->ijc", rows, image, columns), precision="highest"
  )


def make_disks(scale: float) -> Float[np.ndarray, "5 k k"]:
  """Kernels of the lens, one a severity: disks with softened borders."""
  radii = [scale * r for r in (3, 4, 6, 8, 10)]
  softness = 0.1, 0.5, 0.5, 0.5, 0.5
  reach = math.ceil(max(radii)) + 3
  place = np.arange(-reach, reach + 1)
  squares = place[:, None] ** 2 + place[None] ** 2
  kernels = []
  for radius, sigma in zip(radii, softness, strict=True):
    disk = (squares <= radius**2).astype(float)
    # Cut off after one pixel, for the largest after two.
    cut = (1 + (len(kernels) == 4)) / sigma
    soft = make_gaussian(len(place), sigma, cut)
    kernels.append(soft @ (disk / disk.sum()) @ soft.T)
  return np.stack(kernels)


def blur_lens(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Defocus blur: each point becomes a disk."""
  del key
  kernels = make_disks(get_scale(image))
  reach = kernels.shape[1] // 2
  pads = ((reach, reach), (reach, reach), (0, 0))
  padded = jnp.pad(image, pads, mode="reflect").transpose(2, 0, 1)[..., None]
  kernel = pick(kernels, severity)[:, :, None, None]
  found = jax.lax.conv_general_dilated(
    *(padded, kernel, (1, 1), "VALID"),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision="highest",
  )
  return found[..., 0].transpose(1, 2, 0)


def displace(
  image: Float[Array, "H W c"], offsets: Int[Array, "2 H W"]
) -> Float[Array, "H W c"]:
  """Gives each pixel the value at an offset, or of the border beyond it."""
  height, width = image.shape[:2]
  y = jnp.arange(height)[:, None] + offsets[0]
  x = jnp.arange(width)[None] + offsets[1]
  return image[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)]


def blur_glass(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Frosted glass: a blur, pixels from their neighbourhood, a blur.

  In each of several rounds every pixel takes the value of one within a
  distance; the published program exchanges pixels, one pair after another.
  """
  scale = get_scale(image)
  sides = []
  for length in image.shape[:2]:
    sigmas = (scale * x for x in (0.7, 0.9, 1, 1.1, 1.5))
    sides.append(
      pick([make_gaussian(length, x, truncate=4.0) for x in sigmas], severity)
    )
  reaches = [max(1, round(scale * x)) for x in (1, 2, 2, 3, 4)]
  reach = jnp.asarray(reaches)[severity - 1]
  rounds = jnp.asarray((2, 1, 3, 2, 2))[severity - 1]

  def move(i, x):
    shape = (2, *image.shape[:2])
    drawn = jax.random.randint(
      jax.random.fold_in(key, i), shape, -reach, reach + 1
    )
    return displace(x, drawn)

  blurred = apply_matrices(image, *sides)
  moved = jax.lax.fori_loop(0, rounds, move, blurred)
  return apply_matrices(moved, *sides)


def smear(
  image: Float[Array, "H W c"],
  radius: Float[Array, ""],
  sigma: Float[Array, ""],
  angle: Float[Array, ""],
  longest: float,
) -> Float[Array, "H W c"]:
  """Motion blur: a mean over points that lie one way of each pixel.

  Args:
    image: to be smeared; beyond its border lies its border.
    radius: half of the length, in pixels.
    sigma: of the half Gaussian that weighs them.
    angle: in radians; 0 is along a row.
    longest: radius that none exceeds.
  """
  count = 2 * math.ceil(longest) + 1

  def add(total, i):
    weight = jnp.exp(-0.5 * (i / sigma) ** 2) * (i <= 2 * radius)
    way = jnp.round(i * jnp.stack([jnp.sin(angle), jnp.cos(angle)]))
    offsets = jnp.broadcast_to(
      way.astype(jnp.int32)[:, None, None], (2, *image.shape[:2])
    )
    sums, weights = total
    return (sums + weight * displace(image, offsets), weights + weight), None

  start = jnp.zeros_like(image), jnp.zeros(())
  (sums, weights), _ = jax.lax.scan(add, start, jnp.arange(count))
  return sums / weights


def blur_motion(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Motion blur along a direction up to 45 degrees off the rows."""
  scale = get_scale(image)
  angle = jax.random.uniform(key, (), minval=-jnp.pi / 4, maxval=jnp.pi / 4)
  radius = scale * pick((10, 15, 15, 15, 20), severity)
  sigma = scale * pick((3, 5, 8, 12, 15), severity)
  return smear(image, radius, sigma, angle, 20 * scale)


def magnify(
  image: Float[Array, "H W c"], factor: Float[Array, ""]
) -> Float[Array, "H W c"]:
  """Enlarges an image about its centre, by linear interpolation."""

  def make_matrix(length: int) -> Array:
    place = jnp.arange(length)
    middle = (length - 1) / 2
    source = (place - middle) / factor + middle
    return jnp.maximum(0, 1 - jnp.abs(source[:, None] - place[None]))

  return apply_matrices(image, *map(make_matrix, image.shape[:2]))


def blur_zoom(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Zoom blur: the mean of the image, twice, and of larger ones."""
  del key
  step = pick((0.01, 0.01, 0.02, 0.02, 0.03), severity)
  count = pick((11, 15, 10, 12, 10), severity)  # Of them, and that of 1.

  def add(total, i):
    larger = magnify(image, 1 + i * step)
    return total + jnp.where(i <= count, larger, 0), None

  total, _ = jax.lax.scan(add, image, jnp.arange(16))
  return total / (count + 2)
