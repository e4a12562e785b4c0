# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures by layer: norms of trees like the parameters, histograms of weights.

A layer is a block of a stack, as encoderblock_03, or else all that lies below
one name, as embedding or head.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vit_jax.optim.multipliers import compute_multipliers, is_plain
from vit_jax.optim.options import Optim
from vit_jax.sharding import get_path, is_own, is_stacked, replicate

BINS = 32
SMALL = ("/bias", "/scale")  # Ends of the paths of what is no weight.


def _find_name(path: str) -> str:
  """The layer, or the stack of layers, that a parameter is of."""
  if is_own(path):  # As mae_encoderblock.
    own, _, rest = path.partition("/")
    return f"{own}_{_find_name(rest)}"
  return path.removeprefix("Transformer/").partition("/")[0]


def _gather(tree: Any) -> dict[str, dict[str, Any]]:
  """Name -> path -> array [L ...]; L is 1 for what is no stack of blocks."""
  found: dict[str, dict[str, Any]] = {}
  for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
    path = get_path(keys)
    own = leaf if is_stacked(path) else leaf[None]
    found.setdefault(_find_name(path), {})[path] = own
  return found


def list_layers(params: Any) -> list[str]:
  """Names of the layers, in the order of the figures."""
  names = []
  for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = _find_name(path := get_path(keys))
    # Two digits: tools that sort names have them in the order of blocks.
    blocks = [f"{name}_{i:02d}" for i in range(leaf.shape[0])]
    names += blocks if is_stacked(path) else [name]
  return list(dict.fromkeys(names))


def _reduce(x: Any, what: str, **keys: Any) -> Any:
  """Reduces an array [L ...] to [L]."""
  return getattr(jnp, what)(x, axis=tuple(range(1, x.ndim)), **keys)


def compute_norms(*trees: Any) -> Float[Array, "trees layers"]:
  """The L2 norm of every layer of trees like the parameters."""
  norms = []
  for tree in trees:
    squares = [
      sum(
        _reduce(jnp.square(x.astype(jnp.float32)), "sum")
        for x in arrays.values()
      )
      for arrays in _gather(tree).values()
    ]
    norms.append(jnp.sqrt(jnp.concatenate(squares)))
  return replicate(jnp.stack(norms))


def _list_weights(params: Any) -> list[list[Any]]:
  """The arrays [L ...] of weights of each name; all, if there are no others."""
  return [
    [x for path, x in arrays.items() if not path.endswith(SMALL)]
    or list(arrays.values())
    for arrays in _gather(params).values()
  ]


def compute_edges(params: Any) -> Float[Array, "layers edges"]:
  """Edges of bins between the smallest and the largest weight of each layer."""
  edges = []
  for values in _list_weights(params):
    low = jnp.stack([_reduce(x, "min") for x in values]).min(axis=0)
    high = jnp.stack([_reduce(x, "max") for x in values]).max(axis=0)
    edges.append(jnp.linspace(low, high, BINS + 1, axis=-1))
  return replicate(jnp.concatenate(edges).astype(jnp.float32))


def count_below(
  params: Any, edges: Float[Array, "layers edges"], index: Any
) -> Int[Array, "layers"]:
  """Counts the weights of each layer below its edge `index`.

  One edge of all: several in one program, or a loop over them, may take several
  times the memory of the parameters.
  """
  bounds = jax.lax.dynamic_index_in_dim(edges, index, axis=1, keepdims=False)
  counts, row = [], 0
  for values in _list_weights(params):
    own = bounds[row : row + len(values[0])]
    row += len(own)
    counts.append(
      sum(
        _reduce(
          x < own.reshape(-1, *(1,) * (x.ndim - 1)), "sum", dtype=jnp.int32
        )
        for x in values
      )
    )
  return replicate(jnp.concatenate(counts))


class Histograms:
  """Histograms of the weights of every layer, as of `np.histogram`.

  Biases and scales are left out, as they are few and lie elsewhere; of a layer
  that has nothing else they are taken.
  """

  def __init__(self, params: Any):
    """Compiles nothing yet.

    Args:
      params: abstract parameters.
    """
    sizes = [
      [sum(x.size for x in values) // values[0].shape[0]] * values[0].shape[0]
      for values in jax.eval_shape(_list_weights, params)
    ]
    self._totals = np.concatenate(sizes)
    self._edges, self._count = jax.jit(compute_edges), jax.jit(count_below)

  def dispatch(self, params: Any) -> Any:
    """Lets the devices of the current mesh compute; waits for nothing."""
    edges = self._edges(params)
    inner = map(np.int32, range(1, BINS))
    return edges, [self._count(params, edges, i) for i in inner]

  def finish(self, found: Any) -> tuple[np.ndarray, np.ndarray]:
    """Makes counts [layers bins] and edges of what was dispatched.

    Args:
      found: from `dispatch`, on the host.
    """
    edges, below = found
    below = [np.zeros_like(self._totals), *below, self._totals]
    return np.diff(np.stack(below, axis=1), axis=1), edges


def compute_rates(optim: Optim, params: Any) -> dict[str, float]:
  """Layer -> the largest learning-rate multiplier in it; none if all are 1."""
  if is_plain(optim):
    return {}
  multipliers = _gather(compute_multipliers(optim, params)).values()
  found = [np.max([*arrays.values()], axis=0) for arrays in multipliers]
  rates = np.concatenate(found).tolist()
  return dict(zip(list_layers(params), rates, strict=True))
