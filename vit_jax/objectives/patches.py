# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What objectives that hide patches share: pixels of patches, random keys."""

import abc
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vit_jax.models.vit import ViT
from vit_jax.objectives.objective import Objective


def cut_patches(
  image: Float[Array, "B H W c"], size: int
) -> Float[Array, "B N P P c"]:
  """Cuts images into patches of `size` pixels, in raster order."""
  batch, height, width, channels = image.shape
  rows, columns = height // size, width // size
  x = image.reshape(batch, rows, size, columns, size, channels)
  return x.swapaxes(2, 3).reshape(batch, rows * columns, size, size, channels)


def join_patches(
  patches: Float[Array, "B N P P c"], grid: tuple[int, int]
) -> Float[Array, "B H W c"]:
  """Puts patches together to images; the inverse of `cut_patches`."""
  batch, _, size, _, channels = patches.shape
  rows, columns = grid
  x = patches.reshape(batch, rows, columns, size, size, channels)
  return x.swapaxes(2, 3).reshape(batch, rows * size, columns * size, channels)


def make_image_keys(image: Float[Array, "B H W c"]) -> Key[Array, "B"]:
  """Makes a random key for each image that is a function of its pixels.

  So an evaluation hides the same of an image whatever the batch, the mesh and
  the step. Of values in [-1, 1] the nearest of 256 levels counts, not their
  rounding, and a sum of integers does not depend on its order.
  """
  levels = jnp.clip(jnp.round((image + 1) * 127.5), 0, 255).astype(jnp.uint32)
  levels = levels.reshape(levels.shape[0], -1)
  places = jnp.arange(1, levels.shape[1] + 1, dtype=jnp.uint32)
  sums = (levels * places[None]).sum(axis=1, dtype=jnp.uint32)
  return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), sums)


def shuffle_patches(key: Key[Array, ""], patches: int) -> Int[Array, "N"]:
  """A random order of the patches of one image."""
  return jnp.argsort(jax.random.uniform(key, (patches,)))


def find_model_errors(
  name: str, model: nn.Module, height: int, width: int
) -> list[str]:
  """Lists why the patches of a model cannot be hidden.

  Args:
    name: of the objective.
    model: the encoder.
    height: H.
    width: W.
  """
  what = f"objective.name={name!r}"
  if not isinstance(model, ViT):
    return [
      f"{what} hides patches, and a {type(model).__name__} has none: take a ViT"
    ]
  errors = []
  if model.stem is not None:
    errors.append(
      f"{what} hides patches of pixels, and those of a hybrid see their "
      f"neighbours: take a ViT without a stem"
    )
  if model.patch_dropout:
    errors.append(
      f"model.patch_dropout={model.patch_dropout:g} drops patches that {what} "
      f"predicts: leave it out"
    )
  if math.prod(model.make_layout(height, width).grid) < 2:
    errors.append(
      f"{what} needs two patches or more, and data.size has one: take smaller "
      f"patches or larger images"
    )
  return errors


class PatchObjective(Objective):
  """An objective that hides patches of images, and predicts them."""

  uses_labels = False
  pools = False

  @abc.abstractmethod
  def predict(
    self,
    params: Any,
    image: Float[Array, "B H W c"],
    keys: Key[Array, "B"],
    **options: Any,
  ) -> tuple[Array, Any]:
    """Predicts hidden patches.

    Args:
      params: parameters of `module`.
      image: images of values in [-1, 1].
      keys: random keys, from which is drawn what is hidden of each.
      **options: as of `module.apply`.

    Returns:
      The predictions, and what was drawn.
    """

  @abc.abstractmethod
  def compute_metrics(
    self, predicted: Array, drawn: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics as (sum, count) of images, with "loss" among them.

    Args:
      predicted: from `predict`.
      drawn: likewise.
      batch: image and mask.
    """

  def _predict(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> tuple[Array, Any]:
    """Predicts in training; `key` is that of the loss."""
    draw_key, dropout_key = jax.random.split(key)
    keys = jax.random.split(draw_key, image.shape[0])
    rngs = {"dropout": dropout_key}
    return self.predict(params, image, keys, train=True, rngs=rngs)

  def forward(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> Array:
    """The predictions of training."""
    return self._predict(params, image, key)[0]

  def loss(
    self,
    params: Any,
    aux: Any,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *frozen: Any,
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of a batch, with its metrics, as of `compute_metrics`."""
    del frozen
    predicted, drawn = self._predict(params, batch["image"], key)
    metrics = self.compute_metrics(predicted, drawn, batch)
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch; what is hidden is a function of each image."""
    keys = make_image_keys(batch["image"])
    predicted, drawn = self.predict(params, batch["image"], keys)
    return self.compute_metrics(predicted, drawn, batch)
