# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which sequences the kernel of `vmem_attention.py` can hold."""

import math

import jax.numpy as jnp
from jax.typing import DTypeLike

LANES = 128  # Minor dimension of a TPU register.
# Bytes of VMEM for a step of "vmem". The compiler gives it 16 MiB unless asked,
# and the smallest VMEM, of v4, has no more.
BUDGET = 14 << 20
# Arrays [N K*C] of its backward pass, and arrays [S N] of a head at a time.
ARRAYS, WEIGHTS = 7, 4
TOGETHER = (4, 2, 1)  # Heads that it computes at a time.


def supports_vmem(tokens: int, heads: int, size: int, dtype: DTypeLike) -> bool:
  """Returns whether "vmem" can hold a sequence.

  Args:
    tokens: N.
    heads: K, on one device.
    size: C.
    dtype: dtype of activations.
  """
  return choose_heads(tokens, heads, size, dtype) is not None


def choose_heads(
  tokens: int, heads: int, size: int, dtype: DTypeLike
) -> tuple[int, int] | None:
  """Chooses the heads that a step of "vmem" holds, and computes at a time.

  As many as fit, all of them or such as lie on whole registers. Arguments as of
  `supports_vmem`.

  Returns:
    The two numbers; None if the sequence does not fit.
  """
  few = math.lcm(size, LANES) // size
  held = [heads, *(n for n in range(heads - 1, 0, -1) if n % few == 0)]
  rows, columns = (tokens + -tokens % n for n in (8, LANES))
  weights = WEIGHTS * rows * columns * 4
  for together in TOGETHER:
    for count in held:
      width = count * size + -(count * size) % LANES
      array = rows * width * jnp.dtype(dtype).itemsize
      # The arrays of the next step are copied while this one computes.
      needed = 2 * ARRAYS * array + together * weights
      if heads % count == 0 and needed <= BUDGET:
        return count, min(together, count)
  return None
