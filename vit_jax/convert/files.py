# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading and writing arrays as .npz and safetensors, local or gs://.

Files are untrusted. A file's type is told by its content, not its name, and no
pickle is ever opened: reading one can run any code. A header is checked against
the bytes that are present before memory is allocated for it.
"""

import contextlib
import io
import json
import math
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import ml_dtypes
import numpy as np
import safetensors
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.convert.file_type import (
  MEMBERS,
  PICKLE,
  TENSORFLOW,
  CheckpointError,
  detect_file_type,
)
from vit_jax.storage.files import replacing
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

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
# In the order in which the library writes arrays: wide types first keeps all of
# them aligned.
SAFETENSORS_TYPES = {
  **{"uint64": "U64", "int64": "I64", "float64": "F64", "float32": "F32"},
  **{"uint32": "U32", "int32": "I32", "bfloat16": "BF16", "float16": "F16"},
  **{"uint16": "U16", "int16": "I16", "int8": "I8", "uint8": "U8"},
  "bool": "BOOL",
}

CUT = "the file seems truncated or damaged; fetch or write it again"


def _locate(path: epath.PathLike) -> tuple[epath.Path, bool]:
  """The path with ~ expanded, and whether it is on a local disk."""
  local = is_local(path)
  return locate(path), local


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
    raise CheckpointError(f"{what}: {text}") from error
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
    path: a file, which is returned as is; a directory with model.safetensors or
      model.safetensors.index.json; or such an index.

  Raises:
    CheckpointError: if there is nothing, or a directory holds neither; if an
      index is damaged, or names a file that is missing or in another directory.
  """
  path, _ = _locate(path)
  with _explained(path):
    if path.name.endswith(".safetensors.index.json"):
      return _read_index(path)
    if not path.is_dir():
      _check_exists(path)
      return [path]
    for name in ("model.safetensors", "model.safetensors.index.json"):
      if (path / name).exists():
        return resolve(path / name)
    names = sorted(child.name for child in path.iterdir())
  for name, what in MEMBERS.items():
    if name in names:
      raise CheckpointError(f"{path}: {name} in it {what}")
  files = [name for name in names if name.endswith((".npz", ".safetensors"))]
  raise CheckpointError(
    f"{path}: directory without model.safetensors; name a .npz or safetensors "
    f"file (it holds {', '.join(files[:8]) or 'none'})"
  )


def _check_exists(path: epath.Path) -> None:
  """Raises OSError for a missing file; TensorFlow's is said to be several."""
  if not path.exists() and path.with_name(f"{path.name}.index").exists():
    raise CheckpointError(f"{path}.index {TENSORFLOW}")
  path.stat()


def _read_index(path: epath.Path) -> list[epath.Path]:
  """Lists the files named by a Hugging Face index."""
  with _explained(f"{path}: not an index of weight files"):
    index = parse_json(read_file(path, MAX_TEXT))
    shards = index["weight_map"].values()
    shards = sorted(map(os.fspath, set(shards)))
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
  return files


