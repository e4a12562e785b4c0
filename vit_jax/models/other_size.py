# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model on images of another size, by the parameters that it is trained with.

As DINO's small views: learned position embeddings are resized in the program,
so that they get gradients of all sizes.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vit_jax.models.mixer import MlpMixer
from vit_jax.sharding import get_path, is_own

# Bicubic, as DINO's authors do, but with Keys' kernel of a = -0.5.
METHOD = "cubic"


def find_size_errors(model: Any, height: int, width: int) -> list[str]:
  """Lists why a model cannot be applied to images of another size, too.

  Args:
    model: trained on images of some size.
    height: height of the others.
    width: width of the others.
  """
  if isinstance(model, MlpMixer):
    return [
      "the weights of an MLP-Mixer are for images of one size, data.size: "
      "take no others, or another model.variant"
    ]
  if getattr(model, "position", None) == "relative":
    return [
      "model.position='relative' has embeddings for images of one size, "
      "data.size: take no others, or model.position='learned_1d'"
    ]
  return model.find_errors(height, width)


def resize_positions(
  params: Any, model: nn.Module, old: tuple[int, int], new: tuple[int, int]
) -> Any:
  """Resizes the learned position embeddings among parameters.

  Args:
    params: parameters of the model, perhaps with an objective's own.
    model: a model for which `find_size_errors` finds none.
    old: (H, W) of the images that they are for.
    new: (H, W) of the others.
  """
  if old == new or not hasattr(model, "make_layout"):
    return params
  (h, w), (height, width) = (model.make_layout(*x).grid for x in (old, new))

  def resize(x, *shape):
    return jax.image.resize(x, shape, METHOD, antialias=False)

  def fit(keys, x):
    path = get_path(keys)
    if is_own(path):
      return x
    if path.endswith("/pos_embedding"):
      first, patches = jnp.split(x, [x.shape[-2] - h * w], axis=-2)
      *leading, _, features = x.shape
      grid = patches.reshape(-1, h, w, features)
      grid = resize(grid, len(grid), height, width, features)
      patches = grid.reshape(*leading, height * width, features)
      return jnp.concatenate([first, patches], axis=-2)
    for name, length in (("x_embedding", width), ("y_embedding", height)):
      if path.endswith(f"/{name}"):
        return resize(x, *x.shape[:-2], length, x.shape[-1])
    return x

  return jax.tree_util.tree_map_with_path(fit, params)
