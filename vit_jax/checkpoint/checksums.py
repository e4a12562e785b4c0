# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Checksums of arrays that are the same on a mesh and on a host.

An array is the sequence of its 32-bit words w_i in C order, narrower elements
widened. A checksum is two sums of w_i times an odd weight of i, modulo 2^32.
Sums do not depend on how an array is sharded, and as an odd number has an
inverse modulo 2^32, no word can change alone without changing both.
"""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.sharding import get_path

# Odd, with irregular bits.
FIRST, SECOND = 0x9E3779B1, 0x85EBCA77

CHUNK = 1 << 22  # Words that NumPy sums at a time.


def describe(array: Any) -> str:
  """Describes type and shape: float32[3,4]."""
  return f"{np.dtype(array.dtype)}[{','.join(map(str, array.shape))}]"


def compute_checksums(tree: Any) -> dict[str, str]:
  """Computes path -> "TYPE[SHAPE] CHECKSUM" of every array, on its devices.

  Every process that holds a shard must call this; all get the same.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  sums = np.asarray(_sum_all([leaf for _, leaf in leaves]))
  return {
    get_path(keys): f"{describe(leaf)} {_format(row)}"
    for (keys, leaf), row in zip(leaves, sums, strict=True)
  }


def compute_checksum(array: np.ndarray) -> str:
  """Computes `compute_checksums` of one array on this host, without jax."""
  return sum_parts(describe(array), [array])


def sum_parts(what: str, parts: Iterable[np.ndarray]) -> str:
  """Computes `compute_checksum` of an array that comes in parts.

  Args:
    what: `describe` of the array.
    parts: of the array along its first axis, in order.
  """
  sums, begin = [0, 0], 0
  for words in map(_view_host_words, parts):
    for start in range(0, len(words), CHUNK):
      part = words[start : start + CHUNK].astype(np.uint32)
      first = begin + start
      index = np.arange(first, first + len(part), dtype=np.uint64)
      index = index.astype(np.uint32)  # Modulo 2^32, as on the device.
      for k, weights in enumerate(_weigh(index, np.uint32)):
        sums[k] = (sums[k] + int(np.dot(part, weights))) % 2**32
    begin += len(words)
  return f"{what} {_format(sums)}"


def _format(sums: Any) -> str:
  return "".join(f"{int(x):08x}" for x in sums)


def _weigh(index: Any, uint32: Any) -> tuple[Any, Any]:
  """Computes both weights of word indices, modulo 2^32."""
  one = uint32(1)
  mixed = index ^ (index >> uint32(15))
  return (index * uint32(FIRST)) | one, (mixed * uint32(SECOND)) | one


def _view_host_words(array: np.ndarray) -> np.ndarray:
  """Views an array as one row of unsigned words, of at most 32 bits."""
  array = np.ascontiguousarray(array).reshape(-1)
  array = array.astype(array.dtype.newbyteorder("<"), copy=False)
  size = min(array.dtype.itemsize, 4)
  return array.view(f"<u{size}")


def _convert_words(array: jax.Array) -> jax.Array:
  """Converts an array on a device to uint32 words, in its shape."""
  if array.dtype == jnp.bool_:
    return array.astype(jnp.uint32)
  size = array.dtype.itemsize
  words = jax.lax.bitcast_convert_type(array, f"uint{8 * min(size, 4)}")
  return words.astype(jnp.uint32)


@jax.jit
def _sum_all(leaves: list[jax.Array]) -> jax.Array:
  """Computes both sums of every array, uint32 [leaves 2]."""
  rows = [jnp.zeros((0, 2), jnp.uint32)]
  for leaf in leaves:
    words = _convert_words(leaf)
    index = jnp.zeros(words.shape, jnp.uint32)
    for axis in range(words.ndim):
      stride = math.prod(words.shape[axis + 1 :]) % 2**32
      place = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
      index += place * jnp.uint32(stride)
    sums = [
      jnp.sum(words * weights, dtype=jnp.uint32)
      for weights in _weigh(index, jnp.uint32)
    ]
    rows.append(jnp.stack(sums)[None])
  return jnp.concatenate(rows)
