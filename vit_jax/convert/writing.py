# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights into a file of any format that we know."""

from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from vit_jax import models
from vit_jax.checkpoint import save_params
from vit_jax.convert import files, records
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import Format, get_format
from vit_jax.convert.table import Arrays, write_rows
from vit_jax.convert.weights import OURS, Weights
from vit_jax.metrics import write_json


def save_weights(
  weights: Weights,
  path: str,
  form: str = OURS,
  *,
  prefix: str = "",
  bfloat16: bool = False,
  overwrite: bool = False,
) -> list[epath.Path]:
  """Writes weights in a format, and beside them what it does not say.

  Ours is a run's directory. The others are a file, or for a path without a
  suffix a directory of the names that their own loaders look for.

  Args:
    weights: what to write.
    path: where; local or gs://.
    form: name of the format.
    prefix: before every name in a .npz, as "opt/target/".
    bfloat16: whether arrays are rounded to bfloat16.
    overwrite: whether what is there may be replaced.

  Returns:
    The files, or the directory, written.

  Raises:
    CheckpointError: if the format has no place for something of the model, or
      the path can not be written.
  """
  location = epath.Path(path).expanduser()
  if form == OURS:
    _save_run(weights, location, overwrite)
    return [location]
  target = get_format(form)
  arrays = to_format(weights, target)
  if bfloat16:
    arrays = {n: x.astype(ml_dtypes.bfloat16) for n, x in arrays.items()}
  beside = {}
  if target.suffix == ".npz":
    file = location
    arrays = {prefix + name: x for name, x in arrays.items()}
    files.write_npz(file, arrays, overwrite=overwrite)
  else:
    file = location
    if location.suffix != target.suffix:
      file = location / f"model{target.suffix}"
      beside = _get_beside(weights, form)
    files.write_safetensors(file, arrays, {"format": "pt"}, overwrite=overwrite)
  written = [file]
  beside[records.get_manifest_path(file).name] = weights.manifest
  for name, content in beside.items():
    write_json(file.parent / name, content)
    written.append(file.parent / name)
  return written


def _get_beside(weights: Weights, form: str) -> dict[str, Any]:
  """What the loaders of others look for beside the weights."""
  fields = get_all_fields(weights)
  if form == "hugging_face":
    return records.make_hugging_face(
      fields, weights.num_classes, weights.manifest
    )
  return records.make_timm(
    weights.variant, fields, weights.num_classes, weights.manifest
  )


def get_all_fields(weights: Weights) -> dict[str, Any]:
  """Every field of a model, defaults too."""
  allowed = models.parameters(weights.variant)
  return {
    name: weights.fields.get(name, parameter.default)
    for name, parameter in allowed.items()
    if name != "variant"
  }


def to_format(weights: Weights, form: Format) -> Arrays:
  """Name -> array as a format has them.

  Raises:
    CheckpointError: naming all that the format has no place for.
  """
  fields = get_all_fields(weights)
  lines = [
    f"  {name}={fields[name]!r}"
    for name, values in form.holds.items()
    if name in fields and fields[name] not in values
  ]
  ours = form.fold(weights.params)
  heads = fields.get("num_heads") or 1
  written, left = write_rows(form.rows, ours, heads)
  lines += [f"  {path} {tuple(ours[path].shape)}" for path in left]
  if form.name == "hugging_face" and weights.num_classes:
    if fields.get("representation_size"):
      lines.append("  pre_logits together with a head")
  if lines:
    raise CheckpointError(
      f"{form.name} has no place for what {weights.source or 'the model'} "
      f"has:\n" + "\n".join(lines)
    )
  arrays = {name: np.ascontiguousarray(x) for name, x in written.items()}
  return form.finish(arrays)


def _save_run(weights: Weights, location: epath.Path, overwrite: bool) -> None:
  """Writes a directory that is read as a run is."""
  if (location / records.MANIFEST).exists() and not overwrite:
    raise CheckpointError(f"{location} holds a run already: use another path")
  save_params(location / "checkpoints", weights.tree)
  write_json(location / records.MANIFEST, weights.manifest)
