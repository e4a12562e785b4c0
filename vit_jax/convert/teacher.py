# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The teacher of a distilled run: reading, checking and placing it.

It is read at every start of a run and is not part of checkpoints: no step
changes it, and it is often larger than the student.
"""

from collections.abc import Sequence
from typing import Any

import jax
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh

from vit_jax.config import ConfigError, raise_all
from vit_jax.convert.formats import get_format
from vit_jax.convert.published import FILES, describe_download
from vit_jax.convert.weights import (
  Weights,
  load_weights,
  make_abstract_params,
)
from vit_jax.data.preprocess import Preprocess
from vit_jax.devices.auto import choose_attention
from vit_jax.objectives.distillation import Teacher
from vit_jax.sharding import place, put
from vit_jax.storage.paths import locate
from vit_jax.train_state import compute_digest


def load_teacher(path: str, dtype: str) -> Weights:
  """Reads a teacher of any known format.

  To lower or plan a recipe a published file, named as `python -m vit_jax.models
  --download` does, may be missing: its name determines the model. The result
  has no parameters then.

  Args:
    path: see `load_weights`.
    dtype: dtype of activations.

  Raises:
    ConfigError: as `load_weights`.
  """
  location = locate(path)
  row = FILES.get(location.stem)
  if row and row.filename == location.name and not location.exists():
    preprocess = Preprocess(
      height=row.resolution, width=row.resolution, channels=3
    )
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
  """Checks that a teacher has the student's classes and reads its images.

  Args:
    weights: the teacher.
    num_classes: number of classes of the student (Y).
    class_names: class names of the data, if known.
    channels: number of image channels (c).

  Raises:
    ConfigError: listing all that does not fit.
  """
  errors, name = [], f"objective.teacher={weights.source}"
  if not weights.num_classes:
    errors.append(
      f"{name} has no head, so it gives no logits; use another teacher"
    )
  elif weights.num_classes != num_classes:
    errors.append(
      f"{name} has {weights.num_classes:,} classes, but the student has "
      f"{num_classes:,}; fine-tune it on this data first, with "
      f"--config.init={weights.source}"
    )
  elif weights.class_names and class_names:
    pairs = zip(weights.class_names, class_names, strict=True)
    other = [pair for pair in enumerate(pairs) if pair[1][0] != pair[1][1]]
    if other:
      index, (theirs, ours) = other[0]
      errors.append(
        f"{name} has other classes than the data: {len(other):,} of "
        f"{num_classes:,}, e.g. class {index}, {theirs!r} there and {ours!r} "
        f"here"
      )
  if weights.cross_entropy == "sigmoid":
    errors.append(
      f"{name} was trained with the sigmoid loss, so its outputs are not a "
      f"distribution over classes; fine-tune it with "
      f"objective.cross_entropy='softmax' first"
    )
  seen = weights.preprocess.channels
  if seen != channels:
    errors.append(
      f"{name} reads images of {seen} channels, but the data has {channels}"
    )
  raise_all(errors)


def check_digest(weights: Weights, expected: str | None) -> str | None:
  """Computes the digest of a teacher's parameters.

  Args:
    weights: the teacher.
    expected: objective.teacher_sha256 of the config, or None for any.

  Returns:
    The sha256; `expected` if the teacher was read without parameters.

  Raises:
    ConfigError: if the digest is not the expected one.
  """
  if not weights.params:
    return expected
  found = compute_digest(weights.tree)
  if expected not in (None, found):
    raise ConfigError(
      f"objective.teacher={weights.source} is not the config's teacher:\n"
      f"  - objective.teacher_sha256={expected}\n"
      f"  + objective.teacher_sha256={found}"
    )
  return found


def make_teacher(weights: Weights, device: Any) -> Teacher:
  """Makes the teacher that an objective calls on the student's images.

  Args:
    weights: of the teacher.
    device: one that it runs on, which decides on the kernel of attention.
  """
  model, _ = choose_attention(weights.model, device, *weights.size)
  return Teacher(
    model=model,
    size=weights.size,
    mean=weights.preprocess.mean,
    std=weights.preprocess.std,
  )


def make_abstract_teacher(mesh: Mesh, weights: Weights) -> Any:
  """A teacher's variables as shapes with the shardings of a model's."""
  shapes = make_abstract_params(
    weights.model, weights.size, weights.preprocess.channels
  )
  return place(mesh, {"params": unflatten_dict(shapes, sep="/")})


def place_teacher(mesh: Mesh, weights: Weights) -> Any:
  """Places a teacher's variables on the devices of a mesh.

  Raises:
    ConfigError: if its file is missing, with the command that downloads it.
  """
  if not weights.params:
    raise ConfigError(
      f"objective.teacher={weights.source} does not exist"
      f"{describe_download(weights.source)}"
    )
  abstract = make_abstract_teacher(mesh, weights)
  return jax.tree.map(put, {"params": weights.tree}, abstract)
