# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writing arrays as .npz and safetensors, local or gs://; one at a time.

Arrays that are `Lazy` are loaded when they are written, and let go then.
"""

import contextlib
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
from etils import epath

from vit_jax.convert.file_type import CheckpointError
from vit_jax.convert.files import (
  CHUNK,
  INDEX,
  SAFETENSORS_TYPES,
  WHOLE,
  plain,
)
from vit_jax.convert.lazy import load
from vit_jax.storage.files import replacing, to_json, write_json
from vit_jax.storage.paths import locate

SHARD = "model-{:05d}-of-{:05d}.safetensors"
SHARDS = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def write_npz(
  path: epath.PathLike,
  arrays: Mapping[str, Any],
  overwrite: bool = False,
  before: Callable[[], Any] | None = None,
) -> None:
  """Writes a .npz that `np.load` reads; bfloat16 becomes V2, as numpy has it.

  Equal arrays give equal bytes: sorted, uncompressed and undated.

  Args:
    path: of the file.
    arrays: name -> array.
    overwrite: allows to replace the file.
    before: called once all is written, and before the file has its name.

  Raises:
    CheckpointError: if an array does not hold numbers, the file exists and
      `overwrite` is False, or it cannot be written.
  """
  names = _check(path, arrays)

  def write(file):
    with zipfile.ZipFile(file, "w") as archive:
      for name in names:
        array = plain(load(arrays[name]))
        member = zipfile.ZipInfo(f"{name}.npy")  # Dated 1980.
        member.create_system = 3  # Otherwise it depends on the system.
        with archive.open(member, "w", force_zip64=True) as entry:
          np.lib.format.write_array(entry, array, allow_pickle=False)

  _publish(path, overwrite, write, before)


def write_safetensors(
  path: epath.PathLike,
  arrays: Mapping[str, Any],
  metadata: Mapping[str, str],
  overwrite: bool = False,
  before: Callable[[], Any] | None = None,
) -> None:
  """Writes a safetensors file; equal arrays and metadata give equal bytes.

  The library is not used: it writes metadata in random order, to local paths.

  Args:
    path: as of `write_npz`.
    arrays: as of `write_npz`.
    metadata: of the file.
    overwrite: as of `write_npz`.
    before: as of `write_npz`.

  Raises:
    CheckpointError: as `write_npz`.
  """
  order = list(SAFETENSORS_TYPES)
  # The sort is stable: arrays of one type stay sorted by name.
  names = sorted(
    _check(path, arrays), key=lambda name: order.index(arrays[name].dtype.name)
  )
  header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
  end = 0
  for name in names:
    start, end = end, end + arrays[name].nbytes
    header[name] = dict(
      dtype=SAFETENSORS_TYPES[arrays[name].dtype.name],
      shape=arrays[name].shape,
      data_offsets=(start, end),
    )
  text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)

  def write(file):
    file.write(struct.pack("<Q", len(text)) + text)
    for name in names:
      data = plain(load(arrays[name])).reshape(-1).view(np.uint8)
      for start in range(0, data.size, CHUNK):
        file.write(data[start : start + CHUNK].data)

  _publish(path, overwrite, write, before)


def write_shards(
  directory: epath.Path,
  arrays: Mapping[str, Any],
  metadata: Mapping[str, str],
  size: int,
  beside: Mapping[str, Any] | None = None,
) -> list[epath.Path]:
  """Writes safetensors files of a model's directory, and replaces those there.

  A reader takes model.safetensors where it is, else the index: at any time it
  finds all of the old arrays, all of the new ones, or none.

  Args:
    directory: of the model.
    arrays: name -> array.
    metadata: of each file.
    size: largest bytes of arrays in a file; a larger array has its own.
    beside: as of `put_beside`.

  Returns:
    model.safetensors if all fits into it, else the index and its files.

  Raises:
    CheckpointError: as `write_npz`.
  """
  parts: list[dict[str, Any]] = []
  room = 0
  for name in sorted(arrays):
    count = arrays[name].nbytes
    if count > room or not parts:
      parts.append({})
      room = size
    parts[-1][name] = arrays[name]
    room -= count
  old = list_old(directory)
  if len(parts) == 1:
    write_safetensors(
      directory / WHOLE,
      parts[0],
      metadata,
      overwrite=True,
      before=lambda: put_beside(directory, beside or {}, old),
    )
    return [directory / WHOLE]
  _remove([path for path in old if path.name != WHOLE])
  where: dict[str, str] = {}
  for number, part in enumerate(parts, 1):
    name = SHARD.format(number, len(parts))
    write_safetensors(directory / name, part, metadata)
    where |= dict.fromkeys(part, name)
  total = sum(array.nbytes for array in arrays.values())
  index = {"metadata": {"total_size": total}, "weight_map": where}
  put_beside(directory, beside or {}, [directory / WHOLE])
  with _explained(directory / INDEX):
    write_json(directory / INDEX, index)
  return [
    directory / INDEX,
    *(directory / x for x in sorted({*where.values()})),
  ]


def put_beside(
  directory: epath.Path, beside: Mapping[str, Any], old: Sequence[epath.Path]
) -> None:
  """Replaces the files that tell what weights are, before these have a name.

  So weights are never read with what is of others, or with nothing.

  Args:
    directory: of the files.
    beside: name -> content, as JSON.
    old: files of the weights that were there, which are removed.

  Raises:
    CheckpointError: as `write_npz`.
  """
  with _explained(directory), contextlib.ExitStack() as stack:
    for name, content in beside.items():
      target = stack.enter_context(replacing(directory / name))
      target.write_text(to_json(content, indent=2) + "\n")
    _remove(old)


def list_old(directory: epath.Path) -> list[epath.Path]:
  """Lists what `write_shards` would replace, the index first."""
  if not directory.exists():
    return []
  names = [path.name for path in directory.iterdir()]
  shards = sorted(name for name in names if SHARDS.fullmatch(name))
  return [directory / x for x in (INDEX, WHOLE) if x in names] + [
    directory / x for x in shards
  ]


def _remove(paths: Sequence[epath.Path]) -> None:
  """Removes files in order."""
  for path in paths:
    with _explained(path):
      path.unlink(missing_ok=True)


def _check(path: epath.PathLike, arrays: Mapping[str, Any]) -> list[str]:
  """Sorted names; refuses arrays that could not be read back."""
  for name, array in arrays.items():
    if array.dtype.name not in SAFETENSORS_TYPES:
      raise CheckpointError(
        f"{path}: array {name!r} has unsupported type {array.dtype}; choose "
        f"from: {', '.join(SAFETENSORS_TYPES)}"
      )
    if name == "__metadata__" or "\0" in name or not name:
      raise CheckpointError(f"{path}: invalid array name {name!r}")
  return sorted(arrays)


def _publish(
  path: epath.PathLike,
  overwrite: bool,
  write: Callable[[IO[bytes]], None],
  before: Callable[[], Any] | None,
) -> None:
  """Writes a file whole or not at all; makes the directories above it."""
  path = locate(path)
  with _explained(path):
    if path.exists() and not overwrite:
      raise CheckpointError(
        f"{path} exists: name another, or overwrite it (--overwrite)"
      )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as target, target.open("wb") as file:
      write(file)
      file.flush()  # A full disk is told here.
      if before is not None:
        before()


@contextlib.contextmanager
def _explained(path: epath.Path) -> Iterator[None]:
  """Turns errors of the file system into CheckpointErrors."""
  try:
    yield
  except (OSError, ImportError) as error:
    raise CheckpointError(f"{path} cannot be written: {error}") from error
