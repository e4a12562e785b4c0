# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Opening the arrays of .npz and safetensors files, local or gs://.

Nothing is read but headers: arrays are `Lazy`. `storing` writes such files.

Files are untrusted. A file's type is told by its content, not its name, and no
pickle is ever opened: reading one can run any code. A header is checked against
the bytes that are present before memory is allocated for it.
"""

import contextlib
import functools
import io
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any, cast

import ml_dtypes
import numpy as np
import safetensors
from etils import epath

from vit_jax.checkpoint.allocator import allocate
from vit_jax.config import ConfigError
from vit_jax.convert.file_type import (
  PICKLE,
  TENSORFLOW,
  CheckpointError,
  detect_file_type,
  explain_directory,
)
from vit_jax.convert.lazy import Lazy
from vit_jax.convert.published import describe_download
from vit_jax.storage.paths import is_local, locate
from vit_jax.storage.untrusted import (
  MAX_TEXT,
  check_file,
  compute_unpack_limit,
  parse_json,
  read_file,
)

CHUNK = 1 << 24  # Bytes copied at a time.
MAX_BYTES = 64 << 30  # All arrays of a file; eight times ViT-G in float32.
MAX_DEFLATED = 1100  # Largest ratio; deflate itself cannot exceed 1032.
MAX_NPY_HEADER = 1 << 16  # Bytes; numpy writes 128.

# Of a model's directory: its one file, or an index of several.
WHOLE, INDEX_SUFFIX = "model.safetensors", ".safetensors.index.json"
INDEX = f"model{INDEX_SUFFIX}"
WHOLE_NPZ = "model.npz"  # As an export of that format has it.

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# In the order in which the library writes arrays: wide types first keeps all of
# them aligned.
SAFETENSORS_TYPES = {
  **{"uint64": "U64", "int64": "I64", "float64": "F64", "float32": "F32"},
  **{"uint32": "U32", "int32": "I32", "bfloat16": "BF16", "float16": "F16"},
  **{"uint16": "U16", "int16": "I16", "int8": "I8", "uint8": "U8"},
  "bool": "BOOL",
}
DTYPES = {theirs: np.dtype(ours) for ours, theirs in SAFETENSORS_TYPES.items()}

CUT = "the file seems truncated or damaged; fetch or write it again"


@contextlib.contextmanager
def _explained(what: epath.Path | str) -> Iterator[None]:
  """Turns errors of the file system or of bad bytes into CheckpointErrors.

  Args:
    what: the path, and a part of the file if known; begins the message.
  """
  try:
    yield
  except CheckpointError:
    raise
  except FileNotFoundError as error:  # Object stores raise it without a text.
    text = "No such file or directory: give the path of a run, or of weights"
    hint = describe_download(str(what))
    raise CheckpointError(f"{what}: {text}{hint}") from error
  except OSError as error:
    raise CheckpointError(f"{what}: {error.strerror or error}") from error
  except ImportError as error:
    raise CheckpointError(f"{what}: {error}: install vit_jax[gcs]") from error
  except ConfigError as error:  # Its message names the file.
    raise CheckpointError(str(error)) from error
  except Exception as error:  # Untrusted bytes can cause any error.
    raise CheckpointError(f"{what}: {error!r}: {CUT}") from error


def resolve(path: epath.PathLike) -> list[epath.Path]:
  """Lists the files to read for a path.

  Args:
    path: a file, which is returned as is; a directory with model.safetensors,
      model.safetensors.index.json or model.npz; or such an index.

  Raises:
    CheckpointError: if there is nothing, or a directory holds neither; if an
      index is damaged, or names a file that is missing or in another directory.
  """
  return _resolve(path)[0]


def name_whole(path: epath.PathLike) -> epath.Path:
  """The path that one file would have; what lies beside has its name."""
  path = locate(path)
  if path.name.endswith(INDEX_SUFFIX):
    return path.with_name(path.name.removesuffix(".index.json"))
  if not path.is_dir():
    return path
  others = any((path / name).exists() for name in (WHOLE, INDEX))
  is_npz = not others and (path / WHOLE_NPZ).exists()
  return path / (WHOLE_NPZ if is_npz else WHOLE)


def _resolve(
  path: epath.PathLike,
) -> tuple[list[epath.Path], dict[str, epath.Path]]:
  """The files of `resolve`; and of an index, name of an array -> its file."""
  path = locate(path)
  with _explained(path):
    if path.name.endswith(INDEX_SUFFIX):
      return _read_index(path)
    if not path.is_dir():
      _check_exists(path)
      return [path], {}
    for name in (WHOLE, INDEX, WHOLE_NPZ):
      if (path / name).exists():
        return _resolve(path / name)
    raise CheckpointError(f"{path}: {explain_directory(path)}")


def _check_exists(path: epath.Path) -> None:
  """Raises OSError for a missing file; TensorFlow's is said to be several."""
  if not path.exists() and path.with_name(f"{path.name}.index").exists():
    raise CheckpointError(f"{path}.index {TENSORFLOW}")
  path.stat()


