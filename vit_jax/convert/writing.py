# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writing weights in any known format."""

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from vit_jax.checkpoint import save_params
from vit_jax.config import get
from vit_jax.convert import files, storing
from vit_jax.convert.fields import KINDS, get_kind
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import FORMATS, Format, get_format
from vit_jax.convert.hugging_face import make_hugging_face
from vit_jax.convert.lazy import Lazy, load
from vit_jax.convert.manifest import MANIFEST, make_manifest_path
from vit_jax.convert.npz import PREFIXES
from vit_jax.convert.pixels import list_nearest
from vit_jax.convert.table import Arrays, write_rows
from vit_jax.convert.timm import describe_constants, make_timm
from vit_jax.convert.weights import OURS, Weights
from vit_jax.storage.files import write_json
from vit_jax.storage.paths import check_directory, expand, locate

SUFFIXES = (".npz", ".safetensors")
SOUP = "soup.json"  # Beside the manifest of an average: what is in it.
# Kind of a model -> the format of its .npz files.
NPZ = dict(vit="authors", mixer="mixer", resnet="bit")
# Format whose loaders read several files -> bytes of the largest by default,
# that of `save_pretrained` in transformers 5.
SHARD_SIZES = {"hugging_face": 50 * 10**9}


def save_weights(
  weights: Weights,
  path: str,
  form: str = OURS,
  *,
  prefix: str = "",
  bfloat16: bool = False,
  overwrite: bool = False,
  shard_size: int | None = None,
  say: Callable[[str], Any] | None = None,
) -> list[epath.Path]:
  """Writes weights, and beside them a manifest.

  Our format is the directory of a run. Others are a file or, for a path without
  a suffix, a directory of the files that their own loaders expect.

  Args:
    weights: weights to write.
    path: file or directory, local or gs://.
    form: name of the format.
    prefix: precedes every name in a .npz, e.g. "opt/target/".
    bfloat16: rounds arrays to bfloat16.
    overwrite: allows to replace existing files.
    shard_size: bytes of arrays above which a directory of hugging_face has
      several files; None is the default of `save_pretrained`.
    say: takes a line on what other programs will do otherwise with the file;
      None warns.

  Returns:
    The files, or the directory, written.

  Raises:
    CheckpointError: if the format cannot express the model, or the path cannot
      be written.
  """
  file = check_target(
    path,
    form,
    prefix=prefix,
    bfloat16=bfloat16,
    overwrite=overwrite,
    shard_size=shard_size,
  )
  if form == OURS:
    _save_run(weights, file)
    return [file]
  target = get_format(form)
  arrays = to_format(weights, target)
  if bfloat16:
    arrays = {name: _round(x) for name, x in arrays.items()}
  name = make_manifest_path(file).name
  beside, lines = {name: weights.manifest}, []
  if file != locate(path):
    beside |= _make_side_files(weights, form)
    lines = list_nearest(weights.preprocess, form)
  elif form == "timm":
    lines = describe_constants(weights.all_fields)
  for line in lines:
    if say is None:
      warnings.warn(line, stacklevel=2)
    else:
      say(line)
  _refuse_existing([file.parent / name for name in beside], overwrite)
  written, notes = [file], {"format": "pt"}
  how: Any = dict(
    overwrite=overwrite,
    before=lambda: storing.put_beside(file.parent, beside, [file]),
  )
  if target.suffix == ".npz":
    arrays = {prefix + name: x for name, x in arrays.items()}
    storing.write_npz(file, arrays, **how)
  elif file == locate(path):
    storing.write_safetensors(file, arrays, notes, **how)
  else:
    most = shard_size or SHARD_SIZES.get(form, files.MAX_BYTES)
    written = storing.write_shards(file.parent, arrays, notes, most, beside)
  return [*written, *(file.parent / name for name in beside)]


def check_target(
  path: str,
  form: str | None,
  *,
  prefix: str = "",
  bfloat16: bool = False,
  overwrite: bool = False,
  shard_size: int | None = None,
) -> epath.Path:
  """Checks the arguments of `save_weights` as far as possible without weights.

  Args:
    path: see `save_weights`.
    form: see `save_weights`; None is the .npz format of the model.
    prefix: see `save_weights`.
    bfloat16: see `save_weights`.
    overwrite: see `save_weights`.
    shard_size: see `save_weights`.

  Returns:
    The file that will hold the arrays if one does, or the directory of a run.

  Raises:
    CheckpointError: if weights cannot be written with these arguments.
  """
  location = file = locate(path)
  ours = form == OURS
  suffix = "" if ours else get_format(form).suffix if form else ".npz"
  if suffix == ".npz":
    fits = location.suffix == suffix
  else:
    fits = location.suffix in (suffix, "") or location.suffix not in SUFFIXES
  if not fits:
    name = f"*{suffix}" if suffix else "a directory"
    raise CheckpointError(f"{path}: format {form} is written to {name}")
  if prefix and suffix != ".npz":
    raise CheckpointError(f"prefix={prefix!r} is for .npz files only")
  get(dict.fromkeys(PREFIXES), prefix, "prefix")
  if shard_size and (form not in SHARD_SIZES or location.suffix == suffix):
    raise CheckpointError(
      f"{path}: shard_size is for directories of {', '.join(SHARD_SIZES)}, "
      f"whose loaders read several files; those of other formats read one"
    )
  if bfloat16 and ours:
    raise CheckpointError(
      f"{path}: a run's parameters are float32; choose another format"
    )
  if ours:
    _check_run(location, overwrite)
  elif location.suffix != suffix:
    file = location / files.WHOLE
    _check_directory(location)
    _refuse_existing(storing.list_old(location), overwrite)
  check_directory(location if ours else file.parent, os.fspath(path))
  _refuse_existing([] if ours else [file], overwrite)
  return file


