# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention rollout: how much each token has of each patch, after all layers.

Abnar and Zuidema, 2020, "Quantifying Attention Flow in Transformers", arXiv
2005.00928, section 3; as the ViT paper uses it (appendix D.8, figure 6).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vit_jax.models.position import Layout


def compute_rollout(
  attention: Float[Array | np.ndarray, "L B K N N"],
) -> Float[Array, "B N N"]:
  """Multiplies attention through the layers.

  With the mean A_l over the heads of layer l, its residual connection makes
  R_l = (A_l + I) / 2, whose rows sum to one; the rollout is R_L ... R_2 R_1.

  Returns:
    The share of each input token (last axis) in each output token.
  """
  identity = jnp.eye(attention.shape[-1], dtype=jnp.float32)[None]

  def multiply(product, layer):
    mixed = jnp.mean(layer, axis=1) + identity
    mixed = mixed / mixed.sum(axis=-1, keepdims=True)
    # Matrix units would round to fewer bits.
    return jnp.einsum("BNS,BST->BNT", mixed, product, precision="highest"), None

  batch, tokens = attention.shape[1], attention.shape[-1]
  first = jnp.broadcast_to(identity, (batch, tokens, tokens))
  return jax.lax.scan(multiply, first, jnp.asarray(attention))[0]


def read_rollout(
  rollout: Float[Array | np.ndarray, "B N N"],
  layout: Layout,
  pooling: Float[Array | np.ndarray, "B K n"] | None = None,
) -> Float[Array, "B h w"]:
  """The share of each patch in what the head of the model reads.

  That is the row of the class token; without one the mean of the patches' rows
  or, with attention pooling, their mean by its weights.

  Args:
    rollout: from `compute_rollout`.
    layout: the tokens.
    pooling: weights of the patches, with pool="map".

  Returns:
    Shares; what they lack to one are those of class token and registers.
  """
  rollout = jnp.asarray(rollout)
  if layout.class_tokens:
    row = rollout[:, 0]
  elif pooling is None:
    row = rollout[:, layout.prefix :].mean(axis=1)
  else:
    weights = jnp.mean(jnp.asarray(pooling), axis=1)
    row = jnp.einsum(
      *("BN,BNS->BS", weights, rollout[:, layout.prefix :]), precision="highest"
    )
  return row[:, layout.prefix :].reshape(-1, *layout.grid)
