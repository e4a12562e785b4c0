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
from vit_jax.sharding import get_path, is_stacked, replicate

BINS = 64
SMALL = ("/bias", "/scale")  # Ends of the paths of what is no weight.


def _find_name(path: str) -> str:
  """The layer, or the stack of layers, that a parameter is of."""
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


def compute_histograms(
  params: Any,
) -> tuple[Int[Array, "layers bins"], Float[Array, "layers edges"]]:
  """Histograms of the weights of every layer, as of `np.histogram`.

  Biases and scales are left out, as they are few and lie elsewhere; of a layer
  that has nothing else they are taken.

  Returns:
    Counts, and edges from the smallest to the largest value.
  """
  counts, edges = [], []
  for arrays in _gather(params).values():
    taken = [x for path, x in arrays.items() if not path.endswith(SMALL)]
    values = [x.astype(jnp.float32) for x in taken or arrays.values()]
    low = jnp.stack([_reduce(x, "min") for x in values]).min(axis=0)
    high = jnp.stack([_reduce(x, "max") for x in values]).max(axis=0)
    bounds = jnp.linspace(low, high, BINS + 1)

    def count(bound, values=values):  # [L] -> how many are below it.
      return sum(
        _reduce(
          x < bound.reshape(-1, *(1,) * (x.ndim - 1)), "sum", dtype=jnp.int32
        )
        for x in values
      )

    # One bound at a time: all at once could be as many copies.
    below = jax.lax.map(count, bounds[1:-1])
    total = sum(x.size // len(x) for x in values)
    below = jnp.pad(below, ((1, 0), (0, 0)))
    below = jnp.pad(below, ((0, 1), (0, 0)), constant_values=total)
    counts.append(jnp.diff(below, axis=0).T)
    edges.append(bounds.T)
  return replicate(jnp.concatenate(counts)), replicate(jnp.concatenate(edges))


def compute_rates(optim: Optim, params: Any) -> dict[str, float]:
  """Layer -> the largest learning-rate multiplier in it; none if all are 1."""
  if is_plain(optim):
    return {}
  multipliers = _gather(compute_multipliers(optim, params)).values()
  found = [np.max([*arrays.values()], axis=0) for arrays in multipliers]
  rates = np.concatenate(found).tolist()
  return dict(zip(list_layers(params), rates, strict=True))