def read_arrays(
  path: epath.PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Reads all arrays of one file.

  Args:
    path: a .npz or safetensors file, of any name.

  Returns:
    Name -> array, C-contiguous, in native byte order, bfloat16 as ml_dtypes has
    it; and the file's metadata, which is empty for .npz.

  Raises:
    CheckpointError: if the file is missing, of another type, damaged, or holds
      anything but arrays of numbers; names the file, the array and a remedy.
  """
  path, local = _locate(path)
  with _explained(path), contextlib.ExitStack() as stack:
    if path.is_dir():
      raise CheckpointError(f"{path} is a directory; name a file in it")
    _check_exists(path)
    check_file(path, MAX_BYTES)
    file = stack.enter_context(path.open("rb"))
    if detect_file_type(file, path) == "npz":
      arrays, notes = _read_npz(file, path), {}
    else:
      name = os.fspath(path)
      if not local:
        # The library maps a local file, which takes disk rather than memory.
        copy = stack.enter_context(tempfile.NamedTemporaryFile())
        shutil.copyfileobj(file, copy, CHUNK)
        copy.flush()
        name = copy.name
      arrays, notes = _read_safetensors(name, path)
  if not arrays:
    raise CheckpointError(f"{path} holds no arrays; is it the right file?")
  return arrays, notes


def _read_npz(file: IO[bytes], path: epath.Path) -> dict[str, np.ndarray]:
  """Name -> array of an open .npz; `path` is for messages."""
  size = file.seek(0, io.SEEK_END)
  arrays = {}
  with _explained(f"{path}: as a zip"), zipfile.ZipFile(file) as archive:
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
        arrays[name] = _read_member(archive, member, where)
  return arrays


def _read_member(
  archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str
) -> np.ndarray:
  """Reads one array of a .npz; checks its header before allocating memory."""
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
    data = np.empty(claimed, np.uint8)
    start = 0
    # To the end of the member, where zipfile compares the checksum.
    while chunk := head.read() or file.read(CHUNK):
      data[start : start + len(chunk)] = np.frombuffer(chunk, np.uint8)
      start += len(chunk)
  if start != claimed:
    raise CheckpointError(f"{where} ends after {start} bytes: {CUT}")
  array = data.view(dtype).reshape(shape[::-1] if fortran else shape)
  return _plain(array.T if fortran else array)


def _read_safetensors(name: str, path: epath.Path) -> tuple[dict, dict]:
  """Reads the local file `name`; `path` is for messages."""
  arrays = {}
  with (
    _explained(f"{path}: as a safetensors file"),
    safetensors.safe_open(name, "np") as file,
  ):
    for key in file.keys():
      dtype = file.get_slice(key).get_dtype()
      if dtype not in SAFETENSORS_TYPES.values():
        raise CheckpointError(
          f"{path}: array {key!r} has unsupported type {dtype}; convert it to "
          "F32 or BF16 where it was made"
        )
      arrays[key] = _plain(file.get_tensor(key))
    return arrays, dict(file.metadata() or {})


def _plain(array: np.ndarray) -> np.ndarray:
  """The array, C-contiguous, in native byte order; copied only if needed."""
  return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def to_float32(array: np.ndarray) -> np.ndarray:
  """Converts a floating-point array to float32; only float64 is rounded."""
  floating = np.issubdtype(array.dtype, np.floating)
  if floating or array.dtype == BFLOAT16:
    return array.astype(np.float32, copy=False)
  return array


def write_npz(
  path: epath.PathLike,
  arrays: Mapping[str, np.ndarray],
  overwrite: bool = False,
) -> None:
  """Writes a .npz that `np.load` reads; bfloat16 becomes V2, as numpy has it.

  Equal arrays give equal bytes: sorted, uncompressed and undated.

  Raises:
    CheckpointError: if an array does not hold numbers, the file exists and
      `overwrite` is False, or it cannot be written.
  """
  plain = _check(path, arrays)

  def write(file):
    with zipfile.ZipFile(file, "w") as archive:
      for name, array in plain.items():
        member = zipfile.ZipInfo(f"{name}.npy")  # Dated 1980.
        member.create_system = 3  # Otherwise it depends on the system.
        with archive.open(member, "w", force_zip64=True) as entry:
          np.lib.format.write_array(entry, array, allow_pickle=False)

  _publish(path, overwrite, write)


def write_safetensors(
  path: epath.PathLike,
  arrays: Mapping[str, np.ndarray],
  metadata: Mapping[str, str],
  overwrite: bool = False,
) -> None:
  """Writes a safetensors file; equal arrays and metadata give equal bytes.

  The library is not used: it writes metadata in random order, to local paths.

  Raises:
    CheckpointError: as `write_npz`.
  """
  plain = _check(path, arrays)
  order = list(SAFETENSORS_TYPES)
  # The sort is stable: arrays of one type stay sorted by name.
  names = sorted(plain, key=lambda name: order.index(plain[name].dtype.name))
  header = {"__metadata__": dict(sorted(metadata.items()))}
  end = 0
  for name in names:
    start, end = end, end + plain[name].nbytes
    header[name] = dict(
      dtype=SAFETENSORS_TYPES[plain[name].dtype.name],
      shape=plain[name].shape,
      data_offsets=(start, end),
    )
  text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)

  def write(file):
    file.write(struct.pack("<Q", len(text)) + text)
    for name in names:
      data = plain[name].reshape(-1).view(np.uint8)
      for start in range(0, data.size, CHUNK):
        file.write(data[start : start + CHUNK].tobytes())

  _publish(path, overwrite, write)


def _check(
  path: epath.PathLike, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Name -> plain array, sorted; refuses arrays that could not be read back."""
  for name, array in arrays.items():
    if array.dtype.name not in SAFETENSORS_TYPES:
      raise CheckpointError(
        f"{path}: array {name!r} has unsupported type {array.dtype}; choose "
        f"from: {', '.join(SAFETENSORS_TYPES)}"
      )
    if name == "__metadata__" or "\0" in name or not name:
      raise CheckpointError(f"{path}: invalid array name {name!r}")
  return {name: _plain(arrays[name]) for name in sorted(arrays)}


def _publish(
  path: epath.PathLike, overwrite: bool, write: Callable[[IO[bytes]], None]
) -> None:
  """Writes a file whole or not at all; makes the directories above it."""
  path, _ = _locate(path)
  try:
    if path.exists() and not overwrite:
      raise CheckpointError(
        f"{path} exists: name another, or overwrite it (--overwrite)"
      )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as target, target.open("wb") as file:
      write(file)
  except (OSError, ImportError) as error:
    raise CheckpointError(f"{path} cannot be written: {error}") from error
