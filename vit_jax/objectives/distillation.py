# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation: a student learns to predict what a trained teacher predicts.

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
from vit_jax.objectives.objective import Objective
from vit_jax.objectives.supervised import Supervised
from vit_jax.sharding import constrain

# The default weight of the teacher's loss: Beyer et al. use no labels (section
# 2), DeiT weighs both alike (equation 3).
ALPHA = {"soft": 1.0, "hard": 0.5}


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A trained model, and how it pre-processes the images of a student.

  Attributes:
    model: images -> logits.
    size: (H, W) of the images that it was trained on, in pixels.
    mean, std: statistics that normalise its input, one value per channel, of
      pixel values in [0, 1].
  """

  model: nn.Module
  size: tuple[int, int]
  mean: tuple[float, ...]
  std: tuple[float, ...]

  def compute_logits(
    self, variables: Any, image: Float[Array, "B H W c"]
  ) -> Float[Array, "B Y"]:
    """The teacher's logits for the student's images, with dropout off.

    Images of another size are resized bilinearly, those of another value range
    normalised; otherwise the teacher sees the student's pixels unchanged.

    Args:
      variables: {"params": the teacher's parameters}; they get no gradient.
      image: augmented and mixed images, values in [-1, 1].
    """
    batch, *size, channels = image.shape
    if tuple(size) != self.size:
      shape = (batch, *self.size, channels)
      image = constrain(jax.image.resize(image, shape, "bilinear"), "B H W c")
    # (x + 1) / 2 is in [0, 1]. A mean and std of 0.5 leave x as it is, bit by
    # bit.
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

  T^2 keeps the size of the gradient independent of T (Hinton et al., 2015,
  arXiv 1503.02531, section 2), as in the code of Beyer et al.
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
class Distillation(Objective):
  """Loss of a student against a frozen teacher and, with alpha < 1, the labels.

  Both models see the same pixels, after augmentation and mixing: the consistent
  teacher of Beyer et al. (section 3.1). Evaluations measure the student alone,
  against the labels.

  Attributes:
    model: the student, images -> logits.
    reader: the teacher's model and pre-processing.
    teacher: path of the teacher: a run's workdir, or weights in any format that
      `vit_jax.load` reads, which also say its model, classes and input.
    teacher_sha256: digest that the teacher's parameters must have
      (`get_digest`); None for any. A run records it, and resumes only with the
      same teacher.
    mode: "soft" for T^2 KL(teacher || student), "hard" for the cross-entropy
      against the teacher's most likely class.
    temperature: T of "soft"; 1 in the code of Beyer et al.
    alpha: weight of the teacher's loss; that of the labels' is 1 - alpha. None
      is 1 for "soft" (Beyer et al., section 2) and 0.5 for "hard" (DeiT,
      equation 3). DeiT's soft distillation is alpha=0.1, temperature=3.
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
        f"objective.temperature={self.temperature:g} has no effect with "
        f"objective.mode='hard', which reads only the teacher's most likely "
        f"class: leave it out, or set objective.mode='soft'"
      )
    if self.alpha == 1 and self.label_smoothing:
      errors.append(
        f"objective.label_smoothing={self.label_smoothing:g} has no effect "
        f"with objective.alpha=1, which ignores the labels: leave it out, or "
        f"set a smaller objective.alpha"
      )
    raise_all(errors)

  @property
  def labels(self) -> Supervised:
    """The objective that gives loss and metrics against the labels."""
    return Supervised(self.model, label_smoothing=self.label_smoothing)

  def observe(
    self, aux: Any, image: Float[Array, "B H W c"], *frozen: Any
  ) -> Float[Array, "B Y"]:
    """The teacher's logits; it is a frozen input, no part of the state."""
    del aux
    (teacher,) = frozen
    return self.reader.compute_logits(teacher, image)

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
      params: the student's parameters.
      aux: from `init_aux`, returned unchanged.
      batch: image float [B H W c], label (any form that `Supervised` takes),
        mask bool [B].
      key: random key of the student's dropout.
      *frozen: the one frozen input, {"params": the teacher's parameters}.

    Returns:
      The loss and (metrics, aux). The metrics are (sum, count) pairs: loss; the
      student's accuracy; agreement, the share of images whose most likely class
      is the same for both models; and teacher_accuracy.
    """
    image, label, mask = (batch[name] for name in ("image", "label", "mask"))
    logits = self.forward(params, image, key)
    teacher_logits = self.observe(aux, image, *frozen)
    if self.mode == "soft":
      losses = soft_loss(logits, teacher_logits, self.temperature)
    else:
      losses = hard_loss(logits, teacher_logits)
    on_labels = self.labels.compute_metrics(
      logits, label, mask, self.label_smoothing
    )
    of_teacher = self.labels.compute_metrics(teacher_logits, label, mask)
    label_loss, count = on_labels["loss"]
    total = self.alpha * jnp.where(mask, losses, 0).sum()
    if self.alpha < 1:
      total += (1 - self.alpha) * label_loss
    same = jnp.argmax(logits, axis=-1) == jnp.argmax(teacher_logits, axis=-1)
    metrics = {
      "loss": (total, count),
      "accuracy": on_labels["accuracy"],
      "agreement": ((same & mask).sum(dtype=jnp.float32), count),
      "teacher_accuracy": of_teacher["accuracy"],
    }
    return total / jnp.maximum(count, 1), (metrics, aux)

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The student's metrics of a batch against its labels, dropout off."""
    return self.labels.evaluate(params, batch)
