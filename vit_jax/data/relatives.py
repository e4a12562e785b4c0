# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The maps of ImageNet's relatives, by the names of the sets.

Which classes a set has is a fact, and stands in relatives.json, with the file
that it was read from, its digest and licence, and the digests of the archives
of images. ReaL's labels are the authors' file, which a user has: it must have
the published digest.
"""

import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from vit_jax.config import ConfigError, nearest
from vit_jax.data.label_map import LabelMap, load_label_map
from vit_jax.storage.paths import locate

FACTS = pathlib.Path(__file__).with_name("relatives.json")

REAL = "real"
AMONG = ("own", "all")

# The names of ImageNet's validation images, in whose order ReaL's labels are.
VALIDATION = r"ILSVRC2012_val_\d{8}"


@functools.cache
def load_facts() -> Mapping[str, Mapping[str, Any]]:
  """Loads the facts of each set, by its name, and those of ImageNet's wnids."""
  return json.loads(FACTS.read_text())


def list_relatives() -> tuple[str, ...]:
  """Lists the names of the sets."""
  return tuple(name for name in load_facts() if name != "imagenet")


def open_label_map(text: str, sha256: str | None = None) -> LabelMap:
  """Opens the map that --label_map names.

  Args:
    text: a set of `list_relatives`, with ":all" or ":own" for what predictions
      are among, where that is not as its authors have it; "real:FILE"; or a
      file, see `load_label_map`.
    sha256: digest that a file must have; None for any.

  Raises:
    ConfigError: if there is no such map, or it is another than was published.
  """
  name, colon, rest = text.partition(":")
  if name not in list_relatives():
    if not locate(text).exists():
      raise ConfigError(
        f"--label_map={text} is no file, and no set that has a name: "
        f"{nearest(name, list_relatives())}"
      )
    return load_label_map(text, sha256)
  if sha256 is not None:
    raise ConfigError(
      f"--label_map_sha256 is for files, and --label_map={name} has its own "
      f"digest: leave it out"
    )
  if name == REAL:
    return _open_real(rest)
  if colon and rest not in AMONG:
    raise ConfigError(
      f"--label_map={text}: after {name}: predictions are among its own "
      f"classes, {name}:own, or {name}:all of the weights"
    )
  return _make_map(name, rest)


def _make_map(name: str, among: str) -> LabelMap:
  """Makes the map of a set whose classes are known."""
  facts = load_facts()[name]
  wnids = tuple(load_facts()["imagenet"]["wnids"])
  if "classes" in facts:
    classes = {x: tuple(found) for x, found in facts["classes"].items()}
  else:
    indices = facts["indices"]
    indices = range(len(wnids)) if indices == "all" else indices
    classes = {wnids[i]: (i,) for i in indices}
  return LabelMap(
    path=name,
    sha256=facts["sha256"],
    classes=classes,
    among=among or facts["among"],
    wnids=wnids,
    source=facts["source"],
    total=facts["images"],
    border=facts.get("border", 0),
  )


def _open_real(file: str) -> LabelMap:
  """Reads ReaL's labels.

  Raises:
    ConfigError: if no file is given, or another than was published.
  """
  facts = load_facts()[REAL]
  if not file:
    raise ConfigError(
      f"--label_map={REAL} needs the authors' file: download "
      f"{facts['source']} and give it as --label_map={REAL}:FILE"
    )
  try:
    read = load_label_map(file, facts["sha256"])
  except ConfigError as error:
    raise ConfigError(
      f"{error}\n  --label_map={REAL}:FILE is for {facts['source']}; another "
      f"file is --label_map=FILE"
    ) from error
  labels: Any = read.images
  return LabelMap(
    path=file,
    sha256=read.sha256,
    images={
      f"ILSVRC2012_val_{i + 1:08d}": found for i, found in enumerate(labels)
    },
    wnids=tuple(load_facts()["imagenet"]["wnids"]),
    source=facts["source"],
    total=facts["images"],
    key=VALIDATION,
  )
