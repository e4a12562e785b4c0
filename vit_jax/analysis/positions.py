# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Similarity of position embeddings (ViT paper, figure 7 centre, D.4)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vit_jax.models.position import ADDED, PositionEmbedding

NORM = 1e-12  # A vector that is zero is similar to none.


def find_positions(
  model: nn.Module, params: Mapping[str, Any], size: tuple[int, int]
) -> Float[np.ndarray, "h w D"] | None:
  """Finds the vectors that a model adds to the patches of an image.

  Args:
    model: any model.
    params: its parameters.
    size: (H, W) of the image, for which the parameters are.

  Returns:
    Those of the first block, where each has its own; None for a model that adds
    none, as with position="rope".
  """
  if getattr(model, "position", None) not in ADDED:
    return None
  layout = model.make_layout(*size)
  tree = params.get("Transformer", {})
  if model.position_at == "every_layer":
    found = tree.get("encoderblock", {}).get("posembed", {})
    found = {name: x[0] for name, x in found.items()}
  else:
    found = tree.get("posembed_input", {})
  module = PositionEmbedding(model.position, layout, model.width)
  found = jax.tree.map(jnp.asarray, found)
  vectors = np.asarray(module.apply({"params": found}))[0, layout.prefix :]
  return vectors.reshape(*layout.grid, -1)


def compute_position_similarity(
  vectors: Float[np.ndarray, "h w D"],
) -> Float[np.ndarray, "h w h w"]:
  """Cosine of each position's vector (first two axes) with every other's.

  p . q / (|p| |q|).
  """
  x = np.float64(vectors)
  x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), NORM)
  return np.einsum("hwD,yxD->hwyx", x, x)
