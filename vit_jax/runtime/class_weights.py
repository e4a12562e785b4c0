# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Factors of the classes in the loss, from the numbers of their images."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from vit_jax.config import ConfigError
from vit_jax.data.label_map import list_labels
from vit_jax.data.pipeline import Data
from vit_jax.data.sources import parse_source

# Images of a prepared set that are read for their labels, at most: a few
# seconds on a disk, two minutes on a store.
READ = 50_000


def balance_classes(counts: Sequence[int]) -> tuple[float, ...]:
  """Factors with which each class counts as much, of mean 1 over all images.

  Args:
    counts: number of training images of each; a class without one gets 0.
  """
  there = [count for count in counts if count]
  mean = sum(there) / len(there)
  return tuple(mean / count if count else 0.0 for count in counts)


def count_classes(data: Data, num_classes: int) -> list[int]:
  """Counts the training images of each class.

  Args:
    data: the data section.
    num_classes: Y.

  Raises:
    ConfigError: of sources without labels at hand, and of large ones.
  """
  kind, _ = parse_source(data.source)
  why = "has none to count, or several of an image"
  if kind in ("folder", "tfds") and data.label_slots is None:
    source = data.open(data.train)
    if kind == "folder" or len(source) <= READ:
      counts = np.bincount(list_labels(source), minlength=num_classes)
      return [int(count) for count in counts]
    why = f"has {len(source):,} images, of which each would be read"
  raise ConfigError(
    f"objective.class_weights='balanced' counts the labels of folder:DIR, and "
    f"of tfds:NAME up to {READ:,} images; {data.source} {why}: give a number "
    f"for each class instead"
  )


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
    given = balance_classes(count_classes(data, num_classes))
  if len(given) != num_classes:
    raise ConfigError(
      f"objective.class_weights has {len(given)} numbers, and there are "
      f"{num_classes:,} classes: give one for each"
    )
  return tuple(map(float, given))
