# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention in float32 for CPUs, with the heads before the tokens.

There products are faster where the numbers of a head lie together, and every
pass over [B K N S] counts: so what the weights mix, [B K N C], is divided by
their sums, and not the weights themselves.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def attend(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B S K C"],
  value: Float[Array, "B S K C"],
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V."""
  scale = query.shape[-1] ** -0.5
  query, key, value = (x.swapaxes(1, 2) for x in (query * scale, key, value))
  logits = jnp.einsum("BKNC,BKSC->BKNS", query, key)
  # It changes no result, and so it has no derivative.
  largest = lax.stop_gradient(logits.max(axis=-1, keepdims=True))
  weights = jnp.exp(logits - largest)
  mixed = jnp.einsum("BKNS,BKSC->BKNC", weights, value)
  return (mixed / weights.sum(axis=-1, keepdims=True)).swapaxes(1, 2)
