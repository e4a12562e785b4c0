# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation: a class for each pixel, of the encoder's patches.

The heads are a linear layer (Strudel et al., 2021, arXiv 2105.05633, section
3.2) and the first two of SETR (Zheng et al., 2021, arXiv 2012.15840, section
3.2). Unlike SETR's they have LayerNorm, not BatchNorm, so that no statistics
are kept beside the parameters and a batch may be of any size; and there are no
auxiliary heads on other layers.
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, UInt8

from vit_jax.config import Count
from vit_jax.models.vit import ViT
from vit_jax.objectives.objective import ONE_VIEW, Objective, Setting
from vit_jax.sharding import constrain

NAME = "segmentation"
Kind = Literal["linear", "naive", "pup"]


class Head(nn.Module, kw_only=True):
  """Feature maps -> logits, at the resolution of patches or a higher one.

  Attributes:
    kind: see `Segmentation`.
    width: channels of its convolutions.
    classes: Y.
    doublings: times that "pup" doubles the resolution.
    epsilon: of its LayerNorms.
    dtype: of its activations; logits are float32.
  """

  kind: Kind
  width: int
  classes: int
  doublings: int
  epsilon: float
  dtype: str

  @nn.compact
  def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W Y"]:
    count = {"linear": 0, "naive": 1, "pup": self.doublings}[self.kind]
    side = 3 if self.kind == "pup" else 1
    for i in range(count):
      x = nn.Conv(self.width, (side, side), dtype=self.dtype, name=f"conv_{i}")(
        x
      )
      norm = nn.LayerNorm(
        epsilon=self.epsilon, dtype=self.dtype, name=f"norm_{i}"
      )
      x = constrain(nn.relu(norm(x)), "B h w D")
      if self.kind == "pup":
        x = resize(x, (2 * x.shape[1], 2 * x.shape[2]))
    head = nn.Dense(self.classes, dtype=jnp.float32, name="head")
    return constrain(head(x.astype(jnp.float32)), "B h w Y")


class SegmentationModel(nn.Module, kw_only=True):
  """An encoder and a head that reads its patches.

  The encoder's parameters keep their paths; those of `segmentation` lie beside
  them.

  Attributes:
    encoder: a ViT.
    kind: of the head, see `Segmentation`.
    width: channels of its convolutions.
    classes: Y.
  """

  encoder: ViT
  kind: Kind
  width: int
  classes: int

  def setup(self):
    nn.share_scope(self, self.encoder)
    self.segmentation = Head(
      kind=self.kind,
      width=self.width,
      classes=self.classes,
      doublings=max(1, int(math.log2(self.encoder.stride))),
      epsilon=self.encoder.layer_norm_eps,
      dtype=self.encoder.dtype,
    )

  def __call__(
    self, image: Float[Array, "B H W c"], *, train: bool = False
  ) -> Float[Array, "B h w Y"]:
    """Images of values in [-1, 1] -> float32 logits of the head's resolution.

    Args:
      image: images.
      train: turns dropout and stochastic depth on.
    """
    encoder = self.encoder
    layout = encoder.make_layout(*image.shape[1:3])
    x, _ = encoder.Transformer(encoder.embed(image), layout, train, False)
    if self.is_initializing():  # What the head of a later model reads.
      encoder.represent(x, False)
    x = x[:, layout.prefix :]
    if encoder.fc_norm:
      x = encoder.pooled_norm(x)
    return self.segmentation(x.reshape(len(x), *layout.grid, x.shape[-1]))


def resize(
  x: Float[Array, "B h w D"], size: tuple[int, int]
) -> Float[Array, "B H W D"]:
  """Enlarges maps bilinearly, about the centres of their cells."""
  return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), "bilinear")


@dataclasses.dataclass(frozen=True)
class Segmentation(Objective):
  """Softmax cross-entropy of every labelled pixel, of enlarged logits.

  Every image counts alike: by the mean of its labelled pixels, or zero if it
  has none.

  Attributes:
    model: the encoder, a ViT or hybrid without a head.
    setting: facts of the run.
    head: "linear" is one linear layer on the patches; "naive" SETR's with a
      hidden layer; "pup" its progressive upsampling: a 3x3 convolution and a
      doubling of the resolution in turns, four times for patches of 16 px.
    head_width: channels of the layers of "naive" and "pup".
  """

  model: nn.Module
  setting: Setting = ONE_VIEW
  _: dataclasses.KW_ONLY
  head: Kind = "linear"
  head_width: Count = 256

  uses_labels: ClassVar[bool] = False
  pools: ClassVar[bool] = False

  @property
  def module(self) -> SegmentationModel:
    """The encoder with its head."""
    encoder: Any = self.model
    return SegmentationModel(
      encoder=encoder,
      kind=self.head,
      width=self.head_width,
      classes=self.setting.classes,
    )

  def place(self, setting: Setting) -> "Segmentation":
    """The same objective with the number of classes of a run's data."""
    return dataclasses.replace(self, setting=setting)

  def find_errors(self, height: int, width: int, channels: int) -> list[str]:
    """Lists what does not go together with the model or images of a size."""
    del height, width, channels
    if not isinstance(self.model, ViT):
      return [
        f"objective.name={NAME!r} reads the patches of a ViT or hybrid, and "
        f"model.variant is a {type(self.model).__name__}: take another"
      ]
    if self.model.patch_dropout:
      return [
        f"model.patch_dropout={self.model.patch_dropout:g} drops patches that "
        f"objective.name={NAME!r} reads: leave it out"
      ]
    return []

  def compute_metrics(
    self,
    logits: Float[Array, "B h w Y"],
    target: UInt8[Array, "B H W"],
    mask: Any,
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Loss and pixel accuracy as (sum, count) of images.

    Args:
      logits: of the head.
      target: the class of each pixel; a pixel of a number that is no class, as
        255, does not count.
      mask: images that count, bool [B].
    """
    height, width = target.shape[1:3]
    logits = resize(logits.astype(jnp.float32), (height, width))
    labelled = target < logits.shape[-1]
    target = jnp.where(labelled, target, 0).astype(jnp.int32)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(
      logits, target
    )
    right = (jnp.argmax(logits, axis=-1) == target).astype(jnp.float32)
    pixels = jnp.maximum(labelled.sum(axis=(1, 2), dtype=jnp.float32), 1)

    def fold(values: Float[Array, "B H W"]) -> tuple[jax.Array, jax.Array]:
      mean = jnp.where(labelled, values, 0).sum(axis=(1, 2)) / pixels
      return jnp.where(mask, mean, 0).sum(), mask.sum(dtype=jnp.float32)

    return {"loss": fold(losses), "pixel_accuracy": fold(right)}

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
    logits = self.forward(params, batch["image"], key)
    metrics = self.compute_metrics(logits, batch["segmentation"], batch["mask"])
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch, with dropout off, at the resolution of its images."""
    logits: Any = self.module.apply({"params": params}, batch["image"])
    return self.compute_metrics(logits, batch["segmentation"], batch["mask"])
