# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images, one a class: data.source=folder:DIR[#CLASS+CLASS...].

Either DIR/train/CLASS/, DIR/val/CLASS/ and DIR/test/CLASS/, of which only the
first is required, or DIR/CLASS/train/ and so on, or DIR/CLASS/ alone. Where
there is no other split than that for training, a tenth of each class is held
out for testing. With #CLASS, only the classes that are named are used.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from vit_jax.config import ConfigError, nearest
from vit_jax.config.errors import counted
from vit_jax.data.copies import describe_copies, find_alike, find_copies
from vit_jax.data.examples import Examples
from vit_jax.data.fingerprint import make_digest
from vit_jax.data.folder_files import (
  Bad,
  describe_bad,
  describe_other,
  find_files,
  inspect_files,
)
from vit_jax.data.folder_layout import (
  WITHOUT,
  Entry,
  Layout,
  find_layout,
  join,
)
from vit_jax.data.folder_names import normalize
from vit_jax.data.held_out import RULE, choose_held_out, hash_name
from vit_jax.data.info import (
  DataError,
  DatasetInfo,
  find_gone,
  make_read_error,
  make_splits,
)
from vit_jax.data.transforms import MAX_BYTES
from vit_jax.storage.untrusted import read_file

SHOWN = 20  # Classes whose numbers of images are shown.


def read_labelled(item: tuple[str, int]) -> dict[str, Any]:
  """Reads the example of a pair (path, label).

  The image is empty, and so unreadable, if this one file is missing, too large
  or not a regular file.

  Raises:
    DataError: if its folder or its disk is gone.
  """
  path, label = item
  try:
    image = read_file(path, MAX_BYTES)
  except ConfigError:
    image = b""
  except OSError as error:
    alone = isinstance(error, FileNotFoundError | PermissionError)
    if not alone or find_gone(path):
      raise make_read_error(path, error.strerror) from error
    image = b""
  return {"image": image, "label": label, "name": path}


@dataclasses.dataclass(frozen=True)
class Folder:
  """Content of a folder of classes.

  Attributes:
    info: facts of the data set.
    splits: split name -> examples, of items (path, label). Their order is a
      hash of their names, so that any slice of a split has all classes.
    bad: (path, reason) of files with an image's suffix that are left out.
    other: suffix -> number of files with other suffixes.
    layout: how the folder is arranged.
    empty: classes of which no image can be read.
    hollow: folders without images.
    facts: split name -> its part of the fingerprint.
    alike: groups of images that may be copies, see `copies.find_alike`.
  """

  info: DatasetInfo
  splits: dict[str, Examples]
  bad: tuple[Bad, ...]
  other: collections.Counter[str]
  layout: Layout
  empty: tuple[str, ...]
  hollow: tuple[str, ...]
  facts: dict[str, dict[str, Any]]
  alike: list[list[str]]

  def open(self, split: str) -> Examples:
    """Opens a split, as "train[:90%]".

    Raises:
      DataError: if there is no such split, or no example in it.
    """
    items: list[tuple[str, int]] = []
    for name, start, stop in self.info.find_ranges(split):
      items += self.splits[name].items[start:stop]
    return Examples(items, read_labelled)

  def count_classes(self, split: str) -> list[int]:
    """Counts the images of each class in a split, as "train[:90%]"."""
    found = collections.Counter(label for _, label in self.open(split).items)
    return [found[label] for label in range(self.info.num_classes)]

  def describe(self) -> str:
    """Describes what was found, and what is left out."""
    sizes = ", ".join(f"{name} {len(x):,}" for name, x in self._own.items())
    how = ""
    if len(self._own) < len(self.splits):
      how = ", which are the test images too"
    if self.info.held_out:
      how = ", held out: a tenth of each class, at least one"
    lines = [
      f"{self.info.name}: {self.info.num_classes:,} classes, images: "
      f"{sizes}{how}"
    ]
    lines += [f"  {line}" for line in self._describe_classes()]
    for name, count, why in self.layout.left_out:
      lines.append(
        f"  left out, {why}: {join([name])} ({counted(count, 'image')})"
      )
    if self.other:
      lines.append(
        f"  left out, {counted(sum(self.other.values()), 'file')}, by suffix: "
        f"{describe_other(self.other)}"
      )
    lines += [f"  {line}" for line in describe_bad(self.bad)]
    if self.empty:
      lines.append(f"  no readable image of: {join(self.empty)}: left out")
    if self.hollow:
      lines.append(f"  left out, without images: {join(self.hollow)}")
    lines += [f"  {note}" for note in self.layout.notes]
    items = {split: x.items for split, x in self._own.items()}
    lines += describe_copies(find_copies(self.alike), items)
    return "\n".join(lines)

  @property
  def _own(self) -> dict[str, Examples]:
    """The splits without a test split that is the validation split."""
    own = dict(self.splits)
    if "validation" in own and own["validation"] == own.get("test"):
      del own["test"]
    return own

  def _describe_classes(self) -> Iterable[str]:
    """Describes how many images of each class there are in each split."""
    names = self.info.class_names
    counts = {split: self.count_classes(split) for split in self._own}
    width = max(len(name) for name in names[:SHOWN])
    for label, name in enumerate(names[:SHOWN]):
      row = (f"{split} {x[label]:,}" for split, x in counts.items())
      yield f"{name:{width}}  {', '.join(row)}"
    if len(names) > SHOWN:
      train = counts["train"]
      least, most = train.index(min(train)), train.index(max(train))
      yield (
        f"... and {len(names) - SHOWN:,} more; {names[least]} has the fewest "
        f"images to train on, {train[least]:,}, {names[most]} the most, "
        f"{train[most]:,}"
      )
    for split, found in counts.items():
      lacking = [names[i] for i, count in enumerate(found) if not count]
      if lacking:
        yield f"no image in {split}: {join(lacking)}"


