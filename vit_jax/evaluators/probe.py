# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is common to the probes: evaluations of features, not of the head."""

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from vit_jax.config import ConfigError
from vit_jax.evaluators.representation import Features, embed
from vit_jax.evaluators.split import Evaluator
from vit_jax.train_state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe(Evaluator):
  """An evaluation of the features of frozen parameters.

  Attributes:
    train_split: split with whose labels the probe is fitted.

  Raises:
    ConfigError: if images have several labels, or masks.
  """

  train_split: str = "train"

  def __post_init__(self):
    if self.data.label_slots:
      raise ConfigError(
        f"images of {self.data.source} have several labels: few-shot and "
        f"linear probes and k-NN need one each, so leave them out"
      )

    if self.data.has_masks:
      raise ConfigError(
        f"images of {self.data.source} have masks: few-shot and linear probes "
        f"and k-NN need a label of each, so give --data=SOURCE of others"
      )

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Computes the features of both splits and yields the accuracies.

    Arguments are those of `Evaluator.run`.
    """
    train = self.embed(state, self.train_split, mark)
    yield from self.measure(train, self.embed(state, self.split, mark), mark)

  def embed(
    self, state: TrainState, split: str, mark: Callable[[], None]
  ) -> Features:
    """Computes the features of a split."""
    return embed(
      self.objective.model,
      self.get_params(state),
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
