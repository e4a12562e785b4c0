# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Finding values of weights that are not finite, which spoil every logit."""

import warnings
from typing import Any

import numpy as np

from vit_jax.config.errors import counted
from vit_jax.convert.table import Arrays
from vit_jax.sharding import is_stacked

SHOWN = 4  # Arrays that are named.


def warn(params: Arrays, source: Any) -> None:
  """Warns of parameters that hold NaN or infinity, and names them.

  Args:
    params: our path -> float array.
    source: path that they were read from.
  """
  found = [path for path, x in params.items() if not is_finite(x)]
  if found:
    named = [f"{x}, {describe(x, params[x])}" for x in found[:SHOWN]]
    more = "; ..." * (len(found) > SHOWN)
    warnings.warn(
      f"{source} holds values that are not finite, in "
      f"{counted(len(found), 'array')} of {len(params)}: "
      f"{'; '.join(named)}{more}: nor will be what is computed with "
      f"them; fetch or write the weights again",
      stacklevel=3,
    )


def is_finite(array: np.ndarray) -> bool:
  """Whether all values are finite; needs no memory of the array's size."""
  with np.errstate(invalid="ignore"):
    ends = np.min(array, initial=0), np.max(array, initial=0)
  return bool(np.isfinite(ends).all())


def describe(path: str, array: np.ndarray) -> str:
  """How many values of an array are NaN or infinite, and in which layers."""
  bad = ~np.isfinite(array)
  text = f"{np.count_nonzero(bad):,} of {bad.size:,} values"
  if is_stacked(path):
    layers = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    text += f" in layer {', '.join(map(str, layers[:SHOWN]))}"
    text += ", ..." * (len(layers) > SHOWN)
  return text
