# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Heads: attention pooling of tokens, and the linear layer to logits."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.models.adapter import Adapter
from vit_jax.models.attention import MultiHeadDotProductAttention
from vit_jax.models.encoder import MlpBlock


class MAPHead(nn.Module):
  """Multi-head attention pooling ("Scaling Vision Transformers", section 2.3).

  A learned probe attends to all tokens; a block's MLP follows (Zhai et al.,
  2022, arXiv 2106.04560; Lee et al., 2019).

  Attributes:
    mlp_dim: M.
    num_heads: K.
    gelu: "tanh" or "exact".
    layer_norm_eps: epsilon of the LayerNorm.
    dtype: dtype of activations.
    adapter: size of the adapters of attention and MLP.
  """

  mlp_dim: int
  num_heads: int
  gelu: str
  layer_norm_eps: float
  dtype: DTypeLike
  adapter: Adapter | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], *, return_weights: bool = False
  ) -> tuple[Float[Array, "B D"], Float[Array, "B K N"] | None]:
    """Pools tokens; returns also the probe's attention weights, or None."""
    batch, _, width = x.shape
    probe = self.param("probe", nn.initializers.xavier_uniform(), (1, 1, width))
    probe = jnp.broadcast_to(probe.astype(self.dtype), (batch, 1, width))
    x, weights = MultiHeadDotProductAttention(
      self.num_heads,
      self.dtype,
      adapter=self.adapter,
      name="MultiHeadDotProductAttention_0",
    )(probe, x, return_weights=return_weights)
    y = nn.LayerNorm(
      epsilon=self.layer_norm_eps, dtype=self.dtype, name="LayerNorm_0"
    )(x)
    mlp = MlpBlock(
      self.mlp_dim,
      self.gelu,
      0.0,
      self.dtype,
      adapter=self.adapter,
      name="MlpBlock_0",
    )
    weights = None if weights is None else weights[:, :, 0]
    return (x + mlp(y, False))[:, 0], weights


def make_head(num_classes: int, bias: float) -> Callable:
  """Makes the float32 linear layer [B R] -> [B Y] at the end of every model.

  Its kernel starts at zero (ViT paper, section 3.2), so the first logits are
  the bias.

  Args:
    num_classes: Y; 0 makes a function that returns the representation.
    bias: initial value of every bias.
  """
  if not num_classes:
    return lambda x: x.astype(jnp.float32)
  return nn.Dense(
    num_classes,
    kernel_init=nn.initializers.zeros,
    bias_init=nn.initializers.constant(bias),
    dtype=jnp.float32,
  )
