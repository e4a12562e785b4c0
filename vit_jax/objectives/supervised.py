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

from vit_jax.config import NotNegative, Rate
from vit_jax.objectives.objective import Objective
from vit_jax.sharding import constrain


def make_targets(
  label: Int[Array, "B"] | Int[Array, "B s"] | Float[Array, "B Y"],
  num_classes: int,
) -> Float[Array, "B Y"]:
  """Converts labels of any form to a row of targets per example.

  Args:
    label: a class id per example [B], which becomes a one-hot row; s ids per
      example [B s], padded with -1, which become a many-hot row; or targets
      [B Y], returned as they are.
    num_classes: Y.
  """
  if jnp.issubdtype(label.dtype, jnp.floating):
    return label
  if label.ndim == 1:
    return jax.nn.one_hot(label, num_classes)
  # Scattered, because one-hot rows of all ids would be [B s Y]. An id that is
  # no class goes beyond the last and is dropped: -1 would index the last class.
  ids = jnp.where((label >= 0) & (label < num_classes), label, num_classes)

  def scatter(ids):
    return jnp.zeros(num_classes).at[ids].set(1.0, mode="drop")

  return constrain(jax.vmap(scatter)(ids), "B Y")


def softmax_loss(
  logits: Float[Array, "B Y"],
  targets: Float[Array, "B Y"],
  weights: Float[Array, "1 Y"] | float = 1.0,
) -> Float[Array, "B"]:
  """Cross-entropy of a distribution over the classes, weighted by class."""
  return optax.losses.softmax_cross_entropy(logits, targets * weights)


def sigmoid_loss(
  logits: Float[Array, "B Y"],
  targets: Float[Array, "B Y"],
  weights: Float[Array, "1 Y"] | float = 1.0,
) -> Float[Array, "B"]:
  """Binary cross-entropies, weighted and summed over the classes.

  For images that may show several classes, as those of ImageNet-21k and JFT.
  """
  losses = optax.losses.sigmoid_binary_cross_entropy(logits, targets)
  return (losses * weights).sum(axis=-1)


TOP = 5  # Classes that accuracy_top5 looks at, as papers on ImageNet do.

LOSSES = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}


@dataclasses.dataclass(frozen=True)
class Supervised(Objective):
  """Cross-entropy of a model's logits against labels.

  Attributes:
    model: images -> logits.
    cross_entropy: "softmax" or "sigmoid".
    label_smoothing: mass of the labels that is spread evenly over all classes,
      in training only; evaluations measure the loss on the labels themselves.
    class_weights: factors of the classes in the loss of training, in their
      order; None is 1 for each. "balanced" counts the images of a folder, or of
      a prepared set of up to 50,000: a class's factor is the mean number of
      images of a class over its own, so that rare classes count as much as
      frequent ones, and the mean over all images is 1.
  """

  model: nn.Module
  _: dataclasses.KW_ONLY
  cross_entropy: Literal["softmax", "sigmoid"] = "softmax"
  label_smoothing: Rate = 0.0
  class_weights: Literal["balanced"] | tuple[NotNegative, ...] | None = None

  def compute_metrics(
    self,
    logits: Float[Array, "B Y"],
    label: Int[Array, "B"] | Int[Array, "B s"] | Float[Array, "B Y"],
    mask: Bool[Array, "B"],
    smoothing: float = 0.0,
    weights: Float[Array, "1 Y"] | float = 1.0,
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Loss and accuracy as (sum, count) over the examples that `mask` keeps.

    A prediction is correct if it is the class of the largest target, as of
    images mixed by mixup, or any of several labels.

    Args:
      logits: model output.
      label: as of `make_targets`.
      mask: examples that count.
      smoothing: mass of the labels that is spread evenly over all classes.
      weights: factors of the classes in the loss.
    """
    targets = make_targets(label, logits.shape[-1])
    smoothed = targets * (1 - smoothing) + smoothing / logits.shape[-1]
    losses = LOSSES[self.cross_entropy](logits, smoothed, weights)
    top = jnp.argmax(logits, axis=-1)
    hit = jnp.take_along_axis(targets, top[:, None], axis=-1)[:, 0]
    correct = (hit > 0) & (hit >= targets.max(axis=-1))
    count = mask.sum(dtype=jnp.float32)
    return {
      "loss": (jnp.where(mask, losses, 0).sum(), count),
      "accuracy": ((correct & mask).sum(dtype=jnp.float32), count),
    }

  def loss(
    self,
    params: Any,
    aux: Any,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *frozen: Any,
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of a batch, with its metrics.

    Args:
      params: parameters of the model.
      aux: from `init_aux`, returned unchanged.
      batch: image float [B H W c], label as of `make_targets`, mask bool [B].
      key: random key of dropout.
      *frozen: none.

    Returns:
      The loss and (metrics, aux), with metrics as of `compute_metrics`.
    """
    del frozen
    logits = self.model.apply(
      {"params": params}, batch["image"], train=True, rngs={"dropout": key}
    )
    weights: Any = 1.0
    if self.class_weights is not None:
      weights = jnp.asarray(self.class_weights, jnp.float32)[None]
    metrics = self.compute_metrics(
      logits, batch["label"], batch["mask"], self.label_smoothing, weights
    )
    total, count = metrics["loss"]
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch, with dropout off; arguments as of `loss`."""
    logits = self.model.apply({"params": params}, batch["image"])
    return self.evaluate_logits(logits, batch["label"], batch["mask"])

  def evaluate_logits(
    self,
    logits: Float[Array, "B Y"],
    label: Int[Array, "B"] | Int[Array, "B s"] | Float[Array, "B Y"],
    mask: Bool[Array, "B"],
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of evaluation: those of `compute_metrics`, and accuracy_top5.

    That is right where the class, or any of several, is among the five most
    likely. It is left out where there are not more than five.
    """
    metrics = self.compute_metrics(logits, label, mask)
    if logits.shape[-1] > TOP:
      targets = make_targets(label, logits.shape[-1])
      _, top = jax.lax.top_k(logits, TOP)
      hit = jnp.take_along_axis(targets, top, axis=-1).max(axis=-1)
      correct = (hit > 0) & (hit >= targets.max(axis=-1)) & mask
      count = metrics["accuracy"][1]
      metrics["accuracy_top5"] = correct.sum(dtype=jnp.float32), count
    return metrics
