# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of large arrays: the C library's use of it, and where arrays begin.

Each of TensorStore's threads allocates and frees buffers as large as a chunk.
GNU's library keeps what was freed below a threshold, which it raises up to 32
MiB, for the thread that had it: in all as much as the parameters.
"""

import contextlib
import ctypes
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

# Of malloc.h: parameters of mallopt.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
SMALL, LARGE = 1 << 20, 1 << 25  # Bytes; the latter is the library's largest.
ALIGNMENT = 64  # Bytes; jax on a CPU copies arrays that begin elsewhere.


@contextlib.contextmanager
def returning_memory() -> Iterator[None]:
  """Returns large buffers to the system as soon as they are freed.

  Afterwards the thresholds are those that the library would have come to.
  """
  try:
    mallopt = ctypes.CDLL("libc.so.6").mallopt
  except (OSError, AttributeError):  # Not GNU's.
    yield
    return
  mallopt(MMAP_THRESHOLD, SMALL)
  try:
    yield
  finally:
    mallopt(MMAP_THRESHOLD, LARGE)
    mallopt(TRIM_THRESHOLD, 2 * LARGE)


def allocate(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
  """An array of any values, which jax on a CPU takes without a copy."""
  dtype = np.dtype(dtype)
  count = math.prod(shape) * dtype.itemsize
  raw = np.empty(count + ALIGNMENT, np.uint8)
  start = -raw.ctypes.data % ALIGNMENT
  return raw[start : start + count].view(dtype).reshape(shape)


def align(array: np.ndarray) -> np.ndarray:
  """The array itself, or a copy that jax on a CPU takes without another."""
  if not array.ctypes.data % ALIGNMENT and array.flags.c_contiguous:
    return array
  made = allocate(array.shape, array.dtype)
  made[...] = array
  return made
