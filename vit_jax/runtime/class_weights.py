# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Factors of the classes in the loss, from the numbers of their images."""

from collections.abc import Sequence
from typing import Literal

from vit_jax.config import ConfigError
from vit_jax.data.pipeline import Data
from vit_jax.data.sources import count_classes


def balance_classes(counts: Sequence[int]) -> tuple[float, ...]:
  """Factors with which each class counts as much, of mean 1 over all images.

  Args:
    counts: number of training images of each; a class without one gets 0.
  """
  there = [count for count in counts if count]
  mean = sum(there) / len(there)
  return tuple(mean / count if count else 0.0 for count in counts)


def find_class_weights(
  given: Literal["balanced"] | Sequence[float], data: Data, num_classes: int
) -> tuple[float, ...]:
  """Finds the numbers of objective.class_weights.

  Args:
    given: the key's value.
    data: the data section.
    num_classes: Y; classes that the data do not have get 0.

  Raises:
    ConfigError: if the images of each class are not known, or numbers are
      missing.
  """
  if given == "balanced":
    counts = count_classes(data.source, data.train)
    given = balance_classes(counts + [0] * (num_classes - len(counts)))
  if len(given) != num_classes:
    raise ConfigError(
      f"objective.class_weights has {len(given)} numbers, and there are "
      f"{num_classes:,} classes: give one for each"
    )
  return tuple(map(float, given))
