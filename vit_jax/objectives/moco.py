# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""MoCo v3: a view finds the other view of its image among those of a batch.

"An Empirical Study of Training Self-Supervised Vision Transformers" (Chen et
al., 2021, arXiv 2104.02057): algorithm 1, section 3, and appendix A.2.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from vit_jax.config import Count, Positive, Rate
from vit_jax.objectives.momentum import (
  compute_momentum,
  find_view_errors,
  measure_spread,
  merge,
  move,
  normalise,
  split,
  stack_views,
)
from vit_jax.objectives.objective import ONE_VIEW, Objective, Setting
from vit_jax.sharding import constrain, replicate

EPSILON = 1e-5  # Of the batch's variance.

# Below this spread, representations of a batch differ by half a degree.
COLLAPSED = 0.01


class Layer(nn.Module):
  """A dense layer without bias, and the normalisation of a batch (BatchNorm).

  Mean and variance are those of the global batch, of every view for itself. No
  running statistics are kept: these heads are for training alone, and are left
  out where the encoder is used.

  Attributes:
    features: M.
    last: no scale, bias or ReLU follow.
  """

  features: int
  last: bool

  @nn.compact
  def __call__(self, x: Float[Array, "B V D"]) -> Float[Array, "B V M"]:
    shape = (x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
    x = constrain(jnp.einsum("bvd,dm->bvm", x, kernel), "B _ M")
    mean = x.mean(axis=0, keepdims=True)
    variance = jnp.square(x - mean).mean(axis=0, keepdims=True)
    x = (x - mean) * jax.lax.rsqrt(variance + EPSILON)
    if self.last:
      return x
    scale = self.param("scale", nn.initializers.ones, (self.features,))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    return nn.relu(x * scale[None, None] + bias[None, None])


class Heads(nn.Module):
  """The projector, of three layers, and the predictor, of two.

  Attributes:
    hidden: width of the hidden layers.
    outputs: width of what is compared.
  """

  hidden: int
  outputs: int

  def setup(self):
    widths = (self.hidden, self.hidden, self.outputs)
    for i, width in enumerate(widths):
      setattr(self, f"projector_{i}", Layer(width, last=i == 2))
    for i, width in enumerate(widths[1:]):
      setattr(self, f"predictor_{i}", Layer(width, last=i == 1))

  def __call__(
    self, x: Float[Array, "B V R"]
  ) -> tuple[Float[Array, "B V E"], Float[Array, "B V E"]]:
    """Representations -> projections, and predictions from them."""
    for i in range(3):
      x = getattr(self, f"projector_{i}")(x)
    y = x
    for i in range(2):
      y = getattr(self, f"predictor_{i}")(y)
    return x, y


class MocoModel(nn.Module):
  """An encoder and its heads, whose parameters are under `moco`.

  Attributes:
    encoder: images -> representations.
    hidden, outputs: as of `Heads`.
  """

  encoder: nn.Module
  hidden: int
  outputs: int

  def setup(self):
    nn.share_scope(self, self.encoder)
    self.moco = Heads(self.hidden, self.outputs)

  def __call__(
    self,
    image: Float[Array, "BV H W c"],
    *,
    views: int = 1,
    train: bool = False,
  ) -> tuple[
    Float[Array, "B V R"], Float[Array, "B V E"], Float[Array, "B V E"]
  ]:
    """Views of images -> representations, projections and predictions.

    Args:
      image: from `merge`.
      views: V.
      train: turns on dropout.
    """
    x = self.encoder(image, train=train).astype(jnp.float32)
    x = split(x, views)
    return x, *self.moco(x)


def compare(
  queries: Float[Array, "B E"], keys: Float[Array, "B E"], temperature: float
) -> Float[Array, "B B"]:
  """Cosines of every query with the keys of the whole batch, over T."""
  # Each device needs the keys of all.
  cosines = jnp.einsum(
    "be,ce->bc", normalise(queries), replicate(normalise(keys))
  )
  return constrain(cosines, "B _") / temperature


@dataclasses.dataclass(frozen=True)
class Moco(Objective):
  """Symmetrised InfoNCE of two views against an averaged encoder.

  The prediction of each view is to be most like what the averaged encoder makes
  of the other view of its image, among those of all images of the batch. So a
  batch is not split into micro-batches: it would be another loss.

  As in the paper a ViT learns with its patch projection as it was initialised:
  `optim.multipliers=(("^embedding/", 0.0),)`, which the recipe has. Beside
  loss, the metrics are accuracy, the share of views that find their other view;
  and spread, `measure_spread` of the encoder's representations.

  Attributes:
    model: the encoder.
    setting: facts of the run.
    temperature: T, by which cosines are divided (section 4.1).
    momentum: that of the average at the beginning; it rises to 1 along half a
      cosine (section 5.1).
    hidden: width of the hidden layers of projector and predictor.
    outputs: width of what they make of a view.
  """

  model: nn.Module
  setting: Setting = ONE_VIEW
  _: dataclasses.KW_ONLY
  temperature: Positive = 0.2
  momentum: Rate = 0.99
  hidden: Count = 4096
  outputs: Count = 256

  uses_labels: ClassVar[bool] = False
  compares_views: ClassVar[bool] = True
  splits: ClassVar[bool] = False
  VIEWS: ClassVar[int] = 2

  @property
  def module(self) -> MocoModel:
    """The encoder with projector and predictor."""
    return MocoModel(self.model, self.hidden, self.outputs)

  def find_errors(self, height: int, width: int, channels: int) -> list[str]:
    """Lists what of the run does not go together with comparing two views."""
    errors = find_view_errors("moco", self.setting, self.VIEWS)
    if self.setting.views > self.VIEWS or self.setting.local:
      errors.append(
        f"objective.name='moco' compares two views of an image, not "
        f"data.views.count={self.setting.views} and "
        f"data.views.local={self.setting.local}: set them to 2 and 0"
      )
    if self.setting.accumulate not in ("auto", 1):
      errors.append(
        f"objective.name='moco' compares all images of a batch, which "
        f"train.accumulate={self.setting.accumulate} would split: set it to 1, "
        f"and save memory with model.remat"
      )
    return errors + super().find_errors(height, width, channels)

  def init_aux(self, params: Any, key: jax.Array) -> Any:
    """The averaged encoder and projector: those of the beginning."""
    del key
    return {"momentum": jax.tree.map(jnp.copy, params)}

  def update_aux(self, aux: Any, params: Any, step: jax.Array) -> Any:
    """Moves the average towards the new parameters.

    The released program does so at the beginning of the next step, and by the
    momentum of that.
    """
    momentum = compute_momentum(self.momentum, step + 1, self.setting.steps)
    return {"momentum": move(aux["momentum"], params, momentum)}

  def forward(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> Any:
    """What the parameters make of an image's views, here of equal ones."""
    views = jnp.stack([image] * self.VIEWS, axis=1)
    return self._predict(params, views, key)

  def observe(
    self, aux: Any, image: Float[Array, "B H W c"], *frozen: Any
  ) -> Float[Array, "B V E"]:
    """What the averaged encoder makes of an image's views, as `forward`."""
    del frozen
    return self._project(aux, jnp.stack([image] * self.VIEWS, axis=1))

  def _predict(self, params, views, key):
    return self.module.apply(
      {"params": params},
      merge(views),
      views=self.VIEWS,
      train=True,
      rngs={"dropout": key},
    )

  def _project(self, aux, views):
    found: Any = self.module.apply(
      {"params": aux["momentum"]}, merge(views), views=self.VIEWS
    )
    _, keys, _ = found
    return jax.lax.stop_gradient(keys)

  def loss(
    self,
    params: Any,
    aux: Any,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *frozen: Any,
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of a batch, as of `Objective`; it has `views` [B 1 H W c]."""
    del frozen
    views = stack_views(batch, "image", "views")
    representations, _, queries = self._predict(params, views, key)
    keys = self._project(aux, views)
    own = jnp.arange(len(queries))
    losses, hits = jnp.zeros(len(queries)), jnp.zeros(len(queries))
    for i in range(self.VIEWS):
      logits = compare(queries[:, i], keys[:, 1 - i], self.temperature)
      found = optax.losses.softmax_cross_entropy_with_integer_labels(
        logits, own
      )
      losses += 2 * self.temperature * found
      hits += (jnp.argmax(logits, axis=-1) == own) / self.VIEWS
    mask = batch["mask"]
    count = mask.sum(dtype=jnp.float32)
    total = jnp.where(mask, losses, 0).sum()
    spread = measure_spread(jax.lax.stop_gradient(representations))
    metrics = {
      "loss": (total, count),
      "accuracy": (jnp.where(mask, hits, 0).sum(), count),
      "spread": (spread, jnp.ones(())),
    }
    return total / jnp.maximum(count, 1), (metrics, aux)

  def find_collapse(self, values: Mapping[str, float]) -> str | None:
    """Says that representations have become alike, as of `Objective`."""
    if values["spread"] >= COLLAPSED:
      return None
    return (
      f"representations have collapsed: the encoder says the same of every "
      f"image (spread {values['spread']:.2g}, 0 is all alike): lower optim.lr, "
      f"lengthen the warm-up, keep the patch projection fixed with "
      f"optim.multipliers, or raise objective.momentum"
    )
