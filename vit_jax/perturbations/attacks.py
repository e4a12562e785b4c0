# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Projected gradient ascent on the loss, within bounds of each pixel.

Madry et al., 2018, "Towards Deep Learning Models Resistant to Adversarial
Attacks", arXiv 1706.06083, section 2.1; the size of a step is 2.5 times the
radius over the number of steps, as in its section 5. Restricted to a square
it is a patch for each image: Gu et al., 2022, "Are Vision Transformers
Robust to Patch Perturbations?", arXiv 2111.10659, section 3; Fu et al., 2022,
"Patch-Fool", arXiv 2203.08392. (The patch of Brown et al., 2017, arXiv
1712.09665, is one for all images.)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vit_jax.sharding import constrain

MOST = 255.0  # The largest value of a pixel.
REACH = 2.5  # Radii that all steps together would go.

Gradient = Callable[[Float[Array, "B H W c"]], Float[Array, "B H W c"]]


def draw_noise(
  keys: jax.Array, images: Float[Array, "B H W c"]
) -> Float[Array, "B H W c"]:
  """Draws a number of [0, 1) for each value of each image."""
  shape = images.shape[1:]
  return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)


def ascend(
  gradient: Gradient,
  start: Float[Array, "B H W c"],
  low: Float[Array, "B H W c"],
  high: Float[Array, "B H W c"],
  steps: int,
  size: Float[Array, ""] | float,
) -> Float[Array, "B H W c"]:
  """Steps along the sign of the gradient, each value kept within its bounds.

  Args:
    gradient: of the loss by the pixels.
    start: pixels.
    low: least value of each.
    high: largest value of each.
    steps: how many.
    size: of a step.
  """

  def step(_, images):
    images = images + size * jnp.sign(gradient(images))
    return constrain(jnp.clip(images, low, high), "B H W c")

  return jax.lax.fori_loop(0, steps, step, start)


def attack_pixels(
  gradient: Gradient,
  images: Float[Array, "B H W c"],
  keys: jax.Array,
  epsilon: Float[Array, ""] | float,
  steps: int,
) -> Float[Array, "B H W c"]:
  """Finds images whose values differ by epsilon at most: L-inf PGD.

  Args:
    gradient: of the loss by the pixels.
    images: pixels.
    keys: of the start, which is uniform in the ball.
    epsilon: its radius; a pixel's values are from 0 to 255.
    steps: number of steps.
  """
  low = jnp.maximum(images - epsilon, 0)
  high = jnp.minimum(images + epsilon, MOST)
  noise = epsilon * (2 * draw_noise(keys, images) - 1)
  start = jnp.clip(images + noise, low, high)
  return ascend(gradient, start, low, high, steps, REACH * epsilon / steps)


def attack_square(
  gradient: Gradient,
  images: Float[Array, "B H W c"],
  keys: jax.Array,
  square: Bool[Array, "B H W 1"],
  steps: int,
) -> Float[Array, "B H W c"]:
  """Finds what to put into a part of each image; other pixels stay.

  Args:
    gradient: of the loss by the pixels.
    images: pixels.
    keys: of the start, which is uniform noise.
    square: the part.
    steps: number of steps.
  """
  low = jnp.where(square, 0, images)
  high = jnp.where(square, MOST, images)
  start = jnp.where(square, MOST * draw_noise(keys, images), images)
  return ascend(gradient, start, low, high, steps, REACH * MOST / 2 / steps)
