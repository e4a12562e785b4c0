# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What Optax's Adafactor and Muon must be told of stacked, head-shaped arrays.

Blocks are stacked [L ...] and attention kernels are [L D K C], so neither the
two largest dimensions nor the two dimensions of an array are those of a matrix.
"""

import math
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vit_jax.optim.options import Optim
from vit_jax.sharding import get_letters, get_path, is_stacked

# Both of two dimensions are at least this long, or nothing is saved; as in the
# released code of "Scaling Vision Transformers".
MIN_FACTORED = 32
# Under the root of a second moment, as in Adafactor (arXiv 1804.04235).
TINY = 1e-30


def keep_in(
  dtype: str, name: str, tx: optax.GradientTransformation
) -> optax.GradientTransformation:
  """Keeps a moment in another dtype between two steps.

  Optax's own options multiply a bfloat16 moment by its decay in bfloat16, which
  makes 0.988 of a decay of 0.99. Here a step computes in float32.

  Args:
    dtype: "float32" is as it is.
    name: of the moment in the state.
    tx: whose state it is.
  """
  if dtype == "float32":
    return tx

  def cast(state, dtype):
    moment = jax.tree.map(lambda x: x.astype(dtype), getattr(state, name))
    return state._replace(**{name: moment})

  def update(gradients, state, params=None):
    updates, state = tx.update(gradients, cast(state, jnp.float32), params)
    return updates, cast(state, dtype)

  return optax.GradientTransformation(
    lambda params: cast(tx.init(params), dtype), update
  )


class FactoredState(NamedTuple):
  """Second moments, of every array one of the two forms and None of the other.

  They keep the rank of their parameter, with dimensions of 1 where they are
  means, so the parameter's letters place them on the mesh.

  Attributes:
    count: int32 [], steps done.
    rows: float32, means over the second factored dimension.
    columns: float32, means over the first.
    full: float32, of arrays that are not factored.
  """

  count: Any
  rows: Any
  columns: Any
  full: Any


def get_factored_axes(
  path: str, shape: tuple[int, ...]
) -> tuple[int, int] | None:
  """The two largest dimensions but L, if both are large.

  Of "L D M" they are D and M, of "L D K C" D and C: the matrix of each head.
  """
  axes = range(int(is_stacked(path)), len(shape))
  axes = sorted(axes, key=lambda axis: shape[axis])[-2:]
  if len(axes) < 2 or shape[axes[0]] < MIN_FACTORED:
    return None
  return min(axes), max(axes)


def scale_by_factored_rms(
  b2: float, threshold: float = 1.0
) -> optax.GradientTransformation:
  """Adafactor's second moment and clipping, a layer at a time.

  Optax's scale_by_factored_rms takes the two largest dimensions of an array, L
  included, and drops one of them from each statistic, which then can not follow
  its parameter over the mesh; its clip_by_block_rms clips L layers as one.

  Args:
    b2: the decay, 1 - step ** -0.8 (arXiv 1804.04235, section 7.2), grows no
      further than this ("Scaling Vision Transformers", section 3.4).
    threshold: root mean square to which the update of an array, or of a layer
      of a stack, is clipped (arXiv 1804.04235, section 6).
  """

  def init(params):
    rows, columns, full = [], [], []
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    for keys, x in leaves:
      axes = get_factored_axes(get_path(keys), x.shape)
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
      axes = get_factored_axes(path, g.shape)
      if axes is None:
        full = average(full, square)
        g = g * jax.lax.rsqrt(full)
      else:
        first, second = axes
        row = average(row, square.mean(second, keepdims=True))
        column = average(column, square.mean(first, keepdims=True))
        share = row / row.mean(first, keepdims=True)
        g = g * jax.lax.rsqrt(share) * jax.lax.rsqrt(column)
      own = tuple(range(int(is_stacked(path)), g.ndim))
      rms = jnp.sqrt((g * g).mean(own, keepdims=True))
      updates.append(g / jnp.maximum(1.0, rms / threshold))
      found.append((row, column, full))
    trees = map(treedef.unflatten, zip(*found, strict=True))
    return treedef.unflatten(updates), FactoredState(count, *trees)

  return optax.GradientTransformation(init, update)


# Letters of a hidden kernel, but for L -> how many of them it reduces; the rest
# are its outputs. Heads stand side by side: a query kernel is D x KC.
MATRICES = {
  **{"D M": 1, "M D": 1, "N M": 1, "M N": 1, "D R": 1},
  **{"D K C": 1, "K C D": 2, "P P c D": 3},
}
# Kernels that images enter by; as the head, they are Adam's (Muon's authors).
ENTRY = re.compile(r"(^|/)((embedding|stem|conv_root)/|root_block/)")


def get_matrices(params: Any) -> Any:
  """How Muon sees each array; None for those that it leaves to Adam."""

  def get(keys, x):
    path = get_path(keys)
    letters = (get_letters(path) or "").removeprefix("L ")
    if letters not in MATRICES or ENTRY.search(path):
      return None
    stacked = int(is_stacked(path))
    split = stacked + MATRICES[letters]
    return optax.contrib.MuonDimensionNumbers(
      tuple(range(stacked, split)), tuple(range(split, x.ndim))
    )

  return jax.tree_util.tree_map_with_path(get, params)


def is_matrix(params: Any) -> Any:
  """True for the arrays that are Muon's."""
  return _map_matrices(lambda matrix, x: matrix is not None, params)


def _map_matrices(function: Any, params: Any) -> Any:
  matrices = jax.tree.structure(params).flatten_up_to(get_matrices(params))
  leaves, treedef = jax.tree.flatten(params)
  return treedef.unflatten(map(function, matrices, leaves))


def scale_by_muon(optim: Optim) -> optax.GradientTransformation:
  """Muon for hidden matrices, Adam for the rest.

  A matrix's update is scaled by 0.2 sqrt(max(inputs, outputs)), to the size
  that Adam's updates have, so one learning rate and weight decay serve both
  (Liu et al., 2025, arXiv 2502.16982).
  """

  def scale(matrix, x):
    sides = (
      math.prod(x.shape[axis] for axis in axes)
      for axes in (matrix.reduction_axis, matrix.output_axis)
    )
    return x * (0.2 * math.sqrt(max(sides)))

  muon = optax.contrib.scale_by_muon(
    beta=optim.momentum, weight_dimension_numbers=get_matrices
  )
  muon = optax.chain(
    keep_in(optim.momentum_dtype, "mu", muon),
    optax.stateless(lambda updates, _: _map_matrices(scale, updates)),
  )
  adam = optax.scale_by_adam(b1=optim.b1, b2=optim.b2)
  adam = keep_in(optim.momentum_dtype, "mu", adam)
  return optax.chain(
    optax.masked(muon, is_matrix),
    optax.masked(
      adam, lambda tree: jax.tree.map(lambda m: not m, is_matrix(tree))
    ),
  )
