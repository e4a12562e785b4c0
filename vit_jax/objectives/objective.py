# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What every objective has: the one interface between a loss and the rest."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float


class Setting(NamedTuple):
  """What an objective may know of the run that it is part of.

  Attributes:
    steps: length of the run.
    epoch: steps of an epoch.
    views: number of large views of an image.
    local: number of small ones.
    local_size: their height and width.
    accumulate: micro-batches of a batch, as configured.
    classes: number of classes of the data (Y).
  """

  steps: int = 1
  epoch: float = 1.0
  views: int = 1
  local: int = 0
  local_size: int = 1
  accumulate: int | Literal["auto"] = 1
  classes: int = 0


ONE_VIEW = Setting()


class Objective(abc.ABC):
  """A way to train a model: its loss, and what goes with it.

  Subclasses are frozen dataclasses whose first field is `model`, an encoder
  with or without a head; their keyword-only fields are config keys.

  Attributes:
    model: what a run is made for: evaluated, converted, fine-tuned.
    uses_labels: whether the loss reads labels. Without, the model is built
      without a head, and its output is the representation.
    compares_views: whether the loss compares views of an image, which an
      evaluation does not have. Such an objective has a field `setting`.
    splits: whether micro-batches add up to the loss of their batch.
    pools: whether the loss reads the representation that a head reads, not the
      patches before it, and so trains the weights that make it.
    averages: whether its aux has a `teacher`, an average of the parameters,
      which is evaluated and exported, so that optim.ema is refused.
  """

  model: nn.Module
  uses_labels: ClassVar[bool] = True
  compares_views: ClassVar[bool] = False
  splits: ClassVar[bool] = True
  pools: ClassVar[bool] = True
  averages: ClassVar[bool] = False

  @property
  def module(self) -> nn.Module:
    """The module whose parameters are trained.

    The model, or a module around it that shares its scope: the model's
    parameters keep their paths, and the objective's own lie in one subtree,
    which has the objective's name and is a row of `sharding.OWN`.
    """
    return self.model

  def clone(self, **fields: Any) -> "Objective":
    """The same objective of a model with other values of fields."""
    model = self.model.clone(**fields)
    return dataclasses.replace(self, model=model)  # type: ignore[type-var]

  def place(self, setting: Setting) -> "Objective":
    """The same objective as part of a run."""
    if not self.compares_views:
      return self
    return dataclasses.replace(self, setting=setting)  # type: ignore[type-var]

  def find_errors(self, height: int, width: int, channels: int) -> list[str]:
    """Lists what does not go together with the model or images of a size."""
    del height, width, channels
    return []

  def init_aux(self, params: Any, key: jax.Array) -> Any:
    """Makes the arrays that are kept beside the parameters; none by default."""
    del params, key
    return {}

  def update_aux(self, aux: Any, params: Any, step: jax.Array) -> Any:
    """Changes `aux` after the optimizer's update, as a momentum teacher.

    A step whose values are not finite undoes this, too.

    Args:
      aux: as `loss` returned it; of the last micro-batch, if there are several.
      params: the new parameters.
      step: number of steps done before this one.
    """
    del params, step
    return aux

  def forward(
    self, params: Any, image: Float[Array, "B H W c"], key: jax.Array
  ) -> Any:
    """The passes that the loss differentiates; their cost is the objective's.

    Args:
      params: parameters of `module`.
      image: augmented images.
      key: random key.
    """
    return self.module.apply(
      {"params": params}, image, train=True, rngs={"dropout": key}
    )

  def observe(
    self, aux: Any, image: Float[Array, "B H W c"], *frozen: Any
  ) -> Any:
    """The passes that get no gradient, as a teacher's; none by default."""
    del aux, image, frozen

  def reconstruct(
    self, params: Any, image: Float[Array, "B H W c"]
  ) -> tuple[Float[Array, "B H W c"], ...]:
    """Makes images of values in [-1, 1] to look at beside the given ones.

    What the encoder sees of each, and what is filled in; none by default.
    """
    del params, image
    return ()

  @abc.abstractmethod
  def loss(
    self,
    params: Any,
    aux: Any,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *frozen: Any,
  ) -> tuple[Float[Array, ""], tuple[dict, Any]]:
    """Mean loss of the examples that the batch's mask keeps.

    Gradient accumulation weighs micro-batches by the number of these.

    Args:
      params: parameters of `module`.
      aux: from `init_aux` or the step before.
      batch: image float [B H W c], label, mask bool [B].
      key: random key. What is drawn for an example does not depend on the mesh.
      *frozen: arrays that no step changes, as a teacher; no part of the state.

    Returns:
      The loss and (metrics, aux), with metrics as name -> (sum, count).
    """

  def evaluate(
    self, params: Any, batch: dict[str, jax.Array]
  ) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Metrics of a batch as name -> (sum, count), with "loss" among them.

    Nothing is random: an image has the same loss in every evaluation. An
    objective that compares views has no such loss.
    """
    raise NotImplementedError(f"{type(self).__name__} has no loss of one view")

  def find_collapse(self, values: Mapping[str, float]) -> str | None:
    """Says that all images have come to look alike, and what helps.

    Args:
      values: metrics of training, each the mean of a row.

    Returns:
      A message; None if they have not, or the objective cannot tell.
    """
    del values
    return None
