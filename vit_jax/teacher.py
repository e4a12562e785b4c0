# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The teacher of a distilled run: read, held against the student, placed.

It is read at every start of a run and saved with none of its checkpoints: no
step changes it, and it is often larger than the student.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from vit_jax.config import ConfigError, raise_all
from vit_jax.convert.formats import get_format
from vit_jax.convert.records import make_preprocess
from vit_jax.convert.weights import (
  Weights,
  get_abstract_params,
  load_weights,
  nest,
)
from vit_jax.models.public import CHECKPOINTS
from vit_jax.objectives.distillation import Teacher
from vit_jax.sharding import place
from vit_jax.train_state import get_digest


def load_teacher(path: str, dtype: str) -> Weights:
  """Reads a teacher of any format that we know.

  A published file, as `python -m vit_jax.models --download` names it, need not
  be there to lower or to plan a recipe: its name says what model it is. It has
  no parameters then.

  Args:
    path: as of `load_weights`.
    dtype: of its activations.

  Raises:
    ConfigError: as `load_weights`.
  """
  location = epath.Path(path).expanduser()
  row = CHECKPOINTS.get(location.stem)
  if row and row.filename == location.name and not location.exists():
    preprocess = make_preprocess((row.resolution, row.resolution), 3)
    return Weights(
      params={},
      variant=row.variant,
      fields={"dtype": dtype, **get_format(row.format).fields},
      num_classes=row.classes or 0,
      preprocess=preprocess,
      source=path,
    )
  try:
    return load_weights(path, dtype=dtype)
  except ConfigError as error:
    raise ConfigError(f"objective.teacher: {error}") from error


def check_teacher(
  weights: Weights,
  num_classes: int,
  class_names: Sequence[str],
  channels: int,
) -> None:
  """Makes sure that a teacher knows a student's classes and sees its images.

  Args:
    weights: the teacher.
    num_classes: Y of the student.
    class_names: of its data, if they are known.
    channels: c of its images.

  Raises:
    ConfigError: for all that does not fit.
  """
  errors, name = [], f"objective.teacher={weights.source}"
  if not weights.num_classes:
    errors.append(f"{name} has no head, so it says nothing of any class")
  elif weights.num_classes != num_classes:
    errors.append(
      f"{name} knows {weights.num_classes:,} classes, and the student has "
      f"{num_classes:,}: fine-tune it on this data first, with "
      f"--config.init={weights.source}"
    )
  elif weights.class_names and class_names:
    pairs = zip(weights.class_names, class_names, strict=True)
    other = [pair for pair in enumerate(pairs) if pair[1][0] != pair[1][1]]
    if other:
      index, (theirs, ours) = other[0]
      errors.append(
        f"{name} knows other classes: {len(other):,} of {num_classes:,} are "
        f"not the data's, as class {index}, {theirs!r} there and {ours!r} here"
      )
  if weights.cross_entropy == "sigmoid":
    errors.append(
      f"{name} was trained with the sigmoid loss: it says no distribution over "
      f"the classes, which a student could match; fine-tune it with "
      f"objective.cross_entropy='softmax' first"
    )
  seen = weights.preprocess["channels"]
  if seen != channels:
    errors.append(
      f"{name} sees images of {seen} channels, and the data have {channels}"
    )
  raise_all(errors)


def check_digest(weights: Weights, expected: str | None) -> str | None:
  """The digest of a teacher's parameters; None if they are not there.

  Raises:
    ConfigError: if another one is expected.
  """
  if not weights.params:
    return expected
  found = get_digest(weights.tree)
  if expected not in (None, found):
    raise ConfigError(
      f"objective.teacher={weights.source} is another than the config's:\n"
      f"  - objective.teacher_sha256={expected}\n"
      f"  + objective.teacher_sha256={found}"
    )
  return found


def make_teacher(weights: Weights) -> Teacher:
  """How a teacher reads the images of its student."""
  preprocess = weights.preprocess
  return Teacher(
    model=weights.model,
    size=weights.size,
    mean=tuple(preprocess["mean"]),
    std=tuple(preprocess["std"]),
  )


def get_abstract_teacher(mesh: Mesh, weights: Weights) -> Any:
  """A teacher's variables as shapes, placed as a model's parameters are."""
  shapes = get_abstract_params(
    weights.model, weights.size, weights.preprocess["channels"]
  )
  return place(mesh, {"params": nest(shapes)})


def place_teacher(mesh: Mesh, weights: Weights) -> Any:
  """A teacher's variables as arrays, where they belong.

  Raises:
    ConfigError: if its file is not there, with the command that fetches it.
  """
  if not weights.params:
    path = epath.Path(weights.source)
    raise ConfigError(
      f"objective.teacher={weights.source} is not there: fetch it with\n"
      f"  python -m vit_jax.models --download={path.stem} --to={path.parent}"
    )
  return jax.tree.map(
    lambda array, leaf: jax.make_array_from_callback(
      leaf.shape, leaf.sharding, lambda index: array[index]
    ),
    {"params": weights.tree},
    get_abstract_teacher(mesh, weights),
  )


def describe_teacher(weights: Weights) -> str:
  """A line for people."""
  height, width = weights.size
  count = sum(math.prod(array.shape) for array in weights.params.values())
  guess = ""
  if weights.is_size_guessed:
    guess = (
      " (a guess; python -m vit_jax.convert takes --source_size and records it)"
    )
  return (
    f"teacher {weights.source}: {weights.variant}, {count:,} parameters, sees "
    f"{height}x{width} px{guess}"
  )
