# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Whether weights were trained on the images that they are evaluated on."""

import os

from vit_jax.data.folder import parse_name
from vit_jax.data.folder_names import normalize as compose
from vit_jax.data.held_out import FILE, list_held_out
from vit_jax.data.info import DataError, DatasetInfo
from vit_jax.data.sources import parse_source
from vit_jax.storage.paths import locate


def find_held_out(
  run: str | None,
  trained_on: str | None,
  data: str,
  info: DatasetInfo,
  notes: list[str],
) -> frozenset[str] | None:
  """Finds what a run held out of its folder, if that has changed since.

  Args:
    run: directory of the run, if it is one.
    trained_on: source that it was trained on.
    data: source to evaluate on.
    info: facts of that.
    notes: lines about it are appended here.

  Raises:
    DataError: if it cannot be told for this kind of source.
  """
  if run is None or not is_same(trained_on, data):
    return None
  path = locate(run) / FILE
  if not path.exists():
    return None
  text = path.read_bytes().decode("utf-8", "surrogateescape")
  listed = [line.replace("\\n", "\n") for line in text.splitlines()]
  if {*map(compose, list_held_out(info))} <= {*map(compose, listed)}:
    return None  # Perhaps of some of its classes.
  if parse_source(data)[0] != "folder":
    raise DataError(
      f"{data} has changed since {run} began: it holds out other images than "
      f"{path} lists, and might be tested on images that it was trained on"
    )
  notes.append(
    f"images of {data} were added or removed since the run began: those that "
    f"{path} lists are tested"
  )
  return frozenset(listed)


def is_same(source: str | None, other: str) -> bool:
  """Whether two sources are the same, also by another path of a folder, or
  with others of its classes."""
  if source is None or source == other:
    return source == other
  pair = [parse_source(x) for x in (source, other)]
  if [kind for kind, _ in pair] != ["folder", "folder"]:
    return False
  roots = {os.path.realpath(parse_name(name)[0]) for _, name in pair}
  return len(roots) == 1


def describe_images(
  run: str | None,
  trained_on: str | None,
  data: str,
  split: str,
  info: DatasetInfo,
) -> list[str]:
  """Says whether the weights were trained on these images, where known."""
  words = {x.partition("[")[0] for x in split.split("+")}
  if run is not None and is_same(trained_on, data):
    if "train" in words:
      return [f"split {split} has images that the run was trained on"]
    held_out = list(list_held_out(info))
    return ["training held these images out"] if held_out else []
  if info.held_out and words == {"test"}:
    return [
      f"split test of {data} is the tenth that training on it holds out; "
      f"--split=train+test takes all images"
    ]
  return []
