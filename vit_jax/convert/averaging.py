# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Averages of weights: model soups.

Wortsman et al., 2022, "Model soups: averaging weights of multiple fine-tuned
models improves accuracy without increasing inference time", arXiv 2203.05482.
Models of this package have no batch statistics, so the average is all of it.
"""

import dataclasses
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from vit_jax.checkpoint.allocator import allocate
from vit_jax.config import ConfigError
from vit_jax.convert.weights import Weights

CHUNK = 1 << 20  # Elements that are averaged at a time.

# Fields that change how a model is computed or trained, not what it computes.
FREE = ("dtype", "dropout", "stochastic_depth", "patch_dropout")


class Average:
  """The running mean of weights, whose sums are float64 in a file.

  So that one model is in memory beside it, not three.

  Attributes:
    count: number of weights in it.
  """

  def __init__(self, file: io.BufferedIOBase):
    """Starts with none.

    Args:
      file: empty, to be read and written; it takes 8 bytes a parameter.
    """
    self.count = 0
    self._file = file
    self._first: Weights | None = None
    # Path -> first byte of its sums, and shape.
    self._places: dict[str, tuple[int, tuple[int, ...]]] = {}

  def add(self, weights: Weights) -> None:
    """Adds weights.

    Raises:
      ConfigError: if they are of another model, size or classes than the first,
        or there is no room for the sums.
    """
    if self._first is None:
      empty: Any = {}
      self._first = dataclasses.replace(weights, params=empty)
      end = 0
      for name, array in weights.params.items():
        self._places[name] = end, tuple(array.shape)
        end += 8 * array.size
    else:
      check_alike(self._first, weights)
    try:
      for name, array in weights.params.items():
        values = np.asarray(array).reshape(-1)
        for part, place in self._list_parts(name):
          total = values[part].astype(np.float64)
          if self.count:
            total += self._read(place, total.size)
          self._file.seek(place)
          self._file.write(total.view(np.uint8).data)
      self._file.flush()
    except OSError as error:
      size = sum(8 * x.size for x in weights.params.values()) / 2**20
      raise ConfigError(
        f"sums of weights are kept on the disk of --out, for which it must "
        f"have {size:,.0f} MiB free: {error}"
      ) from error
    self.count += 1

  def get(self, other: Weights | None = None) -> Weights:
    """Returns the mean, rounded to float32; as if `other` were in it, too."""
    assert self._first is not None
    count = self.count + (other is not None)
    params = {}
    for name, (_, shape) in self._places.items():
      mean = allocate(shape)
      out = mean.reshape(-1)
      more = None if other is None else np.asarray(other.params[name])
      for part, place in self._list_parts(name):
        total = self._read(place, out[part].size)
        if more is not None:
          total += more.reshape(-1)[part]
        out[part] = total / count
      params[name] = mean
    return dataclasses.replace(self._first, params=params)

  def _list_parts(self, name: str) -> Iterator[tuple[slice, int]]:
    """Yields the parts of an array, and where the sums of each begin."""
    begin, shape = self._places[name]
    for start in range(0, math.prod(shape), CHUNK):
      yield slice(start, start + CHUNK), begin + 8 * start

  def _read(self, place: int, count: int) -> np.ndarray:
    """Reads sums, float64 [count]."""
    self._file.seek(place)
    return np.frombuffer(bytearray(self._file.read(8 * count)), np.float64)


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
