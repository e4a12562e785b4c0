# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Noise and changes of value (Hendrycks and Dietterich, 2019, appendix).

Each function is (image in [0, 1], key, severity 1 to 5) -> image, which may
leave [0, 1]: see `corruptions`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Severity = Int[Array, ""]

TERMS = 128  # Of Poisson's sum: means are at most 60, and 128 is 8 deviations.


def pick(table: object, severity: Severity) -> Array:
  """The row of a table of five that belongs to a severity."""
  return jnp.asarray(table, jnp.float32)[severity - 1]


def add_gaussian(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Gaussian noise."""
  std = pick((0.08, 0.12, 0.18, 0.26, 0.38), severity)
  return image + std * jax.random.normal(key, image.shape)


def invert_poisson(
  mean: Float[Array, "*n"], share: Float[Array, "*n"]
) -> Float[Array, "*n"]:
  """The smallest k such that Poisson numbers are at most k in a share of cases.

  Of uniform shares these are Poisson numbers, and without a loop that ends when
  the last of all examples has been accepted.
  """

  def add(k, sums):
    term, total, found = sums
    # Where terms have become small, rounding keeps the sum below 1.
    counts = (term > 1e-9) | (k < mean)
    found = found + (counts & (share > total))
    term = term * mean / (k + 1)
    return term, total + term, found

  first = jnp.exp(-mean)
  return jax.lax.fori_loop(0, TERMS, add, (first, first, jnp.zeros_like(mean)))[
    2
  ]


def add_shot(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Shot noise: photons counted, few of them."""
  photons = pick((60, 25, 12, 5, 3), severity)
  share = jax.random.uniform(key, image.shape)
  return invert_poisson(image * photons, share) / photons


def add_impulses(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Values that are 0 or 1, in equal parts."""
  half = pick((0.03, 0.06, 0.09, 0.17, 0.27), severity) / 2
  share = jax.random.uniform(key, image.shape)
  return jnp.where(share < half, 0, jnp.where(share >= 1 - half, 1, image))


def change_contrast(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """Values nearer to the mean of their channel."""
  del key
  factor = pick((0.4, 0.3, 0.2, 0.1, 0.05), severity)
  mean = image.mean(axis=(0, 1), keepdims=True)
  return (image - mean) * factor + mean


def change_brightness(
  image: Float[Array, "H W c"], key: jax.Array, severity: Severity
) -> Float[Array, "H W c"]:
  """A larger V of HSV, with the same hue and saturation."""
  del key
  more = pick((0.1, 0.2, 0.3, 0.4, 0.5), severity)
  value = image.max(axis=2, keepdims=True)
  brighter = jnp.minimum(value + more, 1)
  # Black has no hue: it becomes grey.
  scaled = image * brighter / jnp.where(value > 0, value, 1)
  return jnp.where(value > 0, scaled, brighter)
