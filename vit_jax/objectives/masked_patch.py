# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Masked patch prediction, the self-supervision of the ViT paper (B.1.2).

Patches are corrupted after their embedding and before the positions are added.
The paper gives the rates and the targets. Not from the paper, whose code was
never released: an image has a fixed number of corrupted patches, so that images
count alike; and a patch is replaced by one that is not corrupted, so that no
patch that is to be predicted is seen anywhere but where it is kept.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from vit_jax.config import Share
from vit_jax.models.position import take_tokens
from vit_jax.models.vit import ViT
from vit_jax.objectives.objective import Objective
from vit_jax.objectives.patches import (
  cut_patches,
  find_model_errors,
  make_image_keys,
  shuffle_patches,
)
from vit_jax.sharding import constrain

NAME = "masked_patch"
# What becomes of a corrupted patch: [mask], another patch, or nothing.
MASKED, REPLACED, KEPT = 0, 1, 2
SHARES = (0.8, 0.1, 0.1)
BITS = 3  # Of a colour channel.
SIDE = 4  # Of a patch that is sized down, in pixels.


class Corruption(NamedTuple):
  """How patches are corrupted, for one image or, with a leading B, for several.

  Attributes:
    chosen: the n corrupted patches, in raster order.
    kind: MASKED, REPLACED or KEPT for each patch; KEPT for all others, too.
    source: the patch whose embedding replaces each, one that is not corrupted.
  """

  chosen: Int[Array, "*B n"]
  kind: Int[Array, "*B N"]
  source: Int[Array, "*B N"]


def count_corrupted(patches: int, rate: float) -> int:
  """Number of corrupted patches of an image: at least one, and not all."""
  return min(max(1, round(rate * patches)), patches - 1)


def draw_corruption(
  key: Key[Array, ""], patches: int, rate: float
) -> Corruption:
  """Draws how the patches of an image are corrupted.

  Their number is fixed; what becomes of each is drawn independently.
  """
  order_key, kind_key, source_key = jax.random.split(key, 3)
  count = count_corrupted(patches, rate)
  order = shuffle_patches(order_key, patches)
  corrupted = jnp.zeros(patches, bool).at[order[:count]].set(True)
  kind = jax.random.choice(
    kind_key, len(SHARES), (patches,), p=jnp.asarray(SHARES)
  )
  whole = order[count:]
  place = jax.random.randint(source_key, (patches,), 0, patches - count)
  return Corruption(
    jnp.sort(order[:count]), jnp.where(corrupted, kind, KEPT), whole[place]
  )


class PatchHead(nn.Module):
  """The learned [mask], and the linear layer that predicts corrupted patches.

  Attributes:
    width: D.
  """

  width: int

  def setup(self):
    normal = nn.initializers.normal(0.02)
    self.mask = self.param("mask", normal, (1, 1, self.width))

  def corrupt(
    self, x: Float[Array, "B N D"], corruption: Corruption
  ) -> Float[Array, "B N D"]:
    """Corrupts embedded patches."""
    kind = corruption.kind[..., None]
    other = take_tokens(x, corruption.source)
    x = jnp.where(kind == REPLACED, other, x)
    return jnp.where(kind == MASKED, self.mask.astype(x.dtype), x)

  @nn.compact
  def __call__(
    self, x: Float[Array, "B n D"], outputs: int
  ) -> Float[Array, "B n F"]:
    """Predicts `outputs` numbers of each encoded patch, in float32."""
    head = nn.Dense(outputs, dtype=jnp.float32, name="head")
    return head(x.astype(jnp.float32))


class MaskedPatchModel(nn.Module, kw_only=True):
  """An encoder that predicts its corrupted patches.

  Its parameters keep their paths; those of `masked_patch` lie beside them.

  Attributes:
    encoder: a ViT.
    rate: share of the patches that is corrupted.
    target: what is predicted, see `MaskedPatch`.
  """

  encoder: ViT
  rate: float
  target: str

  def setup(self):
    nn.share_scope(self, self.encoder)
    self.masked_patch = PatchHead(self.encoder.width)

  def __call__(
    self,
    image: Float[Array, "B H W c"],
    keys: Key[Array, "B"] | None = None,
    *,
    train: bool = False,
  ) -> tuple[Float[Array, "B n F"], Corruption]:
    """Predicts the corrupted patches of images.

    Args:
      image: images of values in [-1, 1].
      keys: random keys of the corruption; None makes them of the pixels.
      train: turns dropout on.
    """
    encoder, channels = self.encoder, image.shape[-1]
    layout = encoder.make_layout(*image.shape[1:3])
    patches = math.prod(layout.grid)
    keys = make_image_keys(image) if keys is None else keys
    corruption = jax.vmap(lambda key: draw_corruption(key, patches, self.rate))(
      keys
    )
    first, x = jnp.split(encoder.embed(image), [layout.prefix], axis=1)
    x = self.masked_patch.corrupt(x, corruption)
    x = constrain(jnp.concatenate([first, x], axis=1), "B N D")
    x, _ = encoder.Transformer(x, layout, train, False)
    if self.is_initializing():  # What the head of a later model reads.
      encoder.represent(x, False)
    x = take_tokens(x[:, layout.prefix :], corruption.chosen)
    outputs = count_outputs(self.target, encoder.patch_size, channels)
    return self.masked_patch(constrain(x, "B N D"), outputs), corruption


