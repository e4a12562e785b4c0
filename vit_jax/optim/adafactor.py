# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Adafactor (Shazeer and Stern, 2018, arXiv 1804.04235) for stacked blocks.

Blocks are stacked [L ...] and attention kernels are [L D K C], so the two
largest dimensions of an array are not those of a matrix, as Optax takes them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vit_jax.sharding import get_path, is_stacked

# The least length of both factored dimensions, below which nothing is saved; as
# in the released code of "Scaling Vision Transformers".
MIN_FACTORED = 32
# Added to squared gradients, as epsilon_1 of Adafactor.
TINY = 1e-30


class FactoredState(NamedTuple):
  """Second moments: `rows` and `columns`, or `full`; the others are None.

  They keep the rank of their parameter, with dimensions of 1 where they are
  means, so the parameter's letters place them on the mesh.

  Attributes:
    count: int32 [], steps done.
    rows: float32, means over the second factored dimension.
    columns: float32, means over the first factored dimension.
    full: float32, second moments of arrays that are not factored.
  """

  count: Any
  rows: Any
  columns: Any
  full: Any


def find_factored_axes(
  path: str, shape: tuple[int, ...]
) -> tuple[int, int] | None:
  """The two largest dimensions other than L; None if one is too short.

  In "L D M" they are D and M, in "L D K C" D and C: the matrix of each head.
  """
  axes = range(int(is_stacked(path)), len(shape))
  axes = sorted(axes, key=lambda axis: shape[axis])[-2:]
  if len(axes) < 2 or shape[axes[0]] < MIN_FACTORED:
    return None
  return min(axes), max(axes)


def scale_by_factored_rms(
  b2: float, clip: float | None
) -> optax.GradientTransformation:
  """Adafactor's second moment and update clipping, layer by layer.

  Optax's scale_by_factored_rms takes the two largest dimensions of an array, L
  included, and drops one of them from each statistic, which then cannot follow
  its parameter over the mesh; its clip_by_block_rms clips L layers as one.

  Args:
    b2: largest decay; it grows as 1 - step ** -0.8 (Adafactor, section 7.2) up
      to this ("Scaling Vision Transformers", section 3.4).
    clip: root mean square to which the update of an array, or of each layer of
      a stack, is clipped (Adafactor, section 6), or None.
  """

  def init(params):
    rows, columns, full = [], [], []
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    for keys, x in leaves:
      axes = find_factored_axes(get_path(keys), x.shape)
      means = [
        None if axes is None else jnp.zeros_like(x.mean(axis, keepdims=True))
        for axis in reversed(axes or (0, 0))
      ]
      rows.append(means[0])
      columns.append(means[1])
      full.append(jnp.zeros_like(x) if axes is None else None)
    trees = map(treedef.unflatten, (rows, columns, full))
    return FactoredState(jnp.zeros((), jnp.int32), *trees)

  def update(gradients, state, params=None):
    del params
    count = optax.safe_increment(state.count)
    decay = jnp.minimum(b2, 1.0 - count.astype(jnp.float32) ** -0.8)

    def average(old, new):
      return decay * old + (1.0 - decay) * new

    leaves, treedef = jax.tree_util.tree_flatten_with_path(gradients)
    moments = zip(
      *map(treedef.flatten_up_to, (state.rows, state.columns, state.full)),
      strict=True,
    )
    updates, found = [], []
    for (keys, g), (row, column, full) in zip(leaves, moments, strict=True):
      path, square = get_path(keys), g * g + TINY
      axes = find_factored_axes(path, g.shape)
      if axes is None:
        full = average(full, square)
        g = g * jax.lax.rsqrt(full)
      else:
        first, second = axes
        row = average(row, square.mean(second, keepdims=True))
        column = average(column, square.mean(first, keepdims=True))
        share = row / row.mean(first, keepdims=True)
        g = g * jax.lax.rsqrt(share) * jax.lax.rsqrt(column)
      if clip is not None:
        own = tuple(range(int(is_stacked(path)), g.ndim))
        rms = jnp.sqrt((g * g).mean(own, keepdims=True))
        g = g / jnp.maximum(1.0, rms / clip)
      updates.append(g)
      found.append((row, column, full))
    trees = map(treedef.unflatten, zip(*found, strict=True))
    return treedef.unflatten(updates), FactoredState(count, *trees)

  return optax.GradientTransformation(init, update)
