# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The classes of weights: their names, and the order of a data set's."""

import collections
import dataclasses
import os
from collections.abc import Sequence

from vit_jax.config import ConfigError
from vit_jax.config.errors import counted
from vit_jax.convert.weights import Weights
from vit_jax.data.folder_names import normalize
from vit_jax.data.info import DatasetInfo
from vit_jax.storage.paths import locate
from vit_jax.storage.untrusted import MAX_TEXT, parse_json, read_file

SHOWN = 5  # Names of classes in a message.


def match_classes(
  weights: Weights, names: Sequence[str], info: DatasetInfo
) -> tuple[Weights, str | None]:
  """Puts the classes of weights into the order of the data's, by their names.

  Classes that only the weights have follow. Names that are numbers in their
  order are none; of folders, "10" comes before "2".

  Args:
    weights: the weights.
    names: names of their classes; empty if unknown.
    info: facts of the data set.

  Returns:
    The weights, and a note if they were matched otherwise.

  Raises:
    ConfigError: if they cannot be matched, with what differs.
  """
  if not weights.num_classes:
    raise ConfigError(
      f"{weights.source} has no head, so it cannot classify; --evals=fewshot, "
      f"knn and linear need none"
    )
  if not info.num_classes:
    raise ConfigError(
      f"{info.name} has no classes to compare with: take images that have, as "
      f"--data=folder:DIR"
    )
  theirs = [normalize(x) for x in names]
  ours = [normalize(x) for x in info.class_names]
  if theirs == ours and ours:
    return weights, None
  if is_shuffled(ours) and {*theirs} != {*ours}:
    if weights.num_classes == len(ours):
      numbered = names or sorted(ours, key=int)
      named = dataclasses.replace(weights, class_names=tuple(numbered))
      found = select_classes(named, [int(x) for x in ours])
      return found, "classes are matched by their numbers, not by name"
  names, ours_named = tuple(names), not is_numbered(ours)
  if is_numbered(theirs) or not ours_named:
    if weights.num_classes != info.num_classes:
      raise ConfigError(
        f"{weights.source} has {weights.num_classes:,} classes and "
        f"{info.name} {info.num_classes:,}, so they cannot be matched by their "
        f"order: --classes=FILE names the classes of the weights"
      )
    new = info.class_names if ours_named else names or info.class_names
    found = dataclasses.replace(weights, class_names=tuple(new))
    return found, "classes are matched by their order, not by name"
  counts = collections.Counter(theirs)
  lacking = [x for x in ours if not counts[x]]
  twice = [x for x in ours if counts[x] > 1]
  if lacking or twice:
    what = f"lacks {len(lacking):,} of the {len(ours):,}: {_join(lacking)}"
    if not lacking:
      what = f"has several with the same name: {_join(twice)}"
    raise ConfigError(
      f"the classes of {weights.source} ({_join(theirs)}) are not those of "
      f"{info.name}: it {what}\n"
      f"  --classes=FILE gives them the data's names; --classes=data says that "
      f"they are those of the data, in the same order"
    )
  place_of = {name: i for i, name in enumerate(theirs)}
  order = [place_of[name] for name in ours]
  order += sorted({*range(len(theirs))} - {*order})
  named = dataclasses.replace(weights, class_names=names)
  found = select_classes(named, order)
  more = len(theirs) - len(ours)
  note = f"not in the data: {counted(more, 'class')} of the weights"
  return found, note if more else None


def is_numbered(names: Sequence[str]) -> bool:
  """Whether names of classes are no more than their order, or none."""
  return list(names) == [str(i) for i in range(len(names))]


def is_shuffled(names: Sequence[str]) -> bool:
  """Whether names are the numbers from 0 on, in another order than theirs."""
  if not all(x.isdecimal() for x in names):
    return False
  numbers = [int(x) for x in names]
  return sorted(numbers) == [*range(len(names))] != numbers


def select_classes(weights: Weights, order: Sequence[int]) -> Weights:
  """The same weights with some of their classes, in another order.

  Raises:
    ConfigError: if the weights have no head.
  """
  if not weights.num_classes:
    raise ConfigError(f"{weights.source} has no head, so it has no classes")
  params = dict(weights.params)
  for path in ("head/kernel", "head/bias"):
    params[path] = params[path][..., list(order)]
  names = weights.class_names
  return dataclasses.replace(
    weights,
    params=params,
    num_classes=len(order),
    class_names=tuple(names[i] for i in order) if names else (),
  )


def _join(names: Sequence[str]) -> str:
  """The first names, and how many more there are."""
  more = len(names) - SHOWN
  text = ", ".join(map(repr, names[:SHOWN]))
  return text + (f" and {more:,} more" if more > 0 else "")


def read_classes(path: str | os.PathLike) -> list[str]:
  """Reads names of classes: one a line, or JSON.

  An object has the index as its key; where its values are lists, as in the
  list of ImageNet's classes, their last entry is the name.

  Raises:
    ConfigError: if it cannot be read, or an index is missing.
  """
  location = locate(path)
  try:
    text = read_file(location, MAX_TEXT).decode("utf-8-sig")
  except (OSError, ValueError) as error:
    raise ConfigError(f"classes={os.fspath(path)}: {error}") from error
  if not text.lstrip().startswith(("{", "[")):
    return [line.strip() for line in text.splitlines() if line.strip()]
  try:
    found = parse_json(text.encode())
    if isinstance(found, dict):
      found = [found[str(i)] for i in range(len(found))]
  except (KeyError, ValueError) as error:
    raise ConfigError(
      f"classes={os.fspath(path)} must hold a name a line, a JSON list, or an "
      f"object whose keys are 0, 1, 2, ...: {error}"
    ) from error
  return [str(x[-1] if isinstance(x, list) else x) for x in found]
