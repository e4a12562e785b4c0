# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention (Vaswani et al., 2017; ViT paper, appendix A)."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from vit_jax.models.adapter import Adapter, adapt
from vit_jax.models.attention_kernels import KERNELS, triton_attention
from vit_jax.models.position import RelativePositionBias, rotate
from vit_jax.models.projection import Projection, Weights
from vit_jax.sharding import constrain

# The collection into which every layer writes the largest logit of each example
# [B], if `apply` is called with it mutable; otherwise it costs nothing.
LOGITS = "attention_logits"


def compute_logits(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B S K C"],
  bias: Float[Array, "B K N S"] | None = None,
) -> Float[Array, "B K N S"]:
  """Q K^T / sqrt(C) + bias, in float32."""
  scale = query.shape[-1] ** -0.5
  logits = jnp.einsum(
    "BNKC,BSKC->BKNS", query * scale, key, preferred_element_type=jnp.float32
  )
  return logits if bias is None else logits + bias


def compute_weights(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B S K C"],
  bias: Float[Array, "B K N S"] | None = None,
) -> Float[Array, "B K N S"]:
  """softmax(Q K^T / sqrt(C) + bias), in float32."""
  return jax.nn.softmax(compute_logits(query, key, bias), axis=-1)


def dot_product_attention(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B S K C"],
  value: Float[Array, "B S K C"],
  bias: Float[Array, "B K N S"] | None = None,
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C) + bias) V, with logits and softmax in float32.

  Returns:
    The mixed values in the dtype of `value`.
  """
  if value.dtype == jnp.float32:
    weights = compute_weights(query, key, bias)
    return jnp.einsum("BKNS,BSKC->BNKC", weights, value)
  return attend_rounded(query, key, value, bias)


@jax.custom_vjp
def attend_rounded(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B S K C"],
  value: Float[Array, "B S K C"],
  bias: Float[Array, "B K N S"] | None,
) -> Float[Array, "B N K C"]:
  """Attention in half precision, of which no array in float32 is kept.

  The softmax and its derivative are computed in float32, the latter from the
  rounded weights that the product with the values reads.
  """
  return _attend_forward(query, key, value, bias)[0]


def _attend_forward(query, key, value, bias):
  weights = compute_weights(query, key, bias).astype(value.dtype)
  mixed = jnp.einsum("BKNS,BSKC->BNKC", weights, value)
  # Of the bias the derivative needs the dtype only.
  like = None if bias is None else jnp.zeros((), bias.dtype)
  return mixed, (query, key, value, like, weights)


def _attend_backward(saved, gradient):
  query, key, value, like, weights = saved
  dtype, scale = value.dtype, query.shape[-1] ** -0.5
  d_value = jnp.einsum("BKNS,BNKC->BSKC", weights, gradient)
  d_weights = jnp.einsum("BNKC,BSKC->BKNS", gradient, value)
  weights = weights.astype(jnp.float32)
  product = weights * d_weights.astype(jnp.float32)
  d_logits = product - weights * product.sum(axis=-1, keepdims=True)
  d_bias = None if like is None else d_logits.astype(like.dtype)
  d_logits = d_logits.astype(dtype)
  d_query = jnp.einsum("BKNS,BSKC->BNKC", d_logits, key) * scale
  d_key = jnp.einsum("BKNS,BNKC->BSKC", d_logits, query * scale)
  return d_query, d_key, d_value, d_bias


attend_rounded.defvjp(_attend_forward, _attend_backward)


class MultiHeadDotProductAttention(nn.Module):
  """Attention with one projection each for query, key, value and output.

  Three projections straight into [K C] instead of a fused one: splitting and
  reshaping a fused result costs copies on TPU.

  Attributes:
    num_heads: K.
    dtype: dtype of activations.
    qk_norm_eps: epsilon of a LayerNorm over C of queries and keys (Dehghani et
      al., 2023, arXiv 2302.05442, section 2); None for no norm.
    attention: a key of KERNELS, which take no position ids and return no
      weights; "triton", which moreover takes no memory, angles, norms and
      adapters; or "xla".
    adapter: size of the adapters of the four projections.
  """

  num_heads: int
  dtype: DTypeLike = jnp.float32
  qk_norm_eps: float | None = None
  attention: str = "xla"
  adapter: Adapter | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    memory: Float[Array, "B S D"] | None = None,
    *,
    angles: Float[Array, "_ N C2"] | None = None,
    position_ids: Int[Array, "_ N"] | None = None,
    num_positions: int = 0,
    tokens: int | None = None,
    return_weights: bool = False,
  ) -> tuple[Float[Array, "B N D"], Float[Array, "B K N S"] | None]:
    """Attends from x to memory.

    Args:
      x: tokens that queries are projected from.
      memory: tokens that keys and values are projected from; None is x.
      angles: rotation angles of queries and keys (axial RoPE), in radians.
      position_ids: positions in the 1-D order, for the relative embedding.
      num_positions: number of positions, for the relative embedding.
      tokens: number of tokens that are attended to, the first ones; None is
        all. Only kernels of EVEN take fewer.
      return_weights: computes the weights too; no kernel does.

    Returns:
      The output, and the float32 attention weights or None.
    """
    width = x.shape[-1]
    memory = x if memory is None else memory
    heads = (self.num_heads, width // self.num_heads)
    flat = self.attention == "vmem"
    options: dict[str, Any] = dict(
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=nn.initializers.normal(1e-6),
      dtype=self.dtype,
    )
    dense: Callable[..., Any] = functools.partial(
      Projection if flat else nn.DenseGeneral, **options
    )
    if self.attention == "triton" and not self.is_initializing():
      parameters = [
        Weights(heads, **options, name=name)(x)
        for name in ("query", "key", "value")
      ]
      mixed = self._attend_together(x, *zip(*parameters, strict=True))
      return dense(width, axis=(-2, -1), name="out")(mixed), None
    query, key, value = (
      adapt(layer := dense(heads, name=name), self.adapter, z, layer(z))
      for name, z in (("query", x), ("key", memory), ("value", memory))
    )
    if not flat:  # The kernel shards them itself, side by side.
      query, key, value = (constrain(y, "B N K C") for y in (query, key, value))
    if self.qk_norm_eps is not None:
      norm = functools.partial(
        nn.LayerNorm, epsilon=self.qk_norm_eps, dtype=self.dtype
      )
      query, key = norm(name="query_norm")(query), norm(name="key_norm")(key)
    if angles is not None:
      query, key = rotate(query, angles), rotate(key, angles)
    weights = bias = None
    if position_ids is not None:
      relative = RelativePositionBias(num_positions, name="relative")
      bias = relative(query, position_ids)
    if self.is_mutable_collection(LOGITS) and not self.is_initializing():
      logits = compute_logits(query[:, :tokens], key[:, :tokens], bias)
      self.sow(LOGITS, "max", logits.max(axis=(1, 2, 3)))
    if return_weights:
      weights = compute_weights(query, key, bias)
      mixed = jnp.einsum("BKNS,BSKC->BNKC", weights.astype(value.dtype), value)
    elif self.attention in KERNELS and not self.is_initializing():
      padded = {} if tokens is None else {"tokens": tokens}
      mixed = KERNELS[self.attention](query, key, value, **padded)
    else:
      mixed = dot_product_attention(query, key, value, bias)
    out = dense(width, axis=(-2, -1), name="out")
    return adapt(out, self.adapter, mixed, out(mixed)), weights

  def _attend_together(
    self,
    x: Float[Array, "B N D"],
    kernels: Sequence[Float[Array, "D K C"]],
    biases: Sequence[Float[Array, "K C"]],
  ) -> Float[Array, "B N K C"]:
    """Attends by the kernel "triton", from one product for Q, K and V."""
    kernel, bias = jnp.stack(kernels, axis=1), jnp.stack(biases)
    qkv = jnp.einsum("BND,DsKC->BNsKC", x, kernel.astype(self.dtype))
    qkv = constrain(qkv, "B N _ K C")
    if self.is_mutable_collection(LOGITS):
      biased = qkv + bias.astype(qkv.dtype)[None, None]
      query, key, _ = jnp.moveaxis(biased, 2, 0)
      self.sow(LOGITS, "max", compute_logits(query, key).max(axis=(1, 2, 3)))
    return triton_attention(qkv, bias)
