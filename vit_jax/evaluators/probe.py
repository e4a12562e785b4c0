# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is common to the probes: evaluations of features, not of the head."""

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from vit_jax.config import ConfigError, Count
from vit_jax.data.pipeline import Data
from vit_jax.evaluators.representation import Features, embed
from vit_jax.train_state import TrainState, get_evaluated_params


@dataclasses.dataclass(frozen=True)
class Probe(abc.ABC):
  """An evaluation of the features of frozen parameters.

  Attributes:
    objective: its model is evaluated.
    data: the data section.
    mesh: devices to run on.
    channels: c.
    default_batch_size: training's batch size (B).
    split: split to evaluate on.
    train_split: split with whose labels the probe is fitted.
    batch_size: global batch size (B) of the model; None is training's.
    params: "average" evaluates the moving average of the parameters where there
      is one (optim.ema), "raw" the parameters themselves.

  Raises:
    ConfigError: if images have several labels.
  """

  objective: Any
  data: Data
  mesh: Mesh
  channels: int
  default_batch_size: int
  _: dataclasses.KW_ONLY
  split: str
  train_split: str = "train"
  batch_size: Count | None = None
  params: Literal["average", "raw"] = "average"

  def __post_init__(self):
    if self.data.label_slots:
      raise ConfigError(
        f"images of {self.data.source} have several labels: few-shot and "
        f"linear probes and k-NN need one each, so leave them out"
      )

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Computes the features of both splits and yields the accuracies.

    Args:
      state: its parameters are evaluated.
      mark: called after each batch.

    Raises:
      RuntimeError: unless every example was seen exactly once.
    """
    train = self.embed(state, self.train_split, mark)
    yield from self.measure(train, self.embed(state, self.split, mark), mark)

  def embed(
    self, state: TrainState, split: str, mark: Callable[[], None]
  ) -> Features:
    """Computes the features of a split."""
    params = state.params
    if self.params == "average":
      params = get_evaluated_params(state)
    return embed(
      self.objective.model,
      params,
      self.data,
      self.mesh,
      self.channels,
      split=split,
      batch_size=self.batch_size or self.default_batch_size,
      mark=mark,
    )

  @abc.abstractmethod
  def measure(
    self,
    train: Features,
    test: Features,
    mark: Callable[[], None] = lambda: None,
  ) -> Iterator[tuple[str, float]]:
    """Fits the probe on features and yields its accuracies on others.

    Args:
      train: features to fit it on.
      test: features to evaluate it on.
      mark: called now and then, to show that it proceeds.
    """


def count_classes(train: Features, test: Features) -> int:
  """Counts the classes (Y) of labels: the largest, and 1."""
  return 1 + max(int(x.label[x.mask].max()) for x in (train, test))


def put_everywhere(mesh: Mesh, array: Any) -> jax.Array:
  """Puts a host array, the same in all processes, on every device."""
  place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.make_array_from_callback(array.shape, place, lambda i: array[i])
