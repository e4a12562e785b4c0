# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The least that the chips of a mesh must send one another in a step."""

import math

import jax
import jax.numpy as jnp

from vit_jax.experiment import Experiment
from vit_jax.optim import make_trained_mask
from vit_jax.sharding import get_path, is_own


def count_least(exp: Experiment) -> float | None:
  """Counts the bytes that each chip must receive in a step, as a ring does.

  Every micro-batch gathers the parameters that lie sharded over `fsdp` twice,
  for the forward and the backward pass, and scatters their gradients once;
  replicas add up gradients once a step. All is sent in the dtype that it is
  computed with: float32 in the head and in the objective's own layers, the
  model's in all others.

  Args:
    exp: experiment, of one slice.

  Returns:
    Bytes; None with `tensor`, which sends activations, too.
  """
  sizes = exp.mesh.shape
  if sizes["tensor"] > 1:
    return None
  params = exp.abstract_state.params
  trained = jax.tree.leaves(make_trained_mask(exp.optim, params))
  dtype = getattr(exp.model, "dtype", jnp.float32)
  received = 0.0
  for (keys, x), learns in zip(
    jax.tree_util.tree_leaves_with_path(params), trained, strict=True
  ):
    path = get_path(keys)
    whole = is_own(path) or path.startswith("head/")
    size = x.size * (4 if whole else jnp.dtype(dtype).itemsize)
    parts = x.size // math.prod(x.sharding.shard_shape(x.shape))
    passed = (parts - 1) / parts * size * exp.fit.accumulate
    received += (2 + learns) * passed
    sums = sizes["replica"] * sizes["fsdp"] // parts
    received += learns * 2 * (sums - 1) / sums * size / parts
  return received