def _read_index(
  path: epath.Path,
) -> tuple[list[epath.Path], dict[str, epath.Path]]:
  """Reads a Hugging Face index; see `_resolve`."""
  with _explained(f"{path}: not an index of weight files"):
    index = parse_json(read_file(path, MAX_TEXT))
    where = {name: os.fspath(x) for name, x in index["weight_map"].items()}
  shards = sorted(set(where.values()))
  for name in shards:
    # The index is untrusted: it must not lead to another directory.
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
      raise CheckpointError(
        f"{path}: {name!r} is not the name of a file beside it; do not trust it"
      )
  files = [path.parent / name for name in shards]
  missing = [file.name for file in files if not file.exists()]
  if missing or not files:
    raise CheckpointError(
      f"{path}: {len(missing)} of the {len(files)} files that it names are "
      f"missing; fetch {', '.join(missing[:8])}"
    )
  return files, {name: path.parent / shard for name, shard in where.items()}


@contextlib.contextmanager
def open_arrays(path: epath.PathLike) -> Iterator[dict[str, Lazy]]:
  """Opens weights; an array is read once it is loaded.

  Args:
    path: see `resolve`.

  Yields:
    Name -> array, which can be loaded until the context ends: C-contiguous, in
    native byte order, bfloat16 as ml_dtypes has it.

  Raises:
    CheckpointError: if a file is missing, of another type, damaged, or holds
      anything but arrays of numbers; names the file, the array and a remedy.
      What only the values show is raised where they are loaded.
  """
  files, index = _resolve(path)
  arrays: dict[str, Lazy] = {}
  found: dict[str, epath.Path] = {}
  with contextlib.ExitStack() as stack:
    for file in files:
      shard = _open_file(file, stack)
      twice = sorted(arrays.keys() & shard.keys())
      if twice:
        raise CheckpointError(
          f"{file} repeats arrays that {found[twice[0]].name} has: "
          f"{', '.join(twice[:4])}; fetch all of these files anew"
        )
      arrays |= shard
      found |= dict.fromkeys(shard, file)
    for name, file in index.items():
      if found.get(name) != file:
        raise CheckpointError(
          f"{file} lacks the array {name!r}, which its index says it has; "
          f"fetch both anew"
        )
    yield arrays


def _open_file(
  path: epath.Path, stack: contextlib.ExitStack
) -> dict[str, Lazy]:
  """Opens a .npz or safetensors file of any name; `stack` closes it."""
  with _explained(path):
    if path.is_dir():
      raise CheckpointError(f"{path} is a directory; name a file in it")
    check_file(path, MAX_BYTES)
    file = stack.enter_context(path.open("rb"))
    if detect_file_type(file, path) == "npz":
      arrays = _open_npz(file, path, stack)
    elif is_local(path):
      arrays = _open_safetensors(file, os.fspath(path), path)
    else:
      # The library checks a file on a disk.
      copy = stack.enter_context(tempfile.NamedTemporaryFile())
      shutil.copyfileobj(file, copy, CHUNK)
      copy.flush()
      copy.seek(0)
      arrays = _open_safetensors(copy.file, copy.name, path)
  if not arrays:
    raise CheckpointError(f"{path} holds no arrays; is it the right file?")
  return arrays


def _open_npz(
  file: IO[bytes], path: epath.Path, stack: contextlib.ExitStack
) -> dict[str, Lazy]:
  """Name -> array of an open .npz; `path` is for messages."""
  size = file.seek(0, io.SEEK_END)
  arrays = {}
  with _explained(f"{path}: as a zip"):
    archive = stack.enter_context(zipfile.ZipFile(file))
    members = archive.infolist()
    if any(member.filename.endswith(".pkl") for member in members):
      raise CheckpointError(f"{path}: {PICKLE}")
    total = sum(member.file_size for member in members)
    # Overlapping members would unpack the same bytes many times.
    packed = sum(member.compress_size for member in members)
    most = min(MAX_BYTES, compute_unpack_limit(size))
    if total > most or packed > size:
      raise CheckpointError(
        f"{path}: {size} bytes long, claims {total} bytes of arrays from "
        f"{packed}; at most {most} are read from it: {CUT}"
      )
    for member in members:
      name = member.filename.removesuffix(".npy")
      where = f"{path}: array {name!r}"
      if name == member.filename:
        raise CheckpointError(
          f"{path}: not a .npz file: its member {name!r} is not an array"
        )
      if name in arrays:
        raise CheckpointError(f"{where} occurs twice; write the file again")
      with _explained(where):
        arrays[name] = _open_member(archive, member, where)
  return arrays


