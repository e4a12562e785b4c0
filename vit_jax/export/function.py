# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The function that is exported: parameters and images -> logits."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, Shaped

from vit_jax.convert.weights import Weights
from vit_jax.data.preprocess import Preprocess

INPUT = "image"  # Name of the input; an array [B H W c].


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Function:
  """A model as a function of its parameters and a batch of images.

  Attributes:
    module: the model, with XLA's own attention, which every platform has.
    params: path -> array, in `dtype`.
    preprocess: makes the model's input.
    with_preprocess: whether it takes uint8 images of the model's size, else
      float32 as `preprocess` makes them.
    dtype: "float32" or "bfloat16", of the parameters.
  """

  module: nn.Module
  params: Mapping[str, np.ndarray]
  preprocess: Preprocess
  with_preprocess: bool
  dtype: str

  @property
  def shape(self) -> tuple[int, int, int]:
    """(H, W, c) of an image."""
    return *self.preprocess.size, self.preprocess.channels

  @property
  def input_dtype(self) -> np.dtype:
    """Dtype of the images."""
    return np.dtype(np.uint8 if self.with_preprocess else np.float32)

  @property
  def output(self) -> str:
    """Name of the output, a float32 array [B Y], or [B R] without a head."""
    has_head = getattr(self.module, "num_classes", 0)
    return "logits" if has_head else "representation"

  def apply(
    self, params: Mapping[str, Any], image: Shaped[Array, "B H W c"]
  ) -> Float[Array, "B _"]:
    """Computes logits, or the representation of a model without a head."""
    x = image
    if self.with_preprocess:
      mean, std = (
        np.asarray(x, np.float32)[None, None, None]
        for x in (self.preprocess.mean, self.preprocess.std)
      )
      x = (x.astype(jnp.float32) / 255 - mean) / std
    # The model rounds again what it computes in bfloat16.
    wide = {path: leaf.astype(jnp.float32) for path, leaf in params.items()}
    tree = unflatten_dict(wide, sep="/")
    found: Any = self.module.apply({"params": tree}, x)
    return found.astype(jnp.float32)

  def describe(self) -> dict[str, Any]:
    """What a program takes and returns, for export.json."""
    sizes = dict(zip(("height", "width", "channels"), self.shape, strict=True))
    return {
      "input": {"name": INPUT, "dtype": self.input_dtype.name, **sizes},
      "output": {"name": self.output, "dtype": "float32"},
    }

  def make_input(self, pixels: np.ndarray) -> np.ndarray:
    """The input for images uint8 [B H W c] of the model's size."""
    return pixels if self.with_preprocess else self.preprocess.normalize(pixels)


def make_function(
  weights: Weights,
  *,
  with_preprocess: bool = False,
  dtype: str = "float32",
  computes: str | None = None,
) -> Function:
  """Makes the function of weights.

  Args:
    weights: a model and its parameters.
    with_preprocess: see `Function`.
    dtype: of the parameters.
    computes: what the model computes in; None is `dtype`.
  """
  module = set_dtype(weights, computes or dtype).model
  # Kernels for one kind of device have no place in a file for all.
  values: dict[str, Any] = {"attention": "xla", "unroll": 1}
  values = {name: x for name, x in values.items() if hasattr(module, name)}
  rounded = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
  return Function(
    module=module.clone(**values),
    params={
      path: np.asarray(array).astype(rounded, copy=False)
      for path, array in sorted(weights.params.items())
    },
    preprocess=weights.preprocess,
    with_preprocess=with_preprocess,
    dtype=dtype,
  )


def set_dtype(weights: Weights, dtype: str) -> Weights:
  """The same weights in a model that computes in a dtype."""
  if "dtype" not in weights.all_fields:
    return weights
  return dataclasses.replace(weights, fields=weights.fields | {"dtype": dtype})


def trace_input(function: Function) -> jax.ShapeDtypeStruct:
  """The abstract input, for batches of any size."""
  (batch,) = jax.export.symbolic_shape("batch")
  return jax.ShapeDtypeStruct((batch, *function.shape), function.input_dtype)
