# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of prepared sets: equal for copies, different for other data.

A fingerprint covers the metadata and FILE_BYTES at both ends of each file, of
which the last hold the offset of every record. So 8,000 files take seconds, and
only images replaced by others of the same sizes, in the middle of a file, go
unnoticed.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.data.info import DataError, make_read_error
from vit_jax.data.tfds_builders import open_builder
from vit_jax.storage.untrusted import load_json

PLAN = "source.json"  # Describes what `prepare` made a set of.

FILE_BYTES = 65_536  # Size of the first and last block of an ArrayRecord file.


def make_digest(words: Iterable[str]) -> str:
  """Hashes a list of strings to 16 hex digits, the same on every machine."""
  digest = hashlib.sha256()
  for word in words:
    digest.update(word.encode(errors="surrogatepass") + b"\n")
  return digest.hexdigest()[:16]


def load_plan(directory: epath.Path) -> dict[str, Any]:
  """Loads the description of what `prepare` made a set of.

  Raises:
    DataError: if the file cannot be read or is malformed.
  """
  try:
    plan = load_json(directory / PLAN)
  except ConfigError as error:
    raise DataError(str(error)) from error
  if not isinstance(plan, dict):
    raise DataError(
      f"{directory / PLAN} is malformed: copy the set again, or prepare it "
      f"again"
    )
  return plan


def describe_set(
  directory: epath.Path, splits: Iterable[str] | None
) -> dict[str, Any]:
  """Computes the fingerprint of a prepared set.

  Args:
    directory: directory of the set.
    splits: splits whose files are read; None is all.

  Returns:
    Name of a fact -> its value, or a digest of long ones.

  Raises:
    DataError: if a file cannot be read.
  """
  info = open_builder(directory).info
  facts = {
    "version": str(info.version),
    "features": describe_features(info.features),
  }
  if (directory / PLAN).exists():
    plan = load_plan(directory)
    plan.pop("verified", None)  # It changes no image.
    facts["what it was prepared from"] = make_digest(
      f"{key} {value}" for key, value in plan.items()
    )
  for split in sorted(info.splits if splits is None else splits):
    found = info.splits[split]
    lengths = found.shard_lengths
    # In threads, because the disk takes the time.
    with futures.ThreadPoolExecutor(16) as pool:
      ends = list(pool.map(hash_ends, found.filepaths))
    facts |= {
      f"{split} examples": found.num_examples,
      f"{split} bytes": int(found.num_bytes),
      f"{split} files": len(lengths),
      f"{split} examples of each file": make_digest(map(str, lengths)),
      f"{split} content": make_digest(ends),
    }
  return facts


def describe_features(features: tfds.features.FeaturesDict) -> str:
  """Formats names and dtypes of features, alike in every version of TFDS."""
  found = []
  for name, feature in sorted(features.items()):
    kind = feature.np_dtype
    kind = "several" if isinstance(kind, Mapping) else np.dtype(kind).name
    found.append(f"{name} {kind}")
  return ", ".join(found)


def hash_ends(path: epath.Path) -> str:
  """Formats the size of a file, and a digest of its two ends.

  Raises:
    DataError: if it cannot be read.
  """
  try:
    size = path.stat().length
    with path.open("rb") as file:
      digest = hashlib.sha256(file.read(FILE_BYTES))
      file.seek(max(0, size - FILE_BYTES))
      digest.update(file.read(FILE_BYTES))
  except OSError as error:
    raise make_read_error(os.fspath(path), error.strerror or error) from error
  return f"{size} {digest.hexdigest()}"
