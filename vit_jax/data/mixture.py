# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several sources at once: data.source=mix:WEIGHT*SOURCE,WEIGHT*SOURCE...

Training draws from each source in proportion to its weight, whatever its size;
weights need not add up to one, and are rounded to a hundredth of the smallest.
Classes of the same name are one class. A split, as "train[:10%]", is taken of
every source. An epoch has as many examples as all sources together, and an
evaluation uses every example once.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vit_jax.data.examples import Examples
from vit_jax.data.info import DataError, DatasetInfo


@dataclasses.dataclass(frozen=True)
class Mixture(Sequence[dict[str, Any]]):
  """The examples of several sources, one source after another.

  Attributes:
    parts: the sources.
    weights: weight of each in training.
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


def _relabel(table: np.ndarray, example: dict[str, Any]) -> dict[str, Any]:
  """Maps the label or labels of an example of one source; -1 stays -1.

  Args:
    table: class of the source -> class of the mixture.
    example: as the source has it.
  """
  label = np.asarray(example["label"])
  return example | {"label": np.where(label < 0, label, table[label])}


def parse_mixture(name: str) -> dict[str, float]:
  """Parses "2*tfds:cifar10,1*folder:photos" to source -> weight.

  Raises:
    DataError: if it has another form.
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
        f"data.source='mix:{name}' has an invalid part {part!r}: write "
        f"mix:WEIGHT*SOURCE,WEIGHT*SOURCE, as 'mix:2*tfds:cifar10,"
        f"1*folder:photos', with each source once"
      )
    weights[source] = weight
  return weights


def join_classes(infos: Sequence[DatasetInfo]) -> tuple[str, ...]:
  """Joins the class names of all sources, in order of first appearance.

  Returns:
    The names; empty if a source has none, or no classes.

  Raises:
    DataError: if names are missing, and the numbers of classes differ.
  """
  if all(info.class_names for info in infos):
    return tuple(dict.fromkeys(x for info in infos for x in info.class_names))
  if not all(info.num_classes for info in infos):
    return ()
  if len({info.num_classes for info in infos}) > 1:
    numbers = ", ".join(f"{x.name} {x.num_classes:,}" for x in infos)
    raise DataError(
      f"a mixture needs class names, or the same number of classes in every "
      f"source; it has: {numbers}"
    )
  return ()


def load_info(name: str, load: Callable[[str], DatasetInfo]) -> DatasetInfo:
  """Loads the facts of mix:NAME.

  Args:
    name: weights and sources.
    load: source -> its facts.

  Raises:
    DataError: if the classes of the sources cannot be joined.
  """
  infos = [load(source) for source in parse_mixture(name)]
  class_names = join_classes(infos)
  several = [x.label_slots for x in infos if x.label_slots is not None]
  return DatasetInfo(
    name=f"mix:{name}",
    directory=None,
    num_classes=len(class_names) or min(x.num_classes for x in infos),
    class_names=class_names,
    channels=max(info.channels for info in infos),
    splits={},
    # None: one label an image in every source; 0: unknown in one of them.
    label_slots=min(several) and max(several) if several else None,
    parts=tuple(infos),
  )


def open_mixture(
  name: str,
  load: Callable[[str], DatasetInfo],
  open_source: Callable[[str], Sequence[dict[str, Any]]],
) -> Mixture:
  """Opens the examples of mix:NAME.

  Args:
    name: weights and sources.
    load: source -> its facts.
    open_source: source -> its examples.
  """
  weights = parse_mixture(name)
  # First, for its error says how to prepare a source.
  parts = [open_source(source) for source in weights]
  infos = [load(source) for source in weights]
  rows = {label: i for i, label in enumerate(join_classes(infos))}
  if rows:
    tables = [[rows[label] for label in info.class_names] for info in infos]
    parts = [
      Examples(part, functools.partial(_relabel, np.array(table)))
      for part, table in zip(parts, tables, strict=True)
    ]
  return Mixture(parts, list(weights.values()))
