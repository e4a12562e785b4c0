# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps what a run writes apart from its data, and from other runs."""

import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.data import sources
from vit_jax.data.folder import parse_name
from vit_jax.data.folder_files import find_files
from vit_jax.data.folder_layout import find_layout
from vit_jax.data.info import DataError
from vit_jax.data.mixture import parse_mixture
from vit_jax.data.unlabelled import divide
from vit_jax.storage.paths import is_local, locate

PICTURE = "picture.png"  # As a run writes in its workdir, whatever its name.


def check_apart(config: Mapping[str, Any], workdir: str) -> None:
  """Checks that what a run writes is neither its data nor in another run.

  Raises:
    ConfigError: if images in the workdir would be read as data, or it is among
      the checkpoints of a run.
  """
  if not is_local(workdir):
    return
  place = pathlib.Path(locate(workdir)).resolve()
  for inner in (place, *place.parents):
    if inner.name == "checkpoints" and (inner.parent / "config.json").exists():
      raise ConfigError(
        f"--workdir={workdir} is among the checkpoints of a run: give "
        f"--workdir={inner.parent} to continue it, or another directory"
      )
  for kind, root, classes in list_folders(config["data"]["source"]):
    root = root.resolve()
    if place != root and root not in place.parents:
      continue
    picture = (place / PICTURE).relative_to(root).as_posix()
    if place == root or would_read(kind, root, classes, picture):
      raise ConfigError(
        f"--workdir={workdir} is in {root}, where images are looked for: the "
        f"run's pictures would become data; choose another --workdir"
      )


def list_folders(
  source: str,
) -> list[tuple[str, pathlib.Path, tuple[str, ...]]]:
  """Lists (kind of source, folder, names of classes) that a source reads."""
  kind, name = sources.parse_source(source)
  if kind == "mix":
    parts = map(list_folders, parse_mixture(name))
    return list(itertools.chain.from_iterable(parts))
  if kind == "folder":
    return [(kind, *parse_name(name))]
  if kind in sources.FOLDERS:
    return [(kind, pathlib.Path(locate(name)), ())]
  return []


def would_read(
  kind: str, root: pathlib.Path, classes: tuple[str, ...], file: str
) -> bool:
  """Whether an image that is not there yet would be read, or be an error.

  Args:
    kind: "folder", "images" or "segmentation".
    root: the folder.
    classes: those that are named; none are all.
    file: path of the image below the folder.
  """
  if kind == "segmentation":
    return file.split("/")[1:2] in (["images"], ["masks"])
  files = find_files(root).files
  if kind == "images":
    splits = divide([*files, file])
    return all(file != entry.file for entry in splits.get("", []))
  # Another run may read all classes where this one names some.
  return any(_is_taken(root, files, file, x) for x in {classes, ()})


def _is_taken(
  root: pathlib.Path, files: list[str], file: str, classes: tuple[str, ...]
) -> bool:
  """Whether `folder:` takes one more file for an image of a class."""
  try:
    find_layout(root, files, classes)
  except DataError:
    return False  # Opening the data says so.
  try:
    layout = find_layout(root, [*files, file], classes)
  except DataError:
    return True
  return any(file == x.file for xs in layout.splits.values() for x in xs)
