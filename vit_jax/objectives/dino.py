# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""DINO: a student says of any crop what its averaged teacher says of another.

"Emerging Properties in Self-Supervised Vision Transformers" (Caron et al.,
2021, arXiv 2104.14294): algorithm 1, section 3, and appendix C. Numbers that
the paper leaves open are those of its authors' program.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.config import Count, NotNegative, Positive, Rate
from vit_jax.models.other_size import find_size_errors, resize_positions
from vit_jax.objectives.momentum import (
  compute_momentum,
  count_epochs,
  find_view_errors,
  measure_spread,
  merge,
  move,
  normalise,
  split,
  stack_views,
)
from vit_jax.objectives.objective import ONE_VIEW, Objective, Setting
from vit_jax.sharding import constrain

# Below so many nats, what the teacher says of an image says nothing about it.
COLLAPSED = 0.01


class Head(nn.Module):
  """Three layers to a bottleneck of unit length, and its cosines with outputs.

  The weight of each output has unit length, too (weight normalisation whose
  gain is 1).

  Attributes:
    hidden: width of the two hidden layers.
    bottleneck: width of the bottleneck.
    outputs: number of outputs (Y).
    gelu: "tanh" or "exact", as of the encoder.
  """

  hidden: int
  bottleneck: int
  outputs: int
  gelu: str

  @nn.compact
  def __call__(
    self, x: Float[Array, "B R"], *, learn_last: Array | bool = True
  ) -> Float[Array, "B Y"]:
    """Representations -> logits.

    Args:
      x: representations.
      learn_last: whether the last layer gets a gradient.
    """
    normal = nn.initializers.truncated_normal(0.02)
    names = (("hidden_0", self.hidden), ("hidden_1", self.hidden))
    for name, width in names:
      x = nn.Dense(width, kernel_init=normal, name=name)(x)
      x = nn.gelu(constrain(x, "B M"), approximate=self.gelu == "tanh")
    x = nn.Dense(self.bottleneck, kernel_init=normal, name="bottleneck")(x)
    x = normalise(constrain(x, "B R"))
    kernel = Last(self.outputs, name="last")(self.bottleneck)
    kernel = jnp.where(learn_last, kernel, jax.lax.stop_gradient(kernel))
    return constrain(x @ normalise(kernel.T).T, "B Y")


class Last(nn.Module):
  """The weights of the last layer, of a length that does not count.

  Attributes:
    outputs: number of outputs (Y).
  """

  outputs: int

  @nn.compact
  def __call__(self, width: int) -> Float[Array, "R Y"]:
    # Uniform within 1 / sqrt(width), as a layer of the authors' library.
    uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return self.param("kernel", uniform, (width, self.outputs))


class DinoModel(nn.Module):
  """An encoder and its head, whose parameters are under `dino`.

  Attributes:
    encoder: images -> representations.
    hidden, bottleneck, outputs: as of `Head`.
  """

  encoder: nn.Module
  hidden: int
  bottleneck: int
  outputs: int

  def setup(self):
    nn.share_scope(self, self.encoder)
    gelu = getattr(self.encoder, "gelu", "tanh")
    self.dino = Head(self.hidden, self.bottleneck, self.outputs, gelu)

  def __call__(
    self,
    image: Float[Array, "B H W c"],
    *,
    train: bool = False,
    learn_last: Array | bool = True,
  ) -> tuple[Float[Array, "B R"], Float[Array, "B Y"]]:
    """Images -> representations and logits; arguments as of `Head`."""
    x = self.encoder(image, train=train).astype(jnp.float32)
    return x, self.dino(x, learn_last=learn_last)


