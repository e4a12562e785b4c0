# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays that begin where jax on a CPU takes them without a copy."""

import math
from typing import Any

import numpy as np

ALIGNMENT = 64  # Bytes; jax on a CPU copies arrays that begin elsewhere.


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
