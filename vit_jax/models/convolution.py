# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Convolutions with sharded kernels."""

from typing import Any

import jax
from jaxtyping import Array, Float

from vit_jax.sharding import constrain


def convolve(
  x: Float[Array, "B h w c"], kernel: Float[Array, "P Q c D"], *args: Any, **kw
) -> Float[Array, "B H W D"]:
  """`jax.lax.conv_general_dilated` with the kernel gathered first.

  Otherwise XLA first moves a sharded kernel to the devices of the tensor axis
  and gathers it there, and moves its gradient back.
  """
  kernel = constrain(kernel, "_ _ _ _")
  return jax.lax.conv_general_dilated(x, kernel, *args, **kw)