def measure_information(
  log_p: Float[Array, "B V Y"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
  """What distributions say about their images, in nats.

  Args:
    log_p: logarithms of probabilities.

  Returns:
    The entropy of their mean, and how much of it knowing the image takes away:
    the mean of their Kullback-Leibler divergences from it. That is 0 if all are
    the same, be it one output or all of them alike.
  """
  p = jnp.exp(log_p).reshape(-1, log_p.shape[-1])
  mean = p.mean(axis=0)
  entropy = -jax.scipy.special.xlogy(mean, mean).sum()
  inner = -(p * log_p.reshape(p.shape)).sum(axis=-1).mean()
  return entropy, entropy - inner


@dataclasses.dataclass(frozen=True)
class Dino(Objective):
  """Cross-entropy of a student's views against an averaged teacher's.

  The teacher sees the large views (data.views.count), the student all of them,
  small ones (data.views.local) too, and each of its views is to say what the
  teacher says of every other. The teacher's logits are centred by their mean
  over the batches so far, and sharpened by a low temperature: one alone would
  let the representations collapse. Learned position embeddings are resized for
  the small views, bicubically; sines and cosines are those of a smaller image.

  The teacher is what is evaluated and exported, as in the paper: it is better
  than the student, which is "raw". Beside loss, the metrics are entropy and
  information of `measure_information` of the teacher's distributions, and
  spread, `measure_spread` of its representations.

  Attributes:
    model: the encoder.
    setting: facts of the run.
    outputs: number of outputs of the head (Y).
    hidden: width of its hidden layers.
    bottleneck: width of its bottleneck.
    momentum: that of the teacher at the beginning; it rises to 1 along half a
      cosine.
    temperature: that of the student's softmax.
    teacher_temperature: that of the teacher's.
    first_temperature: that of the teacher's at the beginning, from which it
      rises along a line.
    temperature_epochs: epochs until it has risen.
    center_momentum: momentum of the centre.
    freeze_last_epochs: epochs in which the last layer is not trained.
  """

  model: nn.Module
  setting: Setting = ONE_VIEW
  _: dataclasses.KW_ONLY
  outputs: Count = 65_536
  hidden: Count = 2048
  bottleneck: Count = 256
  momentum: Rate = 0.996
  temperature: Positive = 0.1
  teacher_temperature: Positive = 0.07
  first_temperature: Positive = 0.04
  temperature_epochs: NotNegative = 30.0
  center_momentum: Rate = 0.9
  freeze_last_epochs: NotNegative = 1.0

  uses_labels: ClassVar[bool] = False
  compares_views: ClassVar[bool] = True
  averages: ClassVar[bool] = True

  @property
  def module(self) -> DinoModel:
    """The encoder with its head."""
    return DinoModel(self.model, self.hidden, self.bottleneck, self.outputs)

  def find_errors(self, height: int, width: int, channels: int) -> list[str]:
    """Lists what of the run does not go together with comparing views."""
    errors = find_view_errors("dino", self.setting, 2)
    if self.setting.local:
      size = self.setting.local_size
      errors += [
        text.replace("data.size", "data.views.local_size")
        for text in find_size_errors(self.model, size, size)
      ]
    return errors + super().find_errors(height, width, channels)

  def init_aux(self, params: Any, key: jax.Array) -> Any:
    """The teacher, the centre, and the sums that the next centre is made of."""
    del key
    return {
      "teacher": jax.tree.map(jnp.copy, params),
      "center": jnp.zeros(self.outputs),
      "sum": jnp.zeros(self.outputs),
      "count": jnp.zeros(()),
      "step": jnp.zeros((), jnp.int32),
    }

  def update_aux(self, aux: Any, params: Any, step: jax.Array) -> Any:
    """Moves the teacher towards the new parameters, and the centre."""
    momentum = compute_momentum(self.momentum, step, self.setting.steps)
    mean = aux["sum"] / jnp.maximum(aux["count"], 1)
    keep = self.center_momentum
    return {
      "teacher": move(aux["teacher"], params, momentum),
      "center": keep * aux["center"] + (1 - keep) * mean,
      "sum": jnp.zeros_like(aux["sum"]),
      "count": jnp.zeros_like(aux["count"]),
      "step": jnp.asarray(step + 1, jnp.int32),
    }

  def compute_temperature(self, step: jax.Array) -> Float[Array, ""]:
    """The teacher's temperature after a number of steps."""
    steps = count_epochs(self.temperature_epochs, self.setting)
    risen = jnp.minimum(1.0, step / max(1, steps)) if steps else jnp.ones(())
    first, last = self.first_temperature, self.teacher_temperature
    return first + (last - first) * risen

  def forward(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> Any:
    """The student's passes over an image's views, here of equal ones."""
    setting = self.setting
    large = jnp.stack([image] * setting.views, axis=1)
    small = None
    if setting.local:
      side = (setting.local_size, setting.local_size)
      shape = (len(image), setting.local, *side, image.shape[-1])
      small = jnp.zeros(shape, image.dtype)
    return self._learn(params, large, small, key, True)

  def observe(
    self, aux: Any, image: Float[Array, "B H W c"], *frozen: Any
  ) -> Any:
    """The teacher's passes over an image's large views, as `forward`."""
    del frozen
    return self._teach(aux, jnp.stack([image] * self.setting.views, axis=1))

  def _learn(self, params, large, small, key, learn_last):
    """The student's logits [B V Y] of all views."""

    def apply(params, views, number):
      found: Any = self.module.apply(
        {"params": params},
        merge(views),
        train=True,
        learn_last=learn_last,
        rngs={"dropout": jax.random.fold_in(key, number)},
      )
      return split(found[1], views.shape[1])

    logits = apply(params, large, 0)
    if small is None:
      return logits
    sizes = (views.shape[2:4] for views in (large, small))
    resized = resize_positions(params, self.model, *sizes)
    return jnp.concatenate([logits, apply(resized, small, 1)], axis=1)

  def _teach(self, aux, large):
    """The teacher's representations [B V R] and logits [B V Y]."""
    found: Any = self.module.apply({"params": aux["teacher"]}, merge(large))
    views = large.shape[1]
    return tuple(jax.lax.stop_gradient(split(x, views)) for x in found)

  def loss(
    self,
    params: Any,
    aux: Any,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *frozen: Any,
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of a batch, as of `Objective`.

    It has `views` [B V H W c] and, with small views, `local` [B V h w c].
    """
    del frozen
    large = stack_views(batch, "image", "views")
    mask = batch["mask"]
    count = mask.sum(dtype=jnp.float32)
    representations, said = self._teach(aux, large)
    sharp = (said - aux["center"][None, None]) / self.compute_temperature(
      aux["step"]
    )
    log_p = jax.nn.log_softmax(sharp)
    frozen_steps = count_epochs(self.freeze_last_epochs, self.setting)
    learn_last = aux["step"] >= frozen_steps
    logits = self._learn(params, large, batch.get("local"), key, learn_last)
    log_q = jax.nn.log_softmax(logits / self.temperature)
    crosses = -jnp.einsum("biy,bvy->biv", jnp.exp(log_p), log_q)
    # Not of a view with itself.
    others = 1 - jnp.eye(crosses.shape[1], crosses.shape[2])
    losses = (crosses * others[None]).sum(axis=(1, 2)) / others.sum()
    total = jnp.where(mask, losses, 0).sum()
    entropy, information = measure_information(log_p)
    one = jnp.ones(())
    metrics = {
      "loss": (total, count),
      "entropy": (entropy, one),
      "information": (information, one),
      "spread": (measure_spread(representations), one),
    }
    kept = jnp.where(mask[:, None, None], said, 0).sum(axis=(0, 1))
    aux = aux | {
      "sum": aux["sum"] + kept,
      "count": aux["count"] + count * large.shape[1],
    }
    return total / jnp.maximum(count, 1), (metrics, aux)

  def find_collapse(self, values: Mapping[str, float]) -> str | None:
    """Says that the teacher says the same of all images, as of `Objective`."""
    if values["information"] >= COLLAPSED:
      return None
    entropy, most = values["entropy"], math.log(self.outputs)
    how, remedy = (
      ("all outputs alike", "lower objective.teacher_temperature")
      if entropy > 0.9 * most
      else ("few of its outputs", "lower objective.center_momentum")
    )
    return (
      f"representations have collapsed: the teacher says the same of every "
      f"image, {how} (information {values['information']:.2g} nats, entropy "
      f"{entropy:.3g} of at most {most:.3g}): {remedy}, lower optim.lr, or "
      f"raise objective.momentum"
    )
