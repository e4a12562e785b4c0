# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Supervised classification (ViT paper, sections 3 and 4.1)."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from vit_jax.config import Rate
from vit_jax.sharding import constrain


def get_targets(
  label: Int[Array, "B"] | Int[Array, "B s"] | Float[Array, "B Y"],
  num_classes: int,
) -> Float[Array, "B Y"]:
  """Any form of label as one row of targets an example.

  An id is a one-hot row, several ids a many-hot one, in which an id that is
  there twice counts once; -1 is no label.
  """
  if jnp.issubdtype(label.dtype, jnp.floating):
    return label
  if label.ndim == 1:
    return jax.nn.one_hot(label, num_classes)
  # Scattered, for a one-hot row a slot would be [B s Y]. What is no class goes
  # beyond the last and is dropped; a negative index would count from the end.
  ids = jnp.where((label >= 0) & (label < num_classes), label, num_classes)

  def scatter(ids):
    return jnp.zeros(num_classes).at[ids].set(1.0, mode="drop")

  return constrain(jax.vmap(scatter)(ids), "B Y")


def softmax_loss(
  logits: Float[Array, "B Y"], targets: Float[Array, "B Y"]
) -> Float[Array, "B"]:
  """Cross-entropy of one distribution over the classes."""
  return optax.losses.softmax_cross_entropy(logits, targets)


def sigmoid_loss(
  logits: Float[Array, "B Y"], targets: Float[Array, "B Y"]
) -> Float[Array, "B"]:
  """Binary cross-entropies, summed over the classes.

  Used for ImageNet-21k and JFT, whose images may show several classes.
  """
  return optax.losses.sigmoid_binary_cross_entropy(logits, targets).sum(axis=-1)


LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}


@dataclasses.dataclass(frozen=True)
class Supervised:
  """Cross-entropy of a model's logits against labels.

  Attributes:
    model: images -> logits.
    cross_entropy: "softmax" or "sigmoid".
    label_smoothing: mass that is spread evenly over all classes, in training;
      the loss of an evaluation is that of the labels themselves.
  """

  model: nn.Module
  _: dataclasses.KW_ONLY
  cross_entropy: Literal["softmax", "sigmoid"] = "softmax"
  label_smoothing: Rate = 0.0

  def init_aux(self, params: Any, key: jax.Array) -> Any:
    """Nothing is kept beside the parameters."""
    del params, key
    return {}

  def get_metrics(
    self,
    logits: Float[Array, "B Y"],
    label: Int[Array, "B"] | Int[Array, "B s"] | Float[Array, "B Y"],
    mask: Bool[Array, "B"],
    smoothing: float = 0.0,
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Loss and accuracy as (sum, count) over the examples that `mask` keeps.

    With mixed labels the heaviest class is the right one; with several labels
    any of them is.
    """
    targets = get_targets(label, logits.shape[-1])
    smoothed = targets * (1 - smoothing) + smoothing / logits.shape[-1]
    losses = LOSSES[self.cross_entropy](logits, smoothed)
    top = jnp.argmax(logits, axis=-1)
    hit = jnp.take_along_axis(targets, top[:, None], axis=-1)[:, 0]
    correct = (hit > 0) & (hit >= targets.max(axis=-1))
    count = mask.sum(dtype=jnp.float32)
    return {
      "loss": (jnp.where(mask, losses, 0).sum(), count),
      "accuracy": ((correct & mask).sum(dtype=jnp.float32), count),
    }

  def loss(
    self, params: Any, aux: Any, batch: dict[str, jax.Array], key: jax.Array
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of a batch, with its metrics.

    Args:
      params: of the model.
      aux: from `init_aux`, returned as it came.
      batch: image float [B H W c], label, mask bool [B].
      key: for dropout.
    """
    logits = self.model.apply(
      {"params": params}, batch["image"], train=True, rngs={"dropout": key}
    )
    metrics = self.get_metrics(
      logits, batch["label"], batch["mask"], self.label_smoothing
    )
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch, with dropout off; arguments as for `loss`."""
    logits = self.model.apply({"params": params}, batch["image"])
    return self.get_metrics(logits, batch["label"], batch["mask"])