def count_outputs(target: str, size: int, channels: int) -> int:
  """Numbers that are predicted of a patch of `size` pixels."""
  colours = 2 ** (BITS * channels)
  counts = {"mean_colour": colours, "downsized": SIDE**2 * colours}
  return counts.get(target, size**2 * channels)


def compute_colours(patches: Float[Array, "B n P P c"]) -> Int[Array, "B n"]:
  """The class of the mean colour of patches: BITS bits of each channel.

  Args:
    patches: values in [-1, 1].

  Returns:
    Of channels r, g, b the number with the digits r g b in base 8.
  """
  levels = 2**BITS
  mean = (patches.mean(axis=(2, 3)) + 1) / 2
  digits = jnp.clip(jnp.floor(mean * levels), 0, levels - 1).astype(jnp.int32)
  powers = levels ** jnp.arange(digits.shape[-1])[::-1]
  return (digits * powers[None, None]).sum(axis=-1)


def cut_cells(patches: Float[Array, "B n P P c"]) -> Float[Array, "B m p p c"]:
  """Cuts patches into the 16 cells of which down-sizing takes the mean."""
  batch, count, size, _, channels = patches.shape
  flat = patches.reshape(batch * count, size, size, channels)
  cells = cut_patches(flat, size // SIDE)
  return cells.reshape(batch, count * SIDE**2, *cells.shape[2:])


@dataclasses.dataclass(frozen=True)
class MaskedPatch(Objective):
  """Loss of the corrupted patches of an image, averaged over them.

  Attributes:
    model: the encoder, a ViT without a head.
    rate: share of the patches that is corrupted; 0.5 and 0.15 in the paper. Of
      these 80 % become a learned [mask], 10 % another patch of the image, and
      10 % are kept.
    target: what is predicted of a patch: "mean_colour", one of 512 classes of
      colours at 3 bits a channel; "downsized", the same of each of 4 x 4 cells;
      "pixels", all of them, by the mean squared error.
  """

  model: nn.Module
  _: dataclasses.KW_ONLY
  rate: Share = 0.5
  target: Literal["mean_colour", "downsized", "pixels"] = "mean_colour"

  uses_labels = False

  @property
  def module(self) -> nn.Module:
    """The encoder with its [mask] and prediction."""
    model: Any = self.model
    return MaskedPatchModel(encoder=model, rate=self.rate, target=self.target)

  def find_errors(self, height: int, width: int, channels: int) -> list[str]:
    """Lists what does not go together with the model or images of a size."""
    del channels
    errors = find_model_errors(NAME, self.model, height, width)
    size = getattr(self.model, "patch_size", SIDE)
    if self.target == "downsized" and size % SIDE:
      errors.append(
        f"objective.target='downsized' needs patches of a multiple of {SIDE} "
        f"pixels, not {size}: take 'mean_colour' or another model.patch_size"
      )
    return errors

  def forward(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> Float[Array, "B n F"]:
    """The predictions of training."""
    return self._predict(params, image, key)[0]

  def _predict(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> tuple[Float[Array, "B n F"], Corruption]:
    """Predictions, and what they are of; `key` is that of the loss."""
    corruption_key, dropout_key = jax.random.split(key)
    keys = jax.random.split(corruption_key, image.shape[0])
    rngs = {"dropout": dropout_key}
    found: Any = self.module.apply(
      {"params": params}, image, keys, train=True, rngs=rngs
    )
    return found

  def compute_metrics(
    self,
    predicted: Float[Array, "B n F"],
    corruption: Corruption,
    batch: dict[str, jax.Array],
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Loss, and of classes the share that is right, as (sum, count) of images.

    Args:
      predicted: of the corrupted patches.
      corruption: which these are.
      batch: image and mask.
    """
    image, mask = batch["image"], batch["mask"]
    model: Any = self.model
    patches = cut_patches(image, model.patch_size)
    patches = take_tokens(patches, corruption.chosen)
    count = mask.sum(dtype=jnp.float32)

    def fold(values: Float[Array, "B m"]) -> tuple[jax.Array, jax.Array]:
      return jnp.where(mask, values.mean(axis=1), 0).sum(), count

    if self.target == "pixels":
      target = patches.reshape(predicted.shape)
      return {"loss": fold(jnp.square(predicted - target).mean(axis=-1))}
    if self.target == "downsized":
      patches = cut_cells(patches)
    classes = 2 ** (BITS * image.shape[-1])
    logits = predicted.reshape(*patches.shape[:2], classes)
    target = compute_colours(patches)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels
    right = jnp.argmax(logits, axis=-1) == target
    return {
      "loss": fold(losses(logits, target)),
      "patch_accuracy": fold(right.astype(jnp.float32)),
    }

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
    predicted, corruption = self._predict(params, batch["image"], key)
    metrics = self.compute_metrics(predicted, corruption, batch)
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch; what is corrupted is a function of each image."""
    found: Any = self.module.apply({"params": params}, batch["image"])
    predicted, corruption = found
    return self.compute_metrics(predicted, corruption, batch)
