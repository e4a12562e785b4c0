# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention itself: what each head looks at, how far, and how narrowly."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vit_jax.models.position import Layout


def read_maps(
  attention: Float[Array | np.ndarray, "L B K N N"], layout: Layout
) -> Float[Array, "B L K h w"]:
  """What the class token attends to, by layer and head.

  Without a class token it is the mean over the patches' rows: what a patch is
  attended to by the others.

  Args:
    attention: weights; the last axis is the token that is attended to.
    layout: the tokens.
  """
  rows = jnp.asarray(attention)[..., layout.prefix :]
  if layout.class_tokens:
    rows = rows[:, :, :, 0]
  else:
    rows = rows[:, :, :, layout.prefix :].mean(axis=3)
  maps = rows.reshape(*rows.shape[:3], *layout.grid)
  return jnp.moveaxis(maps, 0, 1)


def compute_distances(layout: Layout, stride: int) -> Float[np.ndarray, "n n"]:
  """Distances in pixels between the centres of patches, in raster order.

  Args:
    layout: the tokens.
    stride: pixels from one patch to the next.
  """
  rows, columns = layout.grid
  y, x = np.divmod(np.arange(rows * columns), columns)
  y, x = (stride * z.astype(np.float32) for z in (y, x))
  return np.hypot(y[:, None] - y[None], x[:, None] - x[None])


def compute_mean_distance(
  attention: Float[Array | np.ndarray, "L B K N N"],
  layout: Layout,
  stride: int,
) -> Float[Array, "B L K"]:
  """Mean attention distance in pixels (ViT paper, figure 7 right, D.7).

  The mean over query patches of the sum over key patches of weight times
  distance. Class token and registers have no place: as queries they are left
  out, and the weight that patches give them adds nothing.

  Args:
    attention: weights.
    layout: the tokens.
    stride: pixels from one patch to the next.
  """
  distances = jnp.asarray(compute_distances(layout, stride))
  patches = jnp.asarray(attention)[..., layout.prefix :, layout.prefix :]
  sums = jnp.einsum("LBKNS,NS->BLK", patches, distances, precision="highest")
  return sums / patches.shape[-1]


def compute_entropy(
  attention: Float[Array | np.ndarray, "L B K N N"],
) -> Float[Array, "B L K"]:
  """Entropy of the attention weights in bits, mean over the queries.

  -sum_s a_s log2 a_s of each row: 0 if a token attends to one token alone, and
  log2 N if to all alike (Zhai et al., 2023, arXiv 2303.06296, section 3).
  """
  weights = jnp.asarray(attention)
  logs = jnp.log2(jnp.where(weights > 0, weights, 1))
  rows = -jnp.sum(weights * logs, axis=-1)
  return jnp.moveaxis(rows.mean(axis=-1), 0, 1)
