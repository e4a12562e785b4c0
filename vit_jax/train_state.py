# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""State and batch of a training step: arrays, and nothing but arrays."""

import hashlib
from typing import Any

import flax.struct
import jax
import numpy as np
from jax.experimental import multihost_utils

from vit_jax.sharding import get_path

# `image` uint8 or float [B H W c]; `label` int [B], ids [B s] padded with -1,
# or float [B Y]; `mask` bool [B], False for padding.
Batch = dict[str, jax.Array]

# Skips and rollbacks that a state has room for. Constant, because a run may
# continue under another train.max_skipped_steps.
MAX_SKIPS = 64


def _zeros(*shape: int) -> Any:
  return flax.struct.field(
    default_factory=lambda: np.zeros(shape, np.int32), pytree_node=True
  )


class NonFinite(flax.struct.PyTreeNode):
  """Non-finite values that a run has met so far. Steps count from 1.

  Attributes:
    bad_step: int32 [], the step that stopped the run; while it is set no step
      changes anything. 0 is none.
    bad_tensor: int32 [], number of its first tensor that is not finite, from 1
      on, in the order of `optim.nonfinite.list_tensors`.
    skipped: int32 [MAX_SKIPS 2], first and last step of every range of steps
      that changed nothing. Ranges may overlap: two rollbacks may restore the
      same checkpoint.
    count: int32 [], number of ranges in use.
  """

  bad_step: Any = _zeros()
  bad_tensor: Any = _zeros()
  skipped: Any = _zeros(MAX_SKIPS, 2)
  count: Any = _zeros()


class TrainState(flax.struct.PyTreeNode):
  """A point of a run; with the config it determines all that follows.

  Attributes:
    step: int32 [], number of steps done; also the position in the data and,
      folded into the seed, every random key.
    params: float32, by the names of the authors' checkpoints.
    opt_state: state of the optimizer.
    ema: averaged parameters, or None if none are kept.
    aux: arrays that an objective keeps beside the parameters and steps change.
    nonfinite: non-finite values met, and the steps that were skipped.

  The same tree with shapes or shardings in place of arrays describes a state,
  so no leaf is annotated more closely.
  """

  step: Any
  params: Any
  opt_state: Any
  ema: Any
  aux: Any
  nonfinite: Any = flax.struct.field(default_factory=NonFinite)


def get_evaluated_params(state: TrainState) -> Any:
  """Returns the parameters to evaluate: the average, where one is kept.

  Or the teacher of an objective that has one in `aux`.
  """
  if state.ema is not None:
    return state.ema
  return state.aux.get("teacher", state.params)


def compute_digest(params: Any) -> str:
  """Computes sha256 over leaves sorted by path: path, shape, dtype and values.

  Values are those of the global array, little-endian, so the digest does not
  depend on the mesh. Every process must call this, and all get the same.
  """
  digest = hashlib.sha256()
  leaves = jax.tree_util.tree_leaves_with_path(params)
  for path, leaf in sorted((get_path(keys), leaf) for keys, leaf in leaves):
    value = fetch_global_value(leaf)
    digest.update(f"{path} {value.shape} {value.dtype}\n".encode())
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    words = np.ascontiguousarray(little).reshape(-1)
    digest.update(words.view(np.uint8).data)
  return digest.hexdigest()


def fetch_global_value(array: jax.Array | np.ndarray) -> np.ndarray:
  """Fetches a whole array, which may be spread over processes, to this host."""
  if isinstance(array, np.ndarray):
    return array
  if array.is_fully_addressable or array.is_fully_replicated:
    return np.asarray(jax.device_get(array))
  return multihost_utils.process_allgather(array, tiled=True)
