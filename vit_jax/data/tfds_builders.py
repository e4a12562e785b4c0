# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Opens TFDS builders of prepared sets, whose files may be untrusted.

TFDS imports the module of every class that features.json names, and joins names
in a set's files to paths. So the files are checked before TFDS reads them.
"""

import re
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.data.info import DataError
from vit_jax.storage.untrusted import MAX_TEXT, check_file, load_json

# Package of TFDS's own features; any other module could run any code.
FEATURES = "tensorflow_datasets.core.features."

MAX_CLASSES = 10_000_000  # Without a file of names, TFDS makes them up.
MAX_FILES = 100_000  # Of a split; TFDS takes 4 KiB of memory for each.

# A template of file names; TFDS passes it to str.format, which can do far more.
TEMPLATE = re.compile(r"([\w.-]|\{[A-Z_]+\})*", re.ASCII)


def open_builder(directory: epath.Path) -> Any:
  """Opens the TFDS builder of a prepared set.

  Args:
    directory: directory of one version, with dataset_info.json and
      features.json.

  Raises:
    DataError: if these files are malformed, or would make TFDS import other
      packages or read outside of the directory.
  """
  try:
    _check_info(load_json(directory / "dataset_info.json"))
    _check_features(load_json(directory / "features.json"))
    for pattern in ("*.labels.txt", "*/*.labels.txt"):
      for path in directory.glob(pattern):
        check_file(path, MAX_TEXT)
    builder = tfds.builder_from_directory(str(directory))
    for split in builder.info.splits.values():
      if min(split.shard_lengths, default=0) < 0:
        raise ValueError(f"the split {split.name!r} has negative file sizes")
      path = split.filename_template.sharded_filepath(
        shard_index=0, num_shards=1
      )
      if path.parent != builder.data_path:
        raise ValueError(f"{path} is outside of it: do not trust the set")
  except ConfigError as error:
    raise DataError(str(error)) from error
  except Exception as error:  # Untrusted values can cause any.
    raise DataError(
      f"{directory} is not a valid TFDS data set: {error}: copy it again, or "
      f"prepare it again"
    ) from error
  return builder


def _check_info(info: Any) -> None:
  """Raises ValueError for invalid names and templates, and too many files."""
  for entry in (info, *info.get("splits", ())):
    if not entry.get("name") or set(entry["name"]) & set("/\\\0"):
      raise ValueError(f"invalid name of a set or split: {entry.get('name')!r}")
    for key, value in entry.items():
      if _normalize(key) == "filepathtemplate" and not TEMPLATE.fullmatch(
        value
      ):
        raise ValueError(f"invalid file name {value!r}: do not trust the set")
      if _normalize(key) == "shardlengths" and len(value) > MAX_FILES:
        raise ValueError(
          f"the split {entry['name']!r} has {len(value):,} files, and at most "
          f"{MAX_FILES:,} are read"
        )


def _check_features(features: Any) -> None:
  """Raises ValueError for features other than TFDS's own."""
  for key, value in _walk(features):
    # A feature may be called objects/type: its class names are in a folder.
    if key.startswith("/") or ".." in key:
      raise ValueError(f"invalid feature name {key!r}: do not trust the set")
    match _normalize(key), value:
      case "type", str():
        raise ValueError("features.json has the format of TFDS 4.4 and older")
      case "pythonclassname", _ if not str(value).startswith(FEATURES):
        raise ValueError(
          f"features.json would import {value!r}, which can run any code: only "
          f"features of TFDS are read"
        )
      case "numclasses", _ if not (
        re.fullmatch(r"\d{1,8}", str(value)) and int(value) <= MAX_CLASSES
      ):
        raise ValueError(f"features.json has {key}={value!r}")


def _normalize(key: str) -> str:
  """Maps both spellings that TFDS reads, camelCase and snake_case, to one."""
  return key.replace("_", "").lower()


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
  """Yields every (key, value) in a JSON value, at any depth."""
  left = [value]
  while left:
    value = left.pop()
    if isinstance(value, dict):
      yield from value.items()
      left += value.values()
    elif isinstance(value, list):
      left += value
