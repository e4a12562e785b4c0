# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The C library's use of memory while large arrays are read and written.

Each of TensorStore's threads allocates and frees buffers as large as a chunk.
GNU's library keeps what was freed below a threshold, which it raises up to 32
MiB, for the thread that had it: in all as much as the parameters.
"""

import contextlib
import ctypes
from collections.abc import Iterator

# Of malloc.h: parameters of mallopt.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
SMALL, LARGE = 1 << 20, 1 << 25  # Bytes; the latter is the library's largest.


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
