# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Equalize of RandAugment: the histogram of each channel made flat.

As Pillow's ImageOps.equalize, in integers.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

Image = UInt8[Array, "H W c"]
Values = Int[Array, "H W c"]
Maps = Int[Array, "c 256"]


def split_value(image: Values) -> tuple[Array, Array]:
  """Makes one-hot float32 [H W c 16] of the upper and the lower four bits."""
  return jax.nn.one_hot(image >> 4, 16), jax.nn.one_hot(image & 15, 16)


def count_by_product(image: Values) -> Maps:
  """Computes `count_values` as a matrix product: TPUs scatter slowly.

  Factors are 0 or 1 and sums are float32, so it is exact to 16 million pixels.
  """
  high, low = split_value(image)
  counts = jnp.einsum("HWci,HWcj->cij", high, low)
  return counts.reshape(-1, 256).astype(jnp.int32)


def count_by_scatter(image: Values) -> Maps:
  """Computes `count_values` as a scatter-add, for CPUs and GPUs."""
  channel = jnp.arange(image.shape[-1])[None, None]
  counts = jnp.zeros((image.shape[-1], 256), jnp.int32)
  return counts.at[channel, image].add(1)


def count_values(image: Values) -> Maps:
  """Computes the histogram of each channel."""
  return jax.lax.platform_dependent(
    image, tpu=count_by_product, default=count_by_scatter
  )


def map_by_product(image: Values, maps: Maps) -> Values:
  """Computes `apply_maps` as a matrix product: TPUs gather slowly.

  They multiply in bfloat16, in which values to 255 are exact.
  """
  high, low = split_value(image)
  table = maps.reshape(-1, 16, 16).astype(jnp.float32)
  rows = jnp.einsum("HWci,cij->HWcj", high, table)
  return jnp.sum(rows * low, axis=-1).astype(jnp.int32)


def map_by_gather(image: Values, maps: Maps) -> Values:
  """Computes `apply_maps` as a gather, for CPUs and GPUs."""
  channel = jnp.arange(image.shape[-1])[None, None]
  return jnp.take(maps.reshape(-1), image + 256 * channel, mode="clip")


def apply_maps(image: Values, maps: Maps) -> Values:
  """Maps the values of each channel: maps[c, image[H, W, c]]."""
  return jax.lax.platform_dependent(
    image, maps, tpu=map_by_product, default=map_by_gather
  )


def compute_equalize_maps(counts: Maps) -> Maps:
  """Computes maps that flatten the histogram of each channel."""
  high = 255 - jnp.argmax(counts[:, ::-1] > 0, axis=-1)[:, None]
  last = jnp.take_along_axis(counts, high, axis=-1)
  step = (jnp.sum(counts, axis=-1, keepdims=True) - last) // 255
  below = jnp.cumsum(counts, axis=-1) - counts
  flat = (below + step // 2) // jnp.maximum(step, 1)
  value = jnp.arange(256)[None]
  return jnp.where(step > 0, jnp.minimum(flat, 255), value)


def equalize(image: Image) -> Image:
  """Flattens the histogram of each channel."""
  values = image.astype(jnp.int32)
  maps = compute_equalize_maps(count_values(values))
  return apply_maps(values, maps).astype(jnp.uint8)