def _check_directory(path: epath.Path) -> None:
  """Raises CheckpointError if the path is a file."""
  if path.exists() and not path.is_dir():
    raise CheckpointError(f"{path} is a file, expected a directory")


def _refuse_existing(paths: Sequence[epath.Path], overwrite: bool) -> None:
  """Raises CheckpointError for directories, and files not to be replaced."""
  for path in paths:
    if path.is_dir():
      raise CheckpointError(f"{path} is a directory; name a file")
    if path.exists() and not overwrite:
      raise CheckpointError(
        f"{path} exists: name another, or overwrite it (--overwrite)"
      )


def _check_run(location: epath.Path, overwrite: bool) -> None:
  """Raises CheckpointError if the directory of a run cannot be written.

  Converted weights and averages may be replaced, a run that trained may not.
  """
  _check_directory(location)
  names = {p.name for p in location.iterdir()} if location.exists() else set()
  if names and not overwrite:
    raise CheckpointError(
      f"{location} exists: name another, or overwrite it (--overwrite)"
    )
  ours = {MANIFEST, SOUP, "checkpoints"}
  ours |= {f".{name}.writing" for name in ours}  # Of a process that was killed.
  if more := names - ours:
    others = ", ".join(sorted(more)[:4])
    raise CheckpointError(
      f"{location} holds more than weights ({others}); name another directory"
    )


def _make_side_files(weights: Weights, form: str) -> dict[str, Any]:
  """Makes the files that other loaders expect: name -> content."""
  rest = (weights.num_classes, weights.manifest, weights.preprocess)
  if form == "hugging_face":
    return make_hugging_face(weights.all_fields, *rest)
  return make_timm(weights.variant, weights.all_fields, *rest)


def to_format(weights: Weights, form: Format) -> Arrays:
  """Converts parameters to a format: name -> array.

  Raises:
    CheckpointError: naming every field and array that it cannot express.
  """
  kind = get_kind(weights.variant)
  if kind != form.kind:
    raise CheckpointError(
      f"{form.name} is a format for {KINDS[form.kind]}s, and "
      f"{weights.source or weights.variant} is of kind {KINDS[kind]}"
    )
  lines, written = _fit(weights, form)
  if lines:
    able = [
      other.name
      for other in FORMATS.values()
      if other.kind == kind and _can_write(weights, other)
    ]
    raise CheckpointError(
      f"format {form.name} cannot express all of "
      f"{weights.source or weights.variant}:\n"
      + "\n".join(lines[:20] + ["  ..."] * (len(lines) > 20))
      + f"\n  what can: {', '.join([*able, OURS])}, as python -m "
      f"vit_jax.convert SRC DST --to={[*able, OURS][0]}"
    )
  heads = weights.all_fields.get("num_heads") or 1
  shapes = form.compute_shapes(weights.params, heads)
  wide = np.dtype(np.float32)
  return form.finish(
    {
      name: Lazy(shapes[name], wide, functools.partial(_make, make))
      for name, make in written.items()
    }
  )


def _can_write(weights: Weights, form: Format) -> bool:
  """Whether a format has all of a model, and its directory a config for it."""
  if form.suffix == ".safetensors":
    try:
      _make_side_files(weights, form.name)
    except CheckpointError:
      return False
  return not _fit(weights, form)[0]


def _fit(
  weights: Weights, form: Format
) -> tuple[list[str], dict[str, Callable[[], Any]]]:
  """Finds what a format cannot express, and what makes its arrays.

  Returns:
    Lines of fields and arrays; and array -> function that makes it.
  """
  fields = weights.all_fields
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
  return lines, written


def _make(make: Callable[[], Any]) -> np.ndarray:
  """Makes an array of `write_rows`, as float32."""
  return np.asarray(make(), np.float32)


def _round(array: Any) -> Lazy:
  """An array as bfloat16."""
  return Lazy(
    array.shape,
    files.BFLOAT16,
    lambda: load(array).astype(files.BFLOAT16),
  )


def _save_run(weights: Weights, location: epath.Path) -> None:
  """Writes the directory of a run, replacing one that is there.

  The manifest is removed first and written last: a directory without it is not
  read as a run.
  """
  location = expand(location)  # Orbax takes no relative path.
  for name in (MANIFEST, SOUP):
    (location / name).unlink(missing_ok=True)
  if (location / "checkpoints").exists():
    (location / "checkpoints").rmtree()
  save_params(location / "checkpoints", weights.tree)
  write_json(location / MANIFEST, weights.manifest)
