# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weather (Hendrycks and Dietterich, 2019, appendix); as `blur`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.perturbations.blur import get_scale, magnify, smear
from vit_jax.perturbations.noise import Severity, pick


def make_plasma(
  key: jax.Array, size: int, decay: Float[Array, ""]
) -> Float[Array, "n n"]:
  """A fractal landscape of [0, 1] by the diamond-square algorithm.

  (Fournier, Fussell and Carpenter, 1982.) Its borders fit one another.

  Args:
    key: of the heights.
    size: n, a power of two.
    decay: factor by which differences fall from one level to the next.
  """
  heights = jnp.zeros((1, 1))
  spread = jnp.asarray(100.0)
  for level in range(size.bit_length() - 1):
    keys = jax.random.split(jax.random.fold_in(key, level), 3)
    down, right = jnp.roll(heights, -1, 0), jnp.roll(heights, -1, 1)
    corners = heights + down + right + jnp.roll(down, -1, 1)

    def spread_mean(total, key, spread=spread):
      # Squared, as in the published program.
      drawn = jax.random.uniform(key, total.shape, minval=-1.0)
      return total / 4 + spread**2 * drawn

    middle = spread_mean(corners, keys[0])
    beside = heights + right + middle + jnp.roll(middle, 1, 0)
    below = heights + down + middle + jnp.roll(middle, 1, 1)
    rows = jnp.stack([heights, spread_mean(beside, keys[1])], axis=2)
    more = jnp.stack([spread_mean(below, keys[2]), middle], axis=2)
    side = 2 * len(heights)
    heights = jnp.stack(
      [rows.reshape(-1, side), more.reshape(-1, side)], axis=1
    ).reshape(side, side)
    spread = spread / decay
  heights = heights - heights.min()
  return heights / jnp.maximum(heights.max(), 1e-12)


def add_fog(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Fog: a fractal is added."""
  amount = pick((1.5, 2, 2.5, 2.5, 3), severity)
  decay = pick((2, 2, 1.7, 1.5, 1.4), severity)
  height, width = image.shape[:2]
  size = 1 << (max(height, width, 2) - 1).bit_length()
  fog = make_plasma(key, size, decay)[:height, :width, None]
  most = image.max()
  return (image + amount * fog) * most / (most + amount)


# Mean and spread of the layer, its enlargement, the least value of a flake,
# radius and sigma of their motion, and how much of the image's colours stays.
SNOW = (
  (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
  (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
  (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
  (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
  (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
GREY = (0.299, 0.587, 0.114)  # Of red, green and blue (ITU-R BT.601).


def add_snow(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Snow: flakes that fall, and a whitened image."""
  scale = get_scale(image)
  mean, std, zoom, least, radius, sigma, kept = pick(SNOW, severity)
  flakes, way = jax.random.split(key)
  layer = mean + std * jax.random.normal(flakes, (*image.shape[:2], 1))
  layer = magnify(layer, jnp.maximum(1, scale * zoom))
  layer = jnp.clip(jnp.where(layer < least, 0, layer), 0, 1)
  angle = jax.random.uniform(way, (), minval=0.25, maxval=0.75) * jnp.pi
  layer = smear(layer, scale * radius, scale * sigma, angle, 12 * scale)
  if image.shape[2] == 3:
    grey = (image * jnp.asarray(GREY)[None, None]).sum(2, keepdims=True)
  else:
    grey = image.mean(2, keepdims=True)
  white = jnp.maximum(image, 1.5 * grey + 0.5)
  return kept * image + (1 - kept) * white + layer + layer[::-1, ::-1]
