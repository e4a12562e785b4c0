# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Type of a weight file, from its first bytes; advice for unsupported types."""

import re
from typing import IO

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.storage.paths import describe_runs

MAX_HEADER = 1 << 24  # Bytes of a safetensors header; ViT-G's is 200,000.

PICKLE = (
  "holds a pickle (like PyTorch's .pt, .pth and .bin), which is not opened "
  "because it can run any code: use safetensors, or, if you trust the file, "
  "call safetensors.torch.save_file(model.state_dict(), 'model.safetensors')"
)
TENSORFLOW = (
  "belongs to a TensorFlow checkpoint: read its variables with "
  "tf.train.load_checkpoint and write them with np.savez"
)
PROGRAM = (
  "is a program of vit_jax.export, not weights: give the run or the weights "
  "that it was made of, which its export.json has as source"
)
ORBAX = "belongs to an Orbax checkpoint: restore it, and write it with np.savez"

# First bytes of unsupported files, and members of unsupported directories.
STARTS = {
  b"\x89HDF\r\n\x1a\n": "is HDF5: read it with h5py, write it with np.savez",
  b"\x93NUMPY": "is a single array (.npy): write it by name with np.savez",
  b"\x1f\x8b": "is compressed (gzip): unpack it first",
  b"version https://git-lfs": "is a Git LFS pointer: run `git lfs pull`",
  **{bytes([0x80, protocol]): PICKLE for protocol in range(2, 6)},
}
MEMBERS = {
  **{"_METADATA": ORBAX, "_CHECKPOINT_METADATA": ORBAX},
  **{"saved_model.pb": TENSORFLOW, "checkpoint": TENSORFLOW},
  **{"pytorch_model.bin": PICKLE, "pytorch_model.bin.index.json": PICKLE},
  **{"model.onnx": PROGRAM, "model.stablehlo": PROGRAM},
}
# Of several files that only together are a model.
SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")

READABLE = (
  "what is read is the directory of a run; a .npz of the authors, big_vision, "
  "BiT or MLP-Mixer; and safetensors of Hugging Face or timm"
)


class CheckpointError(ConfigError):
  """Weights that cannot be read or written as asked (exit status 2)."""


def detect_file_type(file: IO[bytes], path: epath.Path) -> str:
  """Returns "npz" or "safetensors"; leaves the file at its start.

  Raises:
    CheckpointError: for any other type, with a remedy.
  """
  head = file.read(512)
  file.seek(0)
  if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
    return "npz"
  if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= MAX_HEADER:
    return "safetensors"
  for start, what in STARTS.items():
    if head.startswith(start):
      raise CheckpointError(f"{path}: {what}")
  if path.name.endswith(".index") or ".data-0" in path.name:
    raise CheckpointError(f"{path}: {TENSORFLOW}")
  if path.suffix in (".onnx", ".stablehlo"):
    raise CheckpointError(f"{path}: {PROGRAM}")
  what = "unknown file type"
  if head.isascii() and b"\0" not in head:
    what = f"text beginning {head[:40].decode()!r}" if head else "empty file"
  raise CheckpointError(f"{path}: {what}: {READABLE}")


def check_alone(path: epath.Path) -> None:
  """Raises CheckpointError for one of several files of a model."""
  found = SHARD.fullmatch(path.name)
  if found is not None and int(found[2]) > 1:
    raise CheckpointError(
      f"{path} is one of {int(found[2])} files of a model: give the directory "
      f"that has them all, {path.parent}, or their index, "
      f"{found[1]}.safetensors.index.json"
    )


def explain_directory(path: epath.Path) -> str:
  """Why a directory has no weights, and what to give in its place."""
  names = sorted(child.name for child in path.iterdir())
  steps = sorted(int(name) for name in names if name.isdecimal())
  if path.name == "checkpoints" and steps:
    return (
      f"holds the checkpoints of a run: give the run, {path.parent}, for the "
      f"last, or one of them, {path / str(steps[-1])}"
    )
  for name, what in MEMBERS.items():
    if name in names:
      return f"{name} in it {what}"
  if runs := describe_runs(path):
    return runs
  files = [name for name in names if name.endswith((".npz", ".safetensors"))]
  if files:
    return f"name a file of it: {', '.join(files[:8])}"
  return f"a directory without weights: {READABLE}"
