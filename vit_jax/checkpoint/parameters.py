# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writing parameters alone, in little more memory than they take.

A run that trains copies its state, which the next step overwrites, and writes
it in the background. Here nothing changes the arrays meanwhile: they are
written from where they are, in small chunks, and read back by chunks.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import tensorstore
from etils import epath

from vit_jax.checkpoint.checksums import compute_checksum, describe, sum_parts
from vit_jax.checkpoint.directory import holding_interrupts, sync
from vit_jax.checkpoint.metadata import (
  FORMAT,
  DamagedError,
  compare,
  seal,
  to_tree,
)
from vit_jax.checkpoint.quiet_orbax import get_orbax
from vit_jax.checkpoint.reading import reading
from vit_jax.config import ConfigError
from vit_jax.devices.host_memory import returning_memory
from vit_jax.sharding import get_path
from vit_jax.storage.paths import is_local
from vit_jax.train_state import TrainState

CHUNK = 1 << 25  # Bytes, compressed together.
IN_FLIGHT = 2 * CHUNK  # Bytes that are compressed and written at a time.


@returning_memory()
def save_params(directory: epath.Path, params: Any) -> None:
  """Writes parameters alone, as a checkpoint of step 0.

  Args:
    directory: directory of the checkpoints.
    params: nested dictionaries of arrays.

  Raises:
    ConfigError: if the directory is not empty, or cannot be written.
  """
  if directory.exists() and any(directory.iterdir()):
    raise ConfigError(f"{directory} holds checkpoints already")
  params = jax.tree.map(np.asarray, params)
  tree = to_tree(
    TrainState(
      step=np.zeros((), np.int32), params=params, opt_state=(), ema=None, aux={}
    )
  )
  leaves = {
    get_path(keys): leaf
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  sums = {name: compute_checksum(leaf) for name, leaf in leaves.items()}
  metadata = seal({"format": FORMAT, "step": 0, "checksums": sums})
  path, ocp = directory / "0", get_orbax()
  context = ocp.Context()
  context.memory.deepcopy_host_arrays = False  # Orbax before 0.12.5 copies.
  context.memory.write_concurrent_bytes = IN_FLIGHT
  context.array.saving.scoped_storage_options_creator = _choose_chunks
  # OCDBT, a database of many small files in one, holds all chunks in memory
  # until they are committed together.
  context.array.saving.use_ocdbt = False
  try:
    directory.mkdir(parents=True, exist_ok=True)
    with holding_interrupts(), context:
      ocp.save_checkpointables(path, {"state": tree}, custom_metadata=metadata)
    sync(path)
  except Exception as error:  # Clients of stores have errors of their own.
    with contextlib.suppress(Exception):
      directory.rmtree()  # It holds what nobody can read, maybe a full disk.
    raise ConfigError(
      f"{directory} cannot be written: {error.__cause__ or error}"
    ) from error
  try:
    with reading():
      compare({name: _sum_back(path, name) for name in leaves}, sums)
  except DamagedError as error:
    raise ConfigError(
      f"{path} differs from what was written: {error}: check that disk"
    ) from error


def _choose_chunks(keys: Any, leaf: Any) -> Any:
  """Orbax's options of an array; those of layers have a chunk for each."""
  del keys
  return get_orbax().options.ArrayOptions.Saving.StorageOptions(
    chunk_byte_size=CHUNK, shard_axes=(0,) if leaf.ndim > 2 else ()
  )


def _sum_back(path: epath.Path, name: str) -> str:
  """Computes the checksum of an array on the disk."""
  place = f"{path}/state/{name.replace('/', '.')}/"
  kvstore: Any = {"driver": "file", "path": place} if is_local(path) else place
  spec = {"driver": "zarr3", "kvstore": kvstore}
  store = tensorstore.open(spec, read=True, open=True).result()
  like = jax.ShapeDtypeStruct(store.shape, store.dtype.numpy_dtype)
  return sum_parts(describe(like), _read_parts(store))


def _read_parts(store: Any) -> Iterator[np.ndarray]:
  """Yields an array's rows, of about a chunk each."""
  if not store.shape:
    yield store.read().result()
    return
  row = math.prod(store.shape[1:]) * store.dtype.numpy_dtype.itemsize
  step = max(1, CHUNK // max(1, row))
  for start in range(0, store.shape[0], step):
    end = min(start + step, store.shape[0])
    yield store[start:end].read().result()
