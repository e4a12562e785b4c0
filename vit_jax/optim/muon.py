# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Muon (Jordan et al., 2024; Liu et al., 2025, arXiv 2502.16982) for stacked
blocks and for kernels with a head axis, which have more than two dimensions.
"""

import math
import operator
import re
from typing import Any

import jax
import optax

from vit_jax.optim.moments import store_moment
from vit_jax.optim.options import Optim
from vit_jax.sharding import get_letters, get_path, is_stacked

# Letters of a hidden kernel without L -> how many of them are inputs; the rest
# are outputs. Heads stand side by side: a query kernel is D x KC.
MATRICES = {
  **{"D M": 1, "M D": 1, "N M": 1, "M N": 1, "D R": 1},
  **{"D K C": 1, "K C D": 2, "P P c D": 3},
}
# Kernels that images enter by. Like the head they are left to Adam, as Muon's
# authors advise.
ENTRY = re.compile(r"(^|/)((embedding|stem|conv_root)/|root_block/)")


def find_matrices(params: Any) -> Any:
  """The input and output axes of each matrix; None for arrays left to Adam."""

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


def make_matrix_mask(params: Any) -> Any:
  """True for the arrays that Muon updates."""
  return _map_matrices(lambda matrix, x: matrix is not None, params)


def _map_matrices(function: Any, params: Any) -> Any:
  matrices = jax.tree.structure(params).flatten_up_to(find_matrices(params))
  leaves, treedef = jax.tree.flatten(params)
  return treedef.unflatten(map(function, matrices, leaves))


def scale_by_muon(optim: Optim) -> optax.GradientTransformation:
  """Muon for hidden matrices, Adam for all other parameters.

  A matrix's update is scaled by 0.2 sqrt(max(inputs, outputs)), to the size of
  Adam's updates, so that one learning rate and weight decay serve both (Liu et
  al., 2025, section 2.2).
  """

  def scale(matrix, x):
    sides = (
      math.prod(x.shape[axis] for axis in axes)
      for axes in (matrix.reduction_axis, matrix.output_axis)
    )
    return x * (0.2 * math.sqrt(max(sides)))

  muon = optax.contrib.scale_by_muon(
    beta=optim.momentum, weight_dimension_numbers=find_matrices
  )
  muon = optax.chain(
    store_moment("mu", optim.momentum_dtype, muon),
    optax.stateless(lambda updates, _: _map_matrices(scale, updates)),
  )
  adam = optax.scale_by_adam(b1=optim.b1, b2=optim.b2)
  adam = store_moment("mu", optim.momentum_dtype, adam)
  return optax.chain(
    optax.masked(muon, make_matrix_mask),
    optax.masked(
      adam, lambda tree: jax.tree.map(operator.not_, make_matrix_mask(tree))
    ),
  )
