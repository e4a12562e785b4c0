# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths on disks and object stores, and settings of the stores' clients."""

import logging
import os

import fsspec.config
import fsspec.core
from etils import epath

# The client of Cloud Storage would cache the listing of a directory, and miss
# what other hosts, and Orbax, write there.
fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
# It also logs, with a traceback, every error that it raises.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def is_local(path: os.PathLike | str) -> bool:
  """Returns whether a path is on a disk: files can grow and be renamed."""
  return "://" not in os.fspath(path)


def expand(path: os.PathLike | str) -> epath.Path:
  """Returns the absolute path, with ~ expanded; store paths as they are."""
  path = epath.Path(path)
  return path.expanduser().resolve() if is_local(path) else path


def compute_size(directory: os.PathLike | str) -> int:
  """Sums the bytes of all files below a directory; links are not followed."""
  files, place = fsspec.core.url_to_fs(os.fspath(directory))
  return files.du(place)
