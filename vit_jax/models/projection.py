# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Dense layers to and from heads for the kernels "vmem" and "triton"."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

# Rows of a TPU's register: a product with one row is made a sum again.
ROWS = 8


class Declared(nn.Module):
  """The parameters of an `nn.DenseGeneral`.

  Attributes:
    features: sizes of the dimensions that are made.
    dtype: dtype of activations.
    kernel_init, bias_init: initial values, as matrix and vector.
    axis: the last dimensions, which are summed over.
  """

  features: int | tuple[int, ...]
  dtype: DTypeLike
  kernel_init: nn.initializers.Initializer
  bias_init: nn.initializers.Initializer
  axis: tuple[int, ...] = (-1,)

  def declare(
    self, inputs: Float[Array, "B N *_"]
  ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Makes the parameters: the kernel and the bias."""
    sources = tuple(inputs.shape[i] for i in self.axis)
    targets = (
      (self.features,) if isinstance(self.features, int) else (self.features)
    )
    matrix = (math.prod(sources), math.prod(targets))
    kernel = self.param(
      "kernel",
      lambda key: self.kernel_init(key, matrix).reshape(*sources, *targets),
    )
    bias = self.param(
      "bias", lambda key: self.bias_init(key, matrix[1:]).reshape(targets)
    )
    return kernel, bias


class Projection(Declared):
  """`nn.DenseGeneral` as one product of matrices: same function, same paths.

  Its result has [K C] as one dimension: a TPU lays the heads of a token side by
  side, without gaps and as the kernel reads them. Of two dimensions it puts the
  tokens innermost.
  """

  @nn.compact
  def __call__(self, inputs: Float[Array, "B N *_"]) -> Float[Array, "B N *_"]:
    kernel, bias = self.declare(inputs)
    x = inputs.reshape(*inputs.shape[:2], -1).astype(self.dtype)
    x = x @ kernel.astype(self.dtype).reshape(x.shape[-1], -1)
    x = add_bias(x, bias.reshape(-1))
    return x.reshape(*inputs.shape[:2], *bias.shape)


class Weights(Declared):
  """The kernel and the bias, which are not applied."""

  @nn.compact
  def __call__(
    self, inputs: Float[Array, "B N D"]
  ) -> tuple[Float[Array, "D K C"], Float[Array, "K C"]]:
    return self.declare(inputs)


@jax.custom_vjp
def add_bias(
  x: Float[Array, "B N M"], bias: Float[Array, "M"]
) -> Float[Array, "B N M"]:
  """Adds a bias, the gradient of which is summed in float32.

  In half precision by a product with ones: XLA's sum over tokens takes 256,000
  cycles for [64 197 768] on v5e (estimate of the compiler) where it can not be
  fused into what makes the gradient, as behind a kernel.
  """
  return x + bias.astype(x.dtype)[None, None]


def _add_bias_forward(x, bias):
  return add_bias(x, bias), None


def _add_bias_backward(_, gradient):
  if gradient.dtype == jnp.float32:  # A product would round it to bfloat16.
    return gradient, gradient.sum(axis=(0, 1))
  ones = jnp.ones((ROWS, *gradient.shape[:2]), gradient.dtype)
  sums = jnp.einsum(
    "rBN,BNM->rM", ones, gradient, preferred_element_type=jnp.float32
  )
  return gradient, sums[0]


add_bias.defvjp(_add_bias_forward, _add_bias_backward)
