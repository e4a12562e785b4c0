# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Averages of weights: model soups.

Wortsman et al., 2022, "Model soups: averaging weights of multiple fine-tuned
models improves accuracy without increasing inference time", arXiv 2203.05482.
Models of this package have no batch statistics, so the average is all of it.
"""

import dataclasses
from typing import Any

import numpy as np

from vit_jax.config import ConfigError
from vit_jax.convert.lazy import allocate
from vit_jax.convert.weights import Weights

CHUNK = 1 << 22  # Elements that are averaged at a time.

# Fields that change how a model is computed or trained, not what it computes.
FREE = ("dtype", "dropout", "stochastic_depth", "patch_dropout")


class Average:
  """The running mean of weights, in float64.

  Attributes:
    count: number of weights in it.
  """

  def __init__(self):
    self.count = 0
    self._sums: dict[str, np.ndarray] = {}
    self._first: Weights | None = None

  def add(self, weights: Weights) -> None:
    """Adds weights.

    Raises:
      ConfigError: if they are of another model, size or classes than the first.
    """
    if self._first is None:
      empty: Any = {}
      self._first = dataclasses.replace(weights, params=empty)
    else:
      check_alike(self._first, weights)
    for name, array in weights.params.items():
      if name in self._sums:
        np.add(self._sums[name], array, out=self._sums[name])
      else:
        self._sums[name] = np.array(array, np.float64)
    self.count += 1

  def get(self, other: Weights | None = None) -> Weights:
    """Returns the mean, rounded to float32; as if `other` were in it, too."""
    assert self._first is not None
    count = self.count + (other is not None)
    params = {}
    for name, value in self._sums.items():
      mean = allocate(value.shape)
      sums, out = value.reshape(-1), mean.reshape(-1)
      more = None if other is None else np.asarray(other.params[name])
      for start in range(0, sums.size, CHUNK):
        part = slice(start, start + CHUNK)
        total = sums[part]
        if more is not None:
          total = total + more.reshape(-1)[part]
        out[part] = total / count
      params[name] = mean
    return dataclasses.replace(self._first, params=params)


def check_alike(first: Weights, other: Weights) -> None:
  """Checks that weights can be averaged.

  Raises:
    ConfigError: naming what differs.
  """

  def describe(weights: Weights) -> dict[str, Any]:
    found = dict(weights.manifest)
    model = found.pop("model")
    return found | {k: x for k, x in model.items() if k not in FREE}

  one, two = describe(first), describe(other)
  differing = [key for key in one | two if one.get(key) != two.get(key)]
  if not differing:
    return
  key = differing[0]
  more = f", and {', '.join(differing[1:])}" if differing[1:] else ""
  raise ConfigError(
    f"{other.source} cannot be averaged with {first.source}: {key} is "
    f"{_show(two.get(key))}, not {_show(one.get(key))}{more}"
  )


def _show(value: Any) -> str:
  text = str(value)
  return text if len(text) <= 100 else f"{text[:100]}..."
