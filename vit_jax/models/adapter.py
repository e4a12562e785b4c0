# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters of low rank beside dense layers (LoRA; Hu et al., 2022, arXiv
2106.09685): W + (alpha / r) A B, of which only A and B are trained.

The arrays stand beside the layer, as `query_lora/a` beside `query/kernel`, so
that all other paths, and the initial values at them, are as without adapters.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.config import ConfigError
from vit_jax.models.projection import Projection
from vit_jax.sharding import ADAPTER, constrain, is_stacked

# A's initial values, as in the authors' code: uniform, of a standard deviation
# of 1 / sqrt(3 inputs). The paper says Gaussian, and not of which.
INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Adapter(NamedTuple):
  """Size of the adapters of a model.

  Attributes:
    rank: r.
    alpha: what r divides for the factor on A B.
  """

  rank: int
  alpha: float

  @property
  def scale(self) -> float:
    """The factor on A B."""
    return self.alpha / self.rank


def parse_adapter(text: str | None) -> Adapter | None:
  """Reads `model.adapter`: "lora:RANK" or "lora:RANK:ALPHA"; None is none.

  Without it alpha is the rank (paper, section 4.1: the first rank that is
  tried, and not tuned).

  Raises:
    ConfigError: if it is neither.
  """
  if text is None:
    return None
  match = re.fullmatch(r"lora:(\d{1,9})(?::(\d{1,9}(?:\.\d{1,9})?))?", text)
  if match is None or not all(map(float, filter(None, match.groups()))):
    raise ConfigError(
      f"model.adapter={text!r} must be lora:RANK or lora:RANK:ALPHA, two "
      f"numbers above 0: as 'lora:8', or None for no adapters"
    )
  rank = int(match[1])
  return Adapter(rank, float(match[2] or rank))


def find_adapter_errors(text: str | None, width: int, mlp: int) -> list[str]:
  """Lists what is wrong with `model.adapter` in a model of this size."""
  try:
    adapter = parse_adapter(text)
  except ConfigError as error:
    return [str(error)]
  side, name = min((width, "width"), (mlp, "mlp_dim"))
  if adapter is None or adapter.rank <= side:
    return []
  return [
    f"model.adapter={text!r}: its rank is more than model.{name}={side}, the "
    f"rank of the kernels themselves: take a smaller one, as 'lora:8'"
  ]


class Lora(nn.Module):
  """The product x A B, times alpha / r; B starts at zero.

  Attributes:
    adapter: r and alpha.
    features: sizes of the dimensions that are made.
    dtype: dtype of activations.
    flat: computes with matrices, as `Projection`, and for the same reason.
  """

  adapter: Adapter
  features: tuple[int, ...]
  dtype: DTypeLike
  flat: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "B N *_"]) -> Float[Array, "B N *_"]:
    (batch, tokens, *sources), rank = x.shape, self.adapter.rank
    matrix = (math.prod(sources), rank)
    a = self.param("a", lambda key: INIT(key, matrix).reshape(*sources, rank))
    b = self.param("b", nn.initializers.zeros, (rank, *self.features))
    x, a, b = (y.astype(self.dtype) for y in (x, a, b))
    if self.flat:
      x, a = x.reshape(batch, tokens, -1), a.reshape(matrix)
      b = b.reshape(rank, -1)
    y = constrain(jnp.tensordot(x, a, axes=a.ndim - 1), "B N r")
    y = jnp.tensordot(y * self.adapter.scale, b, axes=1)
    return y.reshape(batch, tokens, *self.features)


def adapt(
  layer: nn.Module,
  adapter: Adapter | None,
  x: Float[Array, "B N *_"],
  y: Float[Array, "B N *_"],
) -> Float[Array, "B N *_"]:
  """Adds to a dense layer's output that of its adapter, where there is one.

  Args:
    layer: has a name and a dtype.
    adapter: size of its adapter.
    x: its input.
    y: its output.
  """
  if adapter is None:
    return y
  lora = Lora(
    adapter,
    y.shape[2:],
    layer.dtype,
    isinstance(layer, Projection),
    name=f"{layer.name}_lora",
  )
  return y + lora(x)


def merge(
  params: Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Adds adapters to the kernels that they stand beside.

  Args:
    params: path -> array, those of the adapters among them.
    fields: the model's.

  Returns:
    Parameters and fields of the same model without adapters. Sums are float64,
    and rounded once.
  """
  plain = {name: x for name, x in fields.items() if name != "adapter"}
  adapter = parse_adapter(fields.get("adapter"))
  if adapter is None:
    return dict(params), plain
  merged = {}
  for path, array in params.items():
    pair = [f"{path.removesuffix('/kernel')}_lora/{name}" for name in "ab"]
    if pair[0] in params:
      a, b = (np.asarray(params[name]) for name in pair)
      array = _add(array, a, b, adapter.scale, is_stacked(path))
    if not ADAPTER.search(path):
      merged[path] = array
  return merged, plain


def _add(
  kernel: Any, a: np.ndarray, b: np.ndarray, scale: float, stacked: bool
) -> np.ndarray:
  """The sum of a kernel and its adapter, a layer at a time to save memory."""
  made = np.array(kernel)
  layers = (made, a, b) if stacked else (made[None], a[None], b[None])
  for w, left, right in zip(*layers, strict=True):
    left, right = left.astype(np.float64), right.astype(np.float64)
    w[...] = w + scale * np.tensordot(left, right, axes=1)
  return made