def parse_name(name: str) -> tuple[pathlib.Path, tuple[str, ...]]:
  """Splits "DIR#CLASS+CLASS", or "DIR", into the folder and the classes.

  Raises:
    DataError: if there is no such folder.
  """
  path, classes = name, ""
  if "#" in name and not os.path.exists(os.path.expanduser(name)):
    path, _, classes = name.rpartition("#")
  root = pathlib.Path(os.path.expanduser(path))
  if not root.is_dir():
    raise DataError(f"data.source=folder:{name}: there is no folder {root}")
  return root, tuple(classes.split("+")) if classes else ()


@functools.cache
def load_folder(name: str) -> Folder:
  """Lists a folder of classes, and reads the first bytes of each file.

  Raises:
    DataError: if it is not a folder of classes.
  """
  root, wanted = parse_name(name)
  listing = find_files(root)
  layout = find_layout(root, listing.files, wanted)
  used = [x.file for entries in layout.splits.values() for x in entries]
  sizes, bad = inspect_files(root, used)
  bad = [*listing.bad, *bad]
  before = {x.label for entries in layout.splits.values() for x in entries}
  good = {
    split: [entry for entry in entries if entry.file in sizes]
    for split, entries in layout.splits.items()
  }
  good = {split: x for split, x in good.items() if x or split == "train"}
  after = {x.label for entries in good.values() for x in entries}
  classes = sorted({entry.label for entry in good["train"]})
  if len(classes) < 2:
    raise _make_few_error(name, root, classes, listing.files, bad)
  held_out: list[str] = []
  if layout.cut:
    good, held_out = hold_out(good["train"])
  elif "test" not in good and "validation" in good:
    good["test"] = good["validation"]
  splits = {
    split: _label(root, split, entries, classes)
    for split, entries in good.items()
  }
  info = DatasetInfo(
    name=f"folder:{name}",
    directory=None,
    num_classes=len(classes),
    class_names=tuple(classes),
    channels=3,
    splits=make_splits({split: len(x) for split, x in splits.items()}),
    held_out=tuple(held_out),
  )
  facts = {split: describe_files(x, sizes) for split, x in good.items()}
  if layout.cut:
    facts["train"]["held out"] = RULE
  return Folder(
    info,
    splits,
    tuple(bad),
    listing.other,
    layout,
    tuple(sorted(before - after)),
    tuple(listing.empty),
    facts,
    [[os.fspath(root / x) for x in group] for group in find_alike(sizes)],
  )


def _make_few_error(
  name: str,
  root: pathlib.Path,
  classes: list[str],
  files: list[str],
  bad: list[Bad],
) -> DataError:
  """Makes the error for a folder with images of less than two classes."""
  lines = [
    f"folder:{name} has images of {counted(len(classes), 'class')}, and at "
    f"least two are needed: arrange images as {root / 'CLASS' / 'photo.jpg'}, "
    f"or as {root / 'train' / 'CLASS' / 'photo.jpg'} with {root / 'test'} "
    f"beside it{WITHOUT.format(root)}"
  ]
  inside = {tuple(x.split("/")[:2]) for x in files if x.count("/") > 1}
  if len(classes) == 1 and len(inside) > 1:
    lines.append(f"  did you mean folder:{root / sorted(inside)[0][0]}?")
  return DataError("\n".join(lines + [f"  {x}" for x in describe_bad(bad)]))


def hold_out(
  entries: list[Entry],
) -> tuple[dict[str, list[Entry]], list[str]]:
  """Holds out a part of a split for testing.

  Returns:
    Split -> entries, and the paths of those that are held out.
  """
  by_class: dict[str, list[str]] = {}
  for entry in entries:
    by_class.setdefault(entry.label, []).append(entry.name)
  chosen = choose_held_out(by_class)
  good = {"train": [x for x in entries if x.name not in chosen]}
  test = [entry for entry in entries if entry.name in chosen]
  if test:
    good["test"] = test
  return good, sorted(entry.file for entry in test)


def describe_files(
  entries: list[Entry], sizes: Mapping[str, int]
) -> dict[str, Any]:
  """Computes a split's part of the fingerprint, from names and sizes."""
  ordered = sorted(entries, key=lambda entry: normalize(entry.name))
  return {
    "examples": len(entries),
    "bytes": sum(sizes[entry.file] for entry in entries),
    "names and sizes": make_digest(
      f"{normalize(x.name)} {sizes[x.file]}" for x in ordered
    ),
  }


def _label(
  root: pathlib.Path, split: str, entries: list[Entry], classes: list[str]
) -> Examples:
  """Makes the examples of a split.

  Raises:
    DataError: for a class that the training split does not have.
  """
  index = {label: i for i, label in enumerate(classes)}
  unknown = sorted({entry.label for entry in entries} - index.keys())
  if unknown:
    raise DataError(
      f"folder:{root} has classes in {split} without training images: "
      f"{', '.join(map(repr, unknown[:5]))}; {nearest(unknown[0], classes)}"
    )
  ordered = sorted(entries, key=lambda x: (hash_name(x.name), x.file))
  items = [
    (os.fspath(root / entry.file), index[entry.label]) for entry in ordered
  ]
  return Examples(items, read_labelled)
