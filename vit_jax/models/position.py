# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Position embeddings (ViT paper, section 3.1 and appendix D.4)."""

import flax.linen as nn
from jaxtyping import Array, Float


class LearnedPositionEmbedding(nn.Module):
  """Adds one learned vector a token, in raster order, class token first."""

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    embedding = self.param(
      "pos_embedding", nn.initializers.normal(0.02), (1, *x.shape[1:])
    )
    return x + embedding.astype(x.dtype)
