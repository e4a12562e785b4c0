# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the C library does with memory that is freed: GNU's keeps little of it.

A large buffer is returned to the system, which clears each of its pages again
when the next one is asked for. With another library nothing here has an effect.
"""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator

# Of malloc.h: parameters of mallopt.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
SMALL, LARGE = 1 << 20, 1 << 25  # Bytes; the latter is the library's most.
# Larger ones seldom fit into what others left: S/16 at 224 px, a step of which
# takes 1.9 GiB, grew from 3.2 to 6.8 GB.
KEPT = 1 << 29
EVER = (1 << 31) - 1  # An int's largest.

# Bytes from which a buffer is returned, and free ones at the end of the heap.
_thresholds = [LARGE, 2 * LARGE]


@functools.cache
def find_function(name: str) -> Callable[..., int]:
  """Finds a function of GNU's library; one that does nothing elsewhere."""
  try:
    return getattr(ctypes.CDLL("libc.so.6"), name)
  except (OSError, AttributeError):
    return lambda *_: 0


def keep_memory() -> None:
  """Keeps what is freed for what is allocated next; for steps on a CPU.

  XLA allocates the temporaries of every step anew. Call this before jax starts
  its threads, and `share_heap` before all others.
  """
  _thresholds[:] = [KEPT, EVER]
  share_heap()
  _apply()


def share_heap() -> None:
  """Has all threads that follow allocate from the heaps that there are.

  The first thread beside the main one, which may be NumPy's, makes a heap of
  its own, whose parts of 64 MiB are returned whenever they are free; threads
  take turns at all heaps. So call this while there is one: before NumPy is
  imported.
  """
  find_function("mallopt")(ARENA_MAX, 1)


def _apply() -> None:
  mallopt = find_function("mallopt")
  mallopt(MMAP_THRESHOLD, _thresholds[0])
  mallopt(TRIM_THRESHOLD, _thresholds[1])


def return_memory() -> None:
  """Returns what is free now, as after the compiler, which needs much."""
  find_function("malloc_trim")(0)


@contextlib.contextmanager
def returning_memory() -> Iterator[None]:
  """Returns large buffers to the system as soon as they are freed.

  Each of TensorStore's threads allocates and frees buffers as large as a chunk,
  and what is kept for each of them is in all as much as the parameters.
  """
  find_function("mallopt")(MMAP_THRESHOLD, SMALL)
  try:
    yield
  finally:
    _apply()
