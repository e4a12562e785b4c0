# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays that are not in memory yet.

Weights of billions of parameters are read and written one array at a time, so
that no more than the model itself is in memory, and one array beside it.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Lazy:
  """An array that is read or computed anew each time that it is loaded.

  Attributes:
    shape: of the array.
    dtype: of the array.
    load: returns the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  load: Callable[[], np.ndarray]

  @property
  def ndim(self) -> int:
    """Number of dimensions."""
    return len(self.shape)

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.shape)

  @property
  def nbytes(self) -> int:
    """Bytes of the array once it is loaded."""
    return self.size * self.dtype.itemsize


def load(array: Any) -> np.ndarray:
  """The array itself, of one that is lazy or in memory."""
  return array.load() if isinstance(array, Lazy) else np.asarray(array)


def make_hollow(array: Any) -> np.ndarray:
  """An array of the same shape and dtype, all of whose elements are one zero.

  It takes no memory, and neither do its views, which is all that the
  transforms of a table make.
  """
  return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def defer(view: Callable[[np.ndarray], np.ndarray], array: Any) -> Lazy:
  """The view that a function makes of an array, once that is loaded."""
  made = view(make_hollow(array))
  return Lazy(made.shape, made.dtype, lambda: view(load(array)))
