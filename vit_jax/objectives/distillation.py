# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation: a student learns what a trained teacher says of its images.

"Soft" is the function matching of "Knowledge distillation: A good teacher is
patient and consistent" (Beyer et al., 2022, arXiv 2106.05237), "hard" that of
DeiT (Touvron et al., 2021, arXiv 2012.12877, section 4), without its token.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from vit_jax.config import Positive, Rate, Share, raise_all
from vit_jax.objectives.supervised import Supervised
from vit_jax.sharding import constrain

# The teacher's share of the loss where a config does not say: the first paper
# uses no labels (section 2), DeiT both alike (equation 3).
ALPHA = {"soft": 1.0, "hard": 0.5}


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A trained model, and how the images of a student become its own.

  Attributes:
    model: images -> logits.
    size: (H, W) that it was trained at.
    mean: of its input, for values in [0, 1], a channel.
    std: likewise.
  """

  model: nn.Module
  size: tuple[int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def get_logits(
    self, variables: Any, image: Float[Array, "B H W c"]
  ) -> Float[Array, "B Y"]:
    """What it says of the student's images, with dropout off.

    Of the same size and value range it sees the student's very pixels; else
    they are resized, bilinearly, and normalised for it.

    Args:
      variables: {"params": its parameters}; no gradient reaches them.
      image: values in [-1, 1], augmented and mixed.
    """
    batch, *size, channels = image.shape
    if tuple(size) != self.size:
      shape = (batch, *self.size, channels)
      image = constrain(jax.image.resize(image, shape, "bilinear"), "B H W c")
    # (x + 1) / 2 is in [0, 1]. Of a mean and std of 0.5, x is left to the bit.
    mean, std = (
      np.asarray(values, np.float32).reshape(1, 1, 1, channels)
      for values in (self.mean, self.std)
    )
    image = (image - (2 * mean - 1)) / (2 * std)
    return jax.lax.stop_gradient(self.model.apply(variables, image))


def soft_loss(
  logits: Float[Array, "B Y"],
  teacher: Float[Array, "B Y"],
  temperature: float,
) -> Float[Array, "B"]:
  """T^2 KL(teacher || student) between softmaxes at temperature T.

  T^2 keeps the size of the gradient whatever T is (Hinton et al., 2015, arXiv
  1503.02531, section 2), as in the code of Beyer et al.
  """
  ours, theirs = (
    jax.nn.log_softmax(x / temperature, axis=-1) for x in (logits, teacher)
  )
  kl = optax.losses.kl_divergence_with_log_targets(ours, theirs)
  return temperature**2 * kl


def hard_loss(
  logits: Float[Array, "B Y"], teacher: Float[Array, "B Y"]
) -> Float[Array, "B"]:
  """Cross-entropy against the class that the teacher finds most likely."""
  return optax.losses.softmax_cross_entropy_with_integer_labels(
    logits, jnp.argmax(teacher, axis=-1)
  )


@dataclasses.dataclass(frozen=True)
class Distillation:
  """A student's distance to a frozen teacher, and to the labels if asked.

  Both see the same pixels, after augmentation and mixing: the consistent
  teacher of Beyer et al. (section 3.1). Evaluations are of the student alone,
  on the labels.

  Attributes:
    model: the student, images -> logits.
    reader: the teacher's model.
    teacher: where the teacher is: a run, or any file of weights that is read
      (`vit_jax.load`). Model, classes and input are what it says.
    teacher_sha256: digest that the teacher's parameters must have (`get_digest`
      of what it evaluates); None is any. A run records it, and goes on with no
      other teacher.
    mode: "soft" for T^2 KL(teacher || student), "hard" for the cross-entropy
      against the teacher's most likely class.
    temperature: T of "soft"; 1 in the code of Beyer et al.
    alpha: weight of that loss; 1 - alpha is the labels'. None is 1 for "soft"
      (Beyer et al., section 2) and 0.5 for "hard" (DeiT, equation 3). DeiT's
      soft distillation is alpha=0.1, temperature=3.
    label_smoothing: mass of the labels that is spread evenly over all classes.
  """

  model: nn.Module
  reader: Teacher
  _: dataclasses.KW_ONLY
  teacher: str
  teacher_sha256: str | None = None
  mode: Literal["soft", "hard"] = "soft"
  temperature: Positive = 1.0
  alpha: Share | None = None
  label_smoothing: Rate = 0.0

  def __post_init__(self):
    if self.alpha is None:
      object.__setattr__(self, "alpha", ALPHA[self.mode])
    errors = []
    if self.mode == "hard" and self.temperature != 1:
      errors.append(
        f"objective.temperature={self.temperature:g} changes nothing: the "
        f"teacher's most likely class is the same at any; it is for "
        f"objective.mode='soft'"
      )
    if self.alpha == 1 and self.label_smoothing:
      errors.append(
        f"objective.label_smoothing={self.label_smoothing:g} changes nothing: "
        f"with objective.alpha=1 no label counts"
      )
    raise_all(errors)

  @property
  def labels(self) -> Supervised:
    """The loss and the metrics on the labels."""
    return Supervised(self.model, label_smoothing=self.label_smoothing)

  def init_aux(self, params: Any, key: jax.Array) -> Any:
    """The teacher is no part of the state, for no step changes it."""
    del params, key
    return {}

  def loss(
    self,
    params: Any,
    aux: Any,
    batch: dict[str, jax.Array],
    key: jax.Array,
    teacher: Any,
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of a batch, with its metrics.

    Args:
      params: of the student.
      aux: from `init_aux`, returned as it came.
      batch: image float [B H W c], label, mask bool [B].
      key: for the student's dropout.
      teacher: variables of the teacher.

    Returns:
      The loss, and as metrics, beside it and the student's accuracy, the share
      of images on which both find the same class most likely (agreement) and
      the teacher's accuracy.
    """
    image, label, mask = (batch[name] for name in ("image", "label", "mask"))
    logits = self.model.apply(
      {"params": params}, image, train=True, rngs={"dropout": key}
    )
    said = self.reader.get_logits(teacher, image)
    if self.mode == "soft":
      losses = soft_loss(logits, said, self.temperature)
    else:
      losses = hard_loss(logits, said)
    found = self.labels.get_metrics(logits, label, mask, self.label_smoothing)
    teachers = self.labels.get_metrics(said, label, mask)
    labelled, count = found["loss"]
    total = self.alpha * jnp.where(mask, losses, 0).sum()
    if self.alpha < 1:
      total += (1 - self.alpha) * labelled
    same = jnp.argmax(logits, axis=-1) == jnp.argmax(said, axis=-1)
    metrics = {
      "loss": (total, count),
      "accuracy": found["accuracy"],
      "agreement": ((same & mask).sum(dtype=jnp.float32), count),
      "teacher_accuracy": teachers["accuracy"],
    }
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The student's metrics on a batch, as of a supervised one."""
    return self.labels.evaluate(params, batch)
