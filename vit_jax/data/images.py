# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images that a command is given: finding and decoding them, in batches."""

import collections
import glob
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from vit_jax.config import ConfigError
from vit_jax.data.folder_files import describe_other, find_files
from vit_jax.devices.machine import count_cores
from vit_jax.storage.paths import is_local, locate

AHEAD = 1  # Batches that are decoded beside the one that is waited for.


def find_images(names: Sequence[str]) -> tuple[list[str], list[str]]:
  """Finds the files, and the images in folders, sorted.

  Args:
    names: paths of images, folders, and patterns of paths, as "a/*.jpg"; a
      pattern that is the name of a file is that file.

  Returns:
    Their paths, each once, and what is left out of folders, in words.

  Raises:
    ConfigError: naming files that do not exist and folders without images.
  """
  found, notes, errors = [], [], []
  for name in _expand(names, errors):
    if not name:
      errors.append("an IMAGE is empty: give the path of an image or a folder")
      continue
    path = pathlib.Path(locate(name))
    if path.is_dir():
      files, other, bad, _ = find_files(path)
      rest = describe_other(other)
      if not files:
        errors.append(f"{name} contains no images{rest and f', but {rest}'}")
      elif rest:
        notes.append(f"{name}: left out, by suffix: {rest}")
      notes += [f"{folder} cannot be read: {why}" for folder, why in bad]
      found += [os.fspath(path / file) for file in files]
    elif not is_local(name):
      found.append(name)
    elif path.exists():
      found.append(os.fspath(path))
    else:
      errors.append(
        f"there is no {name}: give the path of an image, or of a folder of them"
      )
  if errors:
    raise ConfigError("\n".join(errors))
  return list(dict.fromkeys(found)), notes


def list_images(images: str | os.PathLike | Sequence[Any]) -> list[str]:
  """Lists the paths of images that are given from Python.

  Args:
    images: paths; or one path, of an image, a folder, or a pattern.

  Raises:
    ConfigError: as `find_images`.
  """
  if isinstance(images, str | os.PathLike):
    return find_images([os.fspath(images)])[0]
  return [os.fspath(x) for x in images]


def _expand(names: Sequence[str], errors: list[str]) -> Iterator[str]:
  """Replaces patterns by the paths that fit; notes those that none fits."""
  for name in names:
    local = bool(name) and is_local(name)
    if not local or not glob.has_magic(name) or os.path.lexists(name):
      yield name
      continue
    found = sorted(glob.glob(os.path.expanduser(name), recursive=True))
    if not found:
      errors.append(f"{name} fits no file")
    yield from found


def decode_batches(
  images: Sequence[str], batch_size: int, preprocess: Any
) -> Iterator[tuple[Sequence[str], list[str | None], Any]]:
  """Decodes images in threads, AHEAD batches before they are asked for.

  Args:
    images: paths, at least one.
    batch_size: B.
    preprocess: a `Preprocess`.

  Yields:
    The paths of a batch, what is wrong with each image, and float32
    [B H W c], which is zero where there is no image.
  """

  def decode(file: str, row: np.ndarray) -> str | None:
    """Decodes an image into its row; returns what is wrong if it cannot."""
    try:
      row[:] = preprocess(file)[0]
    except ValueError as error:
      return f"cannot be read: {str(error).removeprefix(f'{file}: ')}"
    return None

  shape = (batch_size, *preprocess.size, preprocess.channels)
  waiting: collections.deque = collections.deque()
  starts = iter(range(0, len(images), batch_size))
  with futures.ThreadPoolExecutor(count_cores()) as pool:
    while True:
      for start in itertools.islice(starts, AHEAD + 1 - len(waiting)):
        files = images[start : start + batch_size]
        batch = np.zeros(shape, np.float32)
        results = [
          pool.submit(decode, *x) for x in zip(files, batch, strict=False)
        ]
        waiting.append((files, results, batch))
      if not waiting:
        return
      files, results, batch = waiting.popleft()
      yield files, [x.result() for x in results], batch


def rank(
  scores: Any, top: int, names: Sequence[str]
) -> list[tuple[int, str, float]]:
  """Lists the `top` classes of an image: (index, name, probability)."""
  order = (-scores).argsort(kind="stable")[:top]
  return [
    (int(j), names[j] if names else f"class {j}", float(scores[j]))
    for j in order
  ]
