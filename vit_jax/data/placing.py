# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Puts the rows that each process has read on the devices of a mesh."""

import bisect
import collections
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vit_jax.sharding import get_batch_sharding
from vit_jax.train_state import Batch

# Batches that are read in parallel on the host, and that wait on the device. At
# two, the last images of one overlap with the first of the next; more take
# memory.
AHEAD = 2


def make_abstract_batch(
  data: Any, mesh: Mesh, channels: int, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
  """Makes a training batch of shapes, dtypes and shardings.

  Args:
    data: the config's section.
    mesh: mesh that it is placed on.
    channels: channels of the images (c).
    batch_size: global batch size (B).
  """
  images = data.views.get_shapes(data.shape, channels)
  labels = (data.label_slots,) if data.label_slots else ()
  shapes: dict[str, tuple[tuple[int, ...], Any]] = {
    name: (shape, jnp.uint8) for name, shape in images.items()
  }
  shapes |= {"label": (labels, jnp.int32), "mask": ((), jnp.bool_)}
  if data.has_masks:
    shapes["segmentation"] = (data.shape, jnp.uint8)
  place = get_batch_sharding(mesh)
  return {
    name: jax.ShapeDtypeStruct((batch_size, *shape), dtype, sharding=place)
    for name, (shape, dtype) in shapes.items()
  }


def find_rows(mesh: Mesh, batch_size: int) -> list[int]:
  """Finds the rows of a batch that this process's devices hold, sorted."""
  places = get_batch_sharding(mesh).addressable_devices_indices_map(
    (batch_size,)
  )
  rows = set()
  for index in places.values():
    (part,) = index or (slice(None),)
    rows.update(range(*part.indices(batch_size)))
  return sorted(rows)


def place(batch: dict[str, np.ndarray], mesh: Mesh, batch_size: int) -> Batch:
  """Puts this process's rows of a batch on its devices of the mesh."""
  sharding = get_batch_sharding(mesh)
  rows = find_rows(mesh, batch_size)

  def put(local: np.ndarray) -> jax.Array:
    def get_shard(index):
      start, stop, _ = index[0].indices(batch_size)
      first = bisect.bisect_left(rows, start)
      return local[first : first + stop - start]

    shape = (batch_size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, get_shard)

  return {name: put(x) for name, x in batch.items()}


def to_device(
  batches: Iterator[dict[str, np.ndarray]],
  mesh: Mesh,
  batch_size: int,
  ahead: int = AHEAD,
) -> Iterator[Batch]:
  """Yields the batches on the mesh, transferring `ahead` of them in advance."""
  queue = collections.deque()
  batches = iter(batches)
  while True:
    for batch in itertools.islice(batches, ahead - len(queue)):
      queue.append(place(batch, mesh, batch_size))
    if not queue:
      return
    yield queue.popleft()
