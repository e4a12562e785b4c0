# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Masked autoencoders (MAE; He et al., 2022, arXiv 2111.06377).

Most patches are hidden from the encoder, which costs the less for it; a light
decoder predicts their pixels, normalised within each patch (section 3).
"""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from vit_jax.config import Count, Share, check_multiple
from vit_jax.models.autoencoder import MaskedAutoencoder, Sizes
from vit_jax.objectives.objective import Objective
from vit_jax.objectives.patches import (
  cut_patches,
  find_model_errors,
  join_patches,
  make_image_keys,
  shuffle_patches,
)

NAME = "mae"
EPSILON = 1e-6  # Of the variance of a patch, as in the authors' code.


def count_visible(patches: int, rate: float) -> int:
  """Number of patches that the encoder sees: rounded down, at least one."""
  # The product of 10 and 1 - 0.9 is a little less than 1.
  return max(1, math.floor(patches * (1 - rate) + 1e-6))


def draw_visible(
  keys: Key[Array, "B"], patches: int, rate: float
) -> Int[Array, "B v"]:
  """Draws the patches of each image that the encoder sees, in raster order."""
  count = count_visible(patches, rate)

  def draw(key):
    return jnp.sort(shuffle_patches(key, patches)[:count])

  return jax.vmap(draw)(keys)


def measure_patches(
  patches: Float[Array, "B m P P c"],
) -> tuple[Float[Array, "B m 1"], Float[Array, "B m 1"]]:
  """Mean and standard deviation of the values of each patch.

  The variance is unbiased and has EPSILON added, as in the authors' code.
  """
  flat = patches.reshape(*patches.shape[:2], -1)
  mean = flat.mean(axis=-1, keepdims=True)
  variance = flat.var(axis=-1, ddof=1, keepdims=True)
  return mean, jnp.sqrt(variance + EPSILON)


@dataclasses.dataclass(frozen=True)
class MAE(Objective):
  """Mean squared error of hidden patches that a decoder predicts.

  Attributes:
    model: the encoder, a ViT without a head.
    rate: share of the patches that are hidden from the encoder.
    normalise: whether the values of each patch are predicted less their mean
      and by their standard deviation.
    decoder_width: width of the decoder; its MLPs are four times as wide.
    decoder_depth: number of its blocks.
    decoder_heads: number of heads of each.
  """

  model: nn.Module
  _: dataclasses.KW_ONLY
  rate: Share = 0.75
  normalise: bool = True
  decoder_width: Count = 512
  decoder_depth: Count = 8
  decoder_heads: Count = 16

  uses_labels = False

  @property
  def module(self) -> MaskedAutoencoder:
    """The encoder with its decoder."""
    encoder: Any = self.model
    return MaskedAutoencoder(encoder=encoder, decoder=self._sizes)

  @property
  def _sizes(self) -> Sizes:
    return Sizes(self.decoder_width, self.decoder_depth, self.decoder_heads)

  def find_errors(self, height: int, width: int, channels: int) -> list[str]:
    """Lists what does not go together with the model or images of a size."""
    del channels
    own, heads = self.decoder_width, self.decoder_heads
    return (
      find_model_errors(NAME, self.model, height, width)
      + check_multiple(
        "objective.decoder_width", own, heads, "objective.decoder_heads"
      )
      + check_multiple(
        "objective.decoder_width", own, 4, "for the decoder's positions"
      )
    )

  def forward(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> Float[Array, "B m F"]:
    """The predictions of training."""
    return self._predict(params, image, key)[0]

  def _predict(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> tuple[Float[Array, "B m F"], Int[Array, "B v"]]:
    """Predictions, and the visible patches; `key` is that of the loss."""
    visible_key, dropout_key = jax.random.split(key)
    visible = self._draw(jax.random.split(visible_key, image.shape[0]), image)
    rngs = {"dropout": dropout_key}
    found: Any = self.module.apply(
      {"params": params}, image, visible, train=True, rngs=rngs
    )
    return found, visible

  def _draw(
    self, keys: Key[Array, "B"], image: Float[Array, "B H W c"]
  ) -> Int[Array, "B v"]:
    """Draws the visible patches of images."""
    model: Any = self.model
    grid = model.make_layout(*image.shape[1:3]).grid
    return draw_visible(keys, math.prod(grid), self.rate)

  def compute_metrics(
    self,
    predicted: Float[Array, "B m F"],
    visible: Int[Array, "B v"],
    batch: dict[str, jax.Array],
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Loss as (sum, count) of images, each the mean of its hidden patches.

    Args:
      predicted: of all patches.
      visible: those that do not count.
      batch: image and mask.
    """
    model: Any = self.model
    patches = cut_patches(batch["image"], model.patch_size)
    target = patches.reshape(predicted.shape)
    if self.normalise:
      mean, deviation = measure_patches(patches)
      target = (target - mean) / deviation
    losses = jnp.square(predicted - target).mean(axis=-1)
    hidden = find_hidden(visible, losses.shape[1])
    losses = jnp.where(hidden, losses, 0).sum(axis=1) / hidden.sum(axis=1)
    mask = batch["mask"]
    total = jnp.where(mask, losses, 0).sum()
    return {"loss": (total, mask.sum(dtype=jnp.float32))}

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
    predicted, visible = self._predict(params, batch["image"], key)
    metrics = self.compute_metrics(predicted, visible, batch)
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch; what is hidden is a function of each image."""
    image = batch["image"]
    visible = self._draw(make_image_keys(image), image)
    predicted: Any = self.module.apply({"params": params}, image, visible)
    return self.compute_metrics(predicted, visible, batch)

  def reconstruct(
    self, params: Any, image: Float[Array, "B H W c"]
  ) -> tuple[Float[Array, "B H W c"], Float[Array, "B H W c"]]:
    """Images as the encoder sees them, and with what the decoder fills in.

    Predictions of normalised patches get mean and deviation of the true ones.
    """
    model: Any = self.model
    visible = self._draw(make_image_keys(image), image)
    predicted: Any = self.module.apply({"params": params}, image, visible)
    patches = cut_patches(image, model.patch_size)
    if self.normalise:
      mean, deviation = measure_patches(patches)
      predicted = predicted * deviation + mean
    hidden = find_hidden(visible, patches.shape[1])[..., None, None, None]
    filled = jnp.where(hidden, predicted.reshape(patches.shape), patches)
    grid = model.make_layout(*image.shape[1:3]).grid
    seen = jnp.where(hidden, 0.0, patches)
    return join_patches(seen, grid), join_patches(jnp.clip(filled, -1, 1), grid)


def find_hidden(visible: Int[Array, "B v"], patches: int) -> Bool[Array, "B m"]:
  """Which patches of each image are hidden."""
  same = visible[:, :, None] == jnp.arange(patches)[None, None]
  return ~same.any(axis=1)
