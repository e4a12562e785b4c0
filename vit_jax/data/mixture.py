# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several sources at once: data.source=mix:WEIGHT*SOURCE,WEIGHT*SOURCE...

Examples are drawn from each in proportion to its weight, whatever its size; the
weights need not add up to one, and count to a hundredth of the smallest.
Classes of the same name are one class. A split, as "train[:10%]", is that of
every source; an epoch has as many examples as they have together, and an
evaluation is of every example once.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vit_jax.data.info import DataError, DatasetInfo


@dataclasses.dataclass(frozen=True)
class Mixture(Sequence[dict[str, Any]]):
  """The examples of several sources, one source after another.

  Attributes:
    parts: the sources.
    weights: of each in training.
  """

  parts: Sequence[Sequence[dict[str, Any]]]
  weights: Sequence[float]

  def __len__(self) -> int:
    return sum(map(len, self.parts))

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(index)
    for part in self.parts:
      if index < len(part):
        break
      index -= len(part)
    return part[index]


@dataclasses.dataclass(frozen=True)
class Relabelled(Sequence[dict[str, Any]]):
  """A source in the classes of a mixture.

  Attributes:
    source: examples by index.
    table: class of the source -> class of the mixture.
  """

  source: Sequence[dict[str, Any]]
  table: np.ndarray

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    example = self.source[index]
    label = np.asarray(example["label"])
    label = np.where(label < 0, label, self.table[label])
    return example | {"label": label}


def parse_mixture(name: str) -> dict[str, float]:
  """source -> weight, of "2*tfds:cifar10,1*folder:photos".

  Raises:
    DataError: if it is not of this form.
  """
  weights = {}
  for part in name.split(","):
    text, star, source = part.strip().partition("*")
    try:
      weight = float(text)
    except ValueError:
      weight = math.nan
    if not star or not source or not 0 < weight < math.inf or source in weights:
      raise DataError(
        f"data.source='mix:{name}' is not of the form "
        f"mix:WEIGHT*SOURCE,WEIGHT*SOURCE, as 'mix:2*tfds:cifar10,"
        f"1*folder:photos', with each source once: see {part!r}"
      )
    weights[source] = weight
  return weights


def join_classes(infos: Sequence[DatasetInfo]) -> tuple[str, ...]:
  """Names of all classes, in the order in which they are met.

  Raises:
    DataError: if names are missing, and the sources differ in their number.
  """
  if all(info.class_names for info in infos):
    return tuple(dict.fromkeys(x for info in infos for x in info.class_names))
  if len({info.num_classes for info in infos}) > 1:
    numbers = ", ".join(f"{x.name} {x.num_classes:,}" for x in infos)
    raise DataError(
      f"a mixture needs class names, or as many classes in every source; "
      f"there are: {numbers}"
    )
  return ()


def load_info(name: str, load: Callable[[str], DatasetInfo]) -> DatasetInfo:
  """Facts of mix:NAME.

  Args:
    name: weights and sources.
    load: source -> facts of it.

  Raises:
    DataError: if the sources do not go together.
  """
  infos = [load(source) for source in parse_mixture(name)]
  class_names = join_classes(infos)
  several = [x.label_slots for x in infos if x.label_slots is not None]
  return DatasetInfo(
    name=f"mix:{name}",
    directory=None,
    num_classes=len(class_names) or infos[0].num_classes,
    class_names=class_names,
    channels=max(info.channels for info in infos),
    splits={},
    # None: one label an image everywhere; 0: somewhere nobody knows how many.
    label_slots=min(several) and max(several) if several else None,
    parts=tuple(infos),
  )


def open_mixture(
  name: str,
  load: Callable[[str], DatasetInfo],
  open_source: Callable[[str], Sequence[dict[str, Any]]],
) -> Mixture:
  """The examples of mix:NAME.

  Args:
    name: weights and sources.
    load: source -> facts of it.
    open_source: source -> its examples.
  """
  weights = parse_mixture(name)
  parts = [open_source(source) for source in weights]  # Or says what to do.
  infos = [load(source) for source in weights]
  rows = {label: i for i, label in enumerate(join_classes(infos))}
  if rows:
    tables = [[rows[label] for label in info.class_names] for info in infos]
    parts = [
      Relabelled(part, np.array(table))
      for part, table in zip(parts, tables, strict=True)
    ]
  return Mixture(parts, list(weights.values()))
