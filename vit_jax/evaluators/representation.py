# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Features of a split: what the head reads, of every example, on the mesh.

The features of a batch stay where they were computed, so those of a whole split
are spread over the devices as a batch is.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from vit_jax.data.pipeline import Data
from vit_jax.evaluators.split import check_count, iterate_split
from vit_jax.sharding import get_batch_sharding
from vit_jax.train_state import Batch


class Features(NamedTuple):
  """Features of a split, by batch and row, in its order.

  Attributes:
    values: float32, sharded by B.
    label: class of each example.
    mask: False for padding, whose features are zero.
  """

  values: Float[Array, "batches B R"]
  label: Int[np.ndarray, "batches B"]
  mask: Bool[np.ndarray, "batches B"]


def make_step(
  model: nn.Module, data: Data, mesh: Mesh
) -> Callable[[Any, Batch], tuple[jax.Array, jax.Array, jax.Array]]:
  """Makes the jitted step (params, batch) -> (features, label, mask)."""
  headless = model.clone(num_classes=0)

  def step(params: Any, batch: Batch) -> tuple[Any, Any, Any]:
    values: Any = headless.apply(
      {"params": params}, data.prepare(batch)["image"]
    )
    mask = batch["mask"]
    values = jnp.where(mask[:, None], values.astype(jnp.float32), 0)
    return values, batch["label"], mask

  everywhere = NamedSharding(mesh, PartitionSpec())
  rows = get_batch_sharding(mesh)
  return jax.jit(step, out_shardings=(rows, everywhere, everywhere))


def embed(
  model: nn.Module,
  params: Any,
  data: Data,
  mesh: Mesh,
  channels: int,
  *,
  split: str,
  batch_size: int,
  mark: Callable[[], None] = lambda: None,
) -> Features:
  """Computes the features of every example of a split.

  Args:
    model: images -> logits; its head is left out.
    params: its parameters, on the mesh.
    data: the data section.
    mesh: devices to run on.
    channels: c.
    split: split.
    batch_size: global batch size (B).
    mark: called after each batch.

  Raises:
    RuntimeError: unless every example was seen exactly once.
  """
  results, size = iterate_split(
    make_step(model, data, mesh),
    params,
    data,
    mesh,
    channels,
    split=split,
    batch_size=batch_size,
    mark=mark,
  )
  batches = -(-size // batch_size)
  labels, masks = [], []
  values: Any = None
  for number, (found, label, mask) in enumerate(results):
    if values is None:
      shape = (batches, *found.shape)
      where = NamedSharding(mesh, PartitionSpec(None, *found.sharding.spec))
      make = functools.partial(jnp.zeros, shape, jnp.float32)
      values = jax.jit(make, out_shardings=where)()
    values = _insert(values, found, number)  # In place: the old are donated.
    labels.append(np.asarray(label))
    masks.append(np.asarray(mask))
  features = Features(values, np.stack(labels), np.stack(masks))
  check_count(int(features.mask.sum()), size, split)
  return features


@functools.partial(jax.jit, donate_argnums=0)
def _insert(values: jax.Array, found: jax.Array, number: Any) -> jax.Array:
  """Writes the features of a batch."""
  return jax.lax.dynamic_update_index_in_dim(values, found, number, 0)


def take(
  mesh: Mesh, values: Float[Array, "batches B R"], places: Int[Array, "n"]
) -> Float[Array, "n R"]:
  """Gathers features by their place among all rows of all batches.

  Each device adds those that it holds: no more than n are moved.

  Args:
    mesh: devices that hold the features.
    values: as of `Features`.
    places: batch times B plus row.

  Returns:
    The features, on every device.
  """
  size = values.shape[1]
  axes = get_batch_sharding(mesh).spec[0]

  def collect(held: jax.Array, places: jax.Array) -> jax.Array:
    rows = places % size
    if axes is not None:
      rows = rows - jax.lax.axis_index(axes) * held.shape[1]
    here = (rows >= 0) & (rows < held.shape[1])
    found = held[places // size, jnp.where(here, rows, 0)]
    found = jnp.where(here[:, None], found, 0)
    return found if axes is None else jax.lax.psum(found, axes)

  return jax.shard_map(
    collect,
    mesh=mesh,
    in_specs=(PartitionSpec(None, axes), PartitionSpec()),
    out_specs=PartitionSpec(),
  )(values, places)
