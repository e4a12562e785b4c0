# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations (FLOPs), counted in a function's jaxpr.

Only matrix products and convolutions count, as in the literature, with two
FLOPs per multiply-add. A scanned body counts as often as it runs, unlike in
XLA's own count.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def count_flops(function: Callable, *arguments: Any) -> int:
  """FLOPs of `function(*arguments)`; arguments may be shapes."""
  return count_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def count_jaxpr(jaxpr: Any) -> int:
  """FLOPs of a function that is already traced."""
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def count_training_flops(
  forward: Callable[[Any, Any], Any],
  params: Any,
  image_shape: tuple[int, int, int],
  freeze: Callable[[Any], Any] | None = None,
) -> float:
  """FLOPs to train on one image: three forward passes.

  The gradients with respect to activations and to parameters cost one forward
  pass each, less with frozen parameters. Recomputation to save memory does not
  count.

  Args:
    forward: (params, images) -> arrays, without kernels, which hide their
      products, and without recomputation.
    params: parameters, or their shapes.
    image_shape: (H, W, c).
    freeze: stops the gradients of parameters that are not trained; None
      where all are.
  """
  image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  flops = 3 * count_flops(forward, params, image)
  if freeze is None:  # To trace gradients takes most of the time.
    return float(flops)

  def train_all(params, image):
    return sum(x.sum() for x in jax.tree.leaves(forward(params, image)))

  def train(params, image):
    return train_all(freeze(params), image)

  flops *= count_flops(jax.grad(train), params, image)
  return flops / count_flops(jax.grad(train_all), params, image)


def _count_equation(equation: Any) -> int:
  name = equation.primitive.name
  if name == "dot_general":
    out = equation.outvars[0].aval
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(out.shape) * math.prod(left[i] for i in contracted)
  if name == "conv_general_dilated":
    out = equation.outvars[0].aval
    kernel = equation.invars[1].aval.shape
    features = equation.params["dimension_numbers"].rhs_spec[0]
    a_feature = math.prod(kernel) // kernel[features]
    return 2 * math.prod(out.shape) * a_feature
  times = 1
  if name == "scan":
    times = equation.params["length"]
  elif name == "pallas_call":
    times = math.prod(equation.params["grid_mapping"].grid)
  elif name == "shard_map":  # Its shapes are those of one device.
    times = equation.params["mesh"].size
  inner = [p for p in equation.params.values() if _is_jaxpr(p)]
  return times * sum(count_jaxpr(getattr(p, "jaxpr", p)) for p in inner)


def _is_jaxpr(value: Any) -> bool:
  return hasattr(getattr(value, "jaxpr", value), "eqns")