def _open_member(
  archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str
) -> Lazy:
  """Reads and checks the header of one array of a .npz."""
  held, packed = member.file_size, member.compress_size
  # The methods that numpy uses; others may need gigabytes for a kilobyte.
  if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
    raise CheckpointError(
      f"{where} is compressed by a method that numpy does not use; write it "
      f"with np.savez"
    )
  if held > MAX_DEFLATED * packed:
    raise CheckpointError(f"{where} claims {held} bytes in {packed}: {CUT}")
  with archive.open(member) as file:
    # A header may claim to be 4 GB long.
    head = io.BytesIO(file.read(MAX_NPY_HEADER))
  # numpy has no public reader of version 3.0, for structured types alone.
  reader = "read_array_header_{}_{}".format(*np.lib.format.read_magic(head))
  shape, fortran, dtype = getattr(np.lib.format, reader)(head)
  if dtype.hasobject:
    raise CheckpointError(
      f"{where} holds Python objects, which take a pickle to read, and a "
      "pickle can run any code; write the array again as plain numbers"
    )
  if dtype == np.dtype("V2"):
    dtype = BFLOAT16  # numpy writes types that it does not know as void.
  elif dtype.kind not in "biufc":
    raise CheckpointError(f"{where} holds {dtype}, not numbers; leave it out")
  claimed, held = math.prod(shape) * dtype.itemsize, held - head.tell()
  if min(shape, default=0) < 0 or claimed != held:
    raise CheckpointError(
      f"{where} claims to be {shape} of {dtype}, {claimed} bytes, but holds "
      f"{held}: {CUT}"
    )
  order = shape[::-1] if fortran else shape

  def load() -> np.ndarray:
    array = allocate(order, dtype)
    with _explained(where), archive.open(member) as file:
      file.read(head.tell())
      _fill(array, cast(io.BufferedIOBase, file), where)
      # At the end of the member zipfile compares the checksum.
      file.read(1)
    return plain(array.T if fortran else array)

  return Lazy(shape, dtype.newbyteorder("="), load)


def _open_safetensors(
  file: Any, name: str, path: epath.Path
) -> dict[str, Lazy]:
  """Name -> array of an open safetensors file.

  Its values are not read by the library, which maps all of a file into memory.

  Args:
    file: the file.
    name: its path on a disk.
    path: the path for messages.
  """
  arrays = {}
  with _explained(f"{path}: as a safetensors file"):
    with safetensors.safe_open(name, "np"):
      pass  # It has checked that types, shapes and places fit each other.
    size = int.from_bytes(file.read(8), "little")
    header = parse_json(file.read(size))
    header.pop("__metadata__", None)
    for key, entry in header.items():
      if entry["dtype"] not in DTYPES:
        raise CheckpointError(
          f"{path}: array {key!r} has unsupported type {entry['dtype']}; "
          "convert it to F32 or BF16 where it was made"
        )
      shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
      start = 8 + size + entry["data_offsets"][0]
      load = functools.partial(
        _read_values, file, start, shape, dtype, f"{path}: array {key!r}"
      )
      arrays[key] = Lazy(shape, dtype, load)
  return arrays


def _read_values(
  file: io.BufferedIOBase, start: int, shape: tuple, dtype: np.dtype, where: str
) -> np.ndarray:
  """Reads an array from a place in a file."""
  array = allocate(shape, dtype)
  with _explained(where):
    file.seek(start)
    _fill(array, file, where)
  return array


def _fill(array: np.ndarray, file: io.BufferedIOBase, where: str) -> None:
  """Reads the bytes of an array; raises CheckpointError if there are less."""
  data = array.reshape(-1).view(np.uint8).data
  start = 0
  while start < len(data):
    count = file.readinto(data[start : start + CHUNK])
    if not count:
      raise CheckpointError(f"{where} ends after {start} bytes: {CUT}")
    start += count


def plain(array: np.ndarray) -> np.ndarray:
  """The array, C-contiguous, in native byte order; copied only if needed."""
  return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def to_float32(array: Lazy) -> Lazy:
  """A floating-point array as float32; only float64 is rounded."""
  floating = np.issubdtype(array.dtype, np.floating)
  if array.dtype == np.float32 or not (floating or array.dtype == BFLOAT16):
    return array
  wide = np.dtype(np.float32)
  return Lazy(array.shape, wide, lambda: array.load().astype(wide))
