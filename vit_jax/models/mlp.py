# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The MLP of a block (ViT paper, appendix A, eq. 3)."""

import functools

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.sharding import constrain

GELU = {
  "tanh": functools.partial(nn.gelu, approximate=True),
  "exact": functools.partial(nn.gelu, approximate=False),
}


class MlpBlock(nn.Module):
  """Two dense layers with a GELU in between, or SwiGLU.

  Attributes:
    mlp_dim: M.
    gelu: "tanh" or "exact".
    swiglu: silu(x G) * (x V) in place of GELU(x V) (Shazeer, 2020, arXiv
      2002.05202); the third matrix, G, is named `gate`.
    dropout: rate after each of the two layers.
    dtype: of activations.
  """

  mlp_dim: int
  gelu: str
  dropout: float
  dtype: DTypeLike
  swiglu: bool = False

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], train: bool
  ) -> Float[Array, "B N D"]:
    dense = functools.partial(
      nn.Dense,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=nn.initializers.normal(1e-6),
      dtype=self.dtype,
    )
    drop = nn.Dropout(self.dropout, deterministic=not train)
    width = x.shape[-1]
    y = constrain(dense(self.mlp_dim, name="Dense_0")(x), "B N M")
    if self.swiglu:
      gate = constrain(dense(self.mlp_dim, name="gate")(x), "B N M")
      y = nn.silu(gate) * y
    else:
      y = GELU[self.gelu](y)
    return drop(dense(width, name="Dense_1")(drop(y)))
