# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images without classes: data.source=images:DIR.

All images below DIR, however they are arranged, for objectives that read no
labels. Where DIR has a folder train, that and its neighbours val and test, by
any of their names, are the splits, and the rest is left out; otherwise a tenth
of the images is held out for testing.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from typing import Any

from vit_jax.config.errors import counted
from vit_jax.data.examples import Examples
from vit_jax.data.folder import describe_files, hold_out, read_labelled
from vit_jax.data.folder_files import (
  Bad,
  describe_bad,
  describe_other,
  find_files,
  inspect_files,
)
from vit_jax.data.folder_layout import ORDER, Entry
from vit_jax.data.folder_names import SPLITS
from vit_jax.data.held_out import hash_name
from vit_jax.data.info import DataError, DatasetInfo, make_splits

RULE = "a tenth"  # As of `held_out`, of all images.
NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class Unlabelled:
  """Content of a folder of images; it has what a `folder.Folder` has.

  Attributes:
    info: facts of the data set, of no classes.
    splits: split name -> examples, of items (path, NO_CLASS), in the order of a
      hash of their names.
    facts: split name -> its part of the fingerprint.
    bad: (path, reason) of files with an image's suffix that are left out.
    other: suffix -> number of files with other suffixes.
    outside: number of images that are in no split.
  """

  info: DatasetInfo
  splits: dict[str, Examples]
  facts: dict[str, dict[str, Any]]
  bad: tuple[Bad, ...]
  other: collections.Counter[str]
  outside: int

  def open(self, split: str) -> Examples:
    """Opens a split, as "train[:90%]".

    Raises:
      DataError: if there is no such split, or no example in it.
    """
    items: list[tuple[str, int]] = []
    for name, start, stop in self.info.find_ranges(split):
      items += self.splits[name].items[start:stop]
    return Examples(items, read_labelled)

  def describe(self) -> str:
    """Describes what was found, and what is left out."""
    sizes = ", ".join(f"{name} {len(x):,}" for name, x in self.splits.items())
    how = f", held out: {RULE}" if self.info.held_out else ""
    lines = [f"{self.info.name}: no classes, images: {sizes}{how}"]
    if self.outside:
      lines.append(f"  left out, in no split: {counted(self.outside, 'image')}")
    if self.other:
      lines.append(
        f"  left out, {counted(sum(self.other.values()), 'file')}, by suffix: "
        f"{describe_other(self.other)}"
      )
    return "\n".join(lines + [f"  {line}" for line in describe_bad(self.bad)])


@functools.cache
def load_images(name: str) -> Unlabelled:
  """Lists the images below a folder, and reads the first bytes of each.

  Raises:
    DataError: if there is no such folder, or no image in it to train on.
  """
  root = pathlib.Path(os.path.expanduser(name))
  if not root.is_dir():
    raise DataError(f"data.source=images:{name}: there is no folder {root}")
  listing = find_files(root)
  sizes, bad = inspect_files(root, listing.files)
  bad = [*listing.bad, *bad]
  by_split = divide([file for file in listing.files if file in sizes])
  outside = len(by_split.pop("", []))
  if not by_split.get("train"):
    lines = [f"images:{name} has no images to train on, below {root}"]
    raise DataError("\n".join(lines + [f"  {x}" for x in describe_bad(bad)]))
  held_out: list[str] = []
  if len(by_split) == 1:
    by_split, held_out = hold_out(by_split["train"])
  facts = {split: describe_files(x, sizes) for split, x in by_split.items()}
  if held_out:
    facts["train"]["held out"] = RULE
  if "test" not in by_split and "validation" in by_split:
    by_split["test"] = by_split["validation"]
    facts["test"] = facts["validation"]
  splits = {
    split: Examples(
      [
        (os.fspath(root / x.file), NO_CLASS)
        for x in sorted(entries, key=lambda x: (hash_name(x.name), x.file))
      ],
      read_labelled,
    )
    for split, entries in by_split.items()
  }
  info = DatasetInfo(
    name=f"images:{name}",
    directory=None,
    num_classes=0,
    class_names=(),
    channels=3,
    splits=make_splits({split: len(x) for split, x in splits.items()}),
    held_out=tuple(held_out),
  )
  return Unlabelled(info, splits, facts, tuple(bad), listing.other, outside)


def divide(files: list[str]) -> dict[str, list[Entry]]:
  """Divides images into splits, by the first folder of their paths.

  Returns:
    Split -> its images; "" has those that are in none. All are for training
    where no folder is.
  """
  found: dict[str, list[Entry]] = {}
  for file in files:
    first, slash, rest = file.partition("/")
    split = SPLITS.get(first.lower(), "") if slash else ""
    found.setdefault(split, []).append(Entry(file, rest, ""))
  if "train" not in found:
    return {"train": [Entry(file, file, "") for file in files]}
  return {split: found[split] for split in (*ORDER, "") if split in found}
