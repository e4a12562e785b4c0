# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head self-attention (Vaswani et al., 2017; ViT paper, appendix A)."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.sharding import constrain


def dot_product_attention(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B S K C"],
  value: Float[Array, "B S K C"],
) -> tuple[Float[Array, "B N K C"], Float[Array, "B K N S"]]:
  """softmax(Q K^T / sqrt(C)) V, with logits and softmax in float32.

  Returns:
    The mixed values in the dtype of `value`, and the attention weights in
    float32; the compiler drops the weights when nobody uses them.
  """
  scale = query.shape[-1] ** -0.5
  logits = jnp.einsum(
    "BNKC,BSKC->BKNS", query * scale, key, preferred_element_type=jnp.float32
  )
  weights = jax.nn.softmax(logits, axis=-1)
  mixed = jnp.einsum("BKNS,BSKC->BNKC", weights.astype(value.dtype), value)
  return mixed, weights


class MultiHeadDotProductAttention(nn.Module):
  """Self-attention with one projection each for query, key, value and output.

  Three projections straight into [K C] instead of a fused one: splitting and
  reshaping a fused result costs copies on TPU.
  """

  num_heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    width = x.shape[-1]
    dense = functools.partial(
      nn.DenseGeneral,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=nn.initializers.normal(1e-6),
      dtype=self.dtype,
    )
    heads = (self.num_heads, width // self.num_heads)
    query, key, value = (
      constrain(dense(heads, name=name)(x), "B N K C")
      for name in ("query", "key", "value")
    )
    mixed, _ = dot_product_attention(query, key, value)
    return dense(width, axis=(-2, -1), name="out")(mixed)
