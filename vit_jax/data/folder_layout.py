# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How a folder of photographs is arranged: SPLIT/CLASS, CLASS/SPLIT, or CLASS.

Names of folders tell splits from classes, together with what is in them. What
can be read in two ways is refused, with both.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from typing import NamedTuple, NoReturn

from vit_jax.config import nearest
from vit_jax.config.errors import counted
from vit_jax.data.folder_names import (
  SPLITS,
  find_split,
  remove_split,
  to_label,
)
from vit_jax.data.info import DataError

SHOWN = 5  # Names in a message.

# What else a folder may be, as the end of a message.
WITHOUT = "\n  to learn without labels, take it without classes: images:{}"

ORDER = tuple(dict.fromkeys(SPLITS.values()))


class Entry(NamedTuple):
  """An image.

  Attributes:
    file: its path below the folder.
    name: CLASS/FILE, which decides its place in the order of its split.
    label: its class.
  """

  file: str
  name: str
  label: str


@dataclasses.dataclass
class Layout:
  """What is where in a folder.

  Attributes:
    splits: split -> its images; "train" is the first.
    cut: whether there is no split but "train".
    left_out: (folder, number of images, why it is left out).
    notes: what a reader should know.
  """

  splits: dict[str, list[Entry]]
  cut: bool = False
  left_out: list[tuple[str, int, str]] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)


class Child:
  """A folder below the root.

  Attributes:
    name: its name.
    direct: number of images in it.
    inside: folder in it -> number of images below that.
  """

  def __init__(self, name: str):
    self.name = name
    self.direct = 0
    self.inside: collections.Counter[str] = collections.Counter()

  @property
  def total(self) -> int:
    """Number of images below it."""
    return self.direct + sum(self.inside.values())

  @property
  def split(self) -> str | None:
    """The split that it is, by its name and the folders in it; or None."""
    if sum(self.inside.values()) <= self.direct:
      return None
    return find_split(self.name)


def join(names: Collection[str]) -> str:
  """Lists some names, as Python writes them where they are unusual."""
  shown = [to_label(x) if x.isprintable() else ascii(x) for x in names]
  rest = len(shown) - SHOWN
  return ", ".join(shown[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def find_layout(
  root: pathlib.Path, files: Sequence[str], wanted: Collection[str] = ()
) -> Layout:
  """Finds how a folder is arranged.

  Args:
    root: the folder, for messages.
    files: paths of its images below it.
    wanted: names of the classes to use; none are all.

  Raises:
    DataError: if it can be read in two ways, or has no class folders.
  """
  children: dict[str, Child] = {}
  loose = 0
  for file in files:
    first, *rest = file.split("/")
    if not rest:
      loose += 1
      continue
    child = children.setdefault(first, Child(first))
    if len(rest) == 1:
      child.direct += 1
    else:
      child.inside[rest[0]] += 1
  folders = list(children.values())
  splits = [child for child in folders if child.split]
  if wanted and _are_classes(wanted, children, splits):
    layout = _read_classes(files)
  elif _is_by_split(root, folders, splits):
    layout = _read_by_split(root, files, folders, loose)
    loose = 0
  elif _is_split_by_class(folders):
    layout = _read_classes_of_splits(files)
  else:
    _check_classes(root, folders)
    layout = _read_classes(files)
    layout.notes += [
      f"{child.name}/ is a class, as its images are not in class folders"
      for child in folders
      if child.name.lower() in SPLITS
    ]
  layout.splits = {x: layout.splits[x] for x in ORDER if x in layout.splits}
  if loose:
    _refuse_loose(root, [file for file in files if "/" not in file])
  if wanted:
    _select(layout, wanted, root)
  layout.notes += _describe_spellings(layout)
  return layout


def _are_classes(
  wanted: Collection[str], children: dict[str, Child], splits: list[Child]
) -> bool:
  """Whether the classes that are named are folders below the root itself."""
  below = {to_label(x) for child in splits for x in child.inside}
  there = {to_label(name) for name in children}
  named = {to_label(name) for name in wanted}
  return named <= there and not named <= below


def _is_by_split(
  root: pathlib.Path, folders: list[Child], splits: list[Child]
) -> bool:
  """Whether the folders are splits; raises DataError if they may be both."""
  kinds = {child.split for child in splits}
  others = [x for x in folders if not x.split and not find_split(x.name)]
  if "train" in kinds and (len(kinds) > 1 or not others):
    return True
  exact = [child for child in splits if child.name.lower() in SPLITS]
  if "train" in kinds and exact:
    split, inside = exact[0].name, join(exact[0].inside)
    raise DataError(
      f"{root} can be read in two ways: {split}/ holds folders, {inside}, as "
      f"a split does, and beside it lie {join([x.name for x in others])}\n"
      f"  if {split} is a class, name all classes: "
      f"folder:{root}#{split}+{others[0].name}\n"
      f"  if it is a split, use folder:{root / split}, or move the others into "
      f"it"
    )
  if "train" not in kinds and exact:
    inside = {x for child in exact for x in child.inside}
    both = sorted(inside & {x.name for x in others})
    if both or not others:
      beside = f"beside {join(both)} with images of their own" if both else ""
      raise DataError(
        f"{root} has {join([x.name for x in exact])}/ with folders of classes, "
        f"{join(sorted(inside))}, {beside or 'and no folder for training'}: "
        f"move the images to train on to {root / 'train' / 'CLASS'}"
      )
  return False


def _is_split_by_class(folders: list[Child]) -> bool:
  """Whether every class has the folders of its splits in it."""
  kinds = {find_split(x) for child in folders for x in child.inside}
  alone = all(child.inside and not child.direct for child in folders)
  return bool(folders) and alone and None not in kinds and "train" in kinds


def _read_classes(files: Sequence[str]) -> Layout:
  """Takes the folders below the root for classes."""
  entries = [
    Entry(file, file, to_label(file.split("/")[0]))
    for file in files
    if "/" in file
  ]
  return Layout({"train": entries}, cut=True)


def _read_by_split(
  root: pathlib.Path, files: Sequence[str], folders: list[Child], loose: int
) -> Layout:
  """Takes the folders below the root for splits.

  Raises:
    DataError: if two are the same split, or one has images in no class folder.
  """
  layout, taken = Layout({"train": []}), {}
  if loose:
    layout.left_out.append((str(root), loose, "not in a folder of a split"))
  for child in folders:
    if child.split is None:
      why = "in no class folder" if find_split(child.name) else "not a split"
      layout.left_out.append((f"{child.name}/", child.total, why))
    elif child.split in taken.values():
      _refuse_twice(root, child.split, folders)
    else:
      taken[child.name] = child.split
  for file in files:
    first, _, name = file.partition("/")
    if name and first in taken:
      if "/" not in name:
        _refuse_loose(root, [x for x in files if x.rpartition("/")[0] == first])
      entry = Entry(file, name, to_label(name.split("/")[0]))
      layout.splits.setdefault(taken[first], []).append(entry)
  layout.cut = len(layout.splits) == 1
  inside: dict[str, set[str]] = {}
  for entry in layout.splits["train"]:
    label, *rest = entry.name.split("/")
    inside.setdefault(label, set()).update(rest[:-1][:1])
  _refuse_same(root, inside)
  return layout


def _refuse_twice(
  root: pathlib.Path, split: str, folders: list[Child]
) -> NoReturn:
  """Refuses two folders of one split: one may be a part or a copy."""
  names = [child.name for child in folders if child.split == split]
  raise DataError(
    f"{root} has {len(names)} folders that may be the {split} split, "
    f"{join(names)}: rename all but one, or move them away"
  )


def _read_classes_of_splits(files: Sequence[str]) -> Layout:
  """Takes the folders below the root for classes, those in them for splits."""
  layout = Layout({"train": []})
  for file in files:
    label, *rest = file.split("/")
    if len(rest) > 1:
      split = str(find_split(rest[0]))
      entry = Entry(file, file, to_label(label))
      layout.splits.setdefault(split, []).append(entry)
  layout.cut = len(layout.splits) == 1
  return layout


def _check_classes(root: pathlib.Path, folders: list[Child]) -> None:
  """Raises DataError if folders that are taken for classes look like splits."""
  by_name: dict[str, dict[str | None, str]] = {}
  for child in folders:
    kind = find_split(child.name)
    by_name.setdefault(remove_split(child.name), {})[kind] = child.name
  for kinds in by_name.values():
    names = [name for kind, name in kinds.items() if kind]
    if len(names) > 1 and "train" in kinds:
      raise DataError(
        f"{root} has {join(names)}, which are named after splits, and hold no "
        f"class folders: arrange images as {root / names[0] / 'CLASS'}/ and "
        f"{root / names[1] / 'CLASS'}/"
      )
  inside = {child.name: set(child.inside) for child in folders}
  _refuse_same(root, inside)


def _refuse_same(root: pathlib.Path, inside: dict[str, set[str]]) -> None:
  """Raises DataError if every "class" holds the same folders."""
  if len(inside) < 2:
    return
  same = sorted(set.intersection(*inside.values()))
  if len(same) > 1 or any(find_split(name) for name in same):
    first, second = sorted(inside)[:2]
    raise DataError(
      f"{root} has {len(inside):,} folders, {join(sorted(inside))}, and each "
      f"of them holds {join(same)}: which are the classes?\n"
      f"  if {first} is a split and {same[0]} a class, rename it to train, and "
      f"others to val and test\n"
      f"  if {first} is a class with several folders, name all classes: "
      f"folder:{root}#{first}+{second}"
    )


def _refuse_loose(root: pathlib.Path, loose: list[str]) -> NoReturn:
  """Refuses images of which no folder says the class."""
  raise DataError(
    f"{root} has {counted(len(loose), 'image')} outside of class folders, as "
    f"{join(loose[:1])}: move each to a folder with the name of its class"
    f"{WITHOUT.format(root)}"
  )


def _select(
  layout: Layout, wanted: Collection[str], root: pathlib.Path
) -> None:
  """Keeps the wanted classes; raises DataError if one does not exist."""
  there = sorted({entry.label for entry in layout.splits["train"]})
  chosen = {to_label(name) for name in wanted}
  for label in sorted(chosen - set(there)):
    raise DataError(
      f"folder:{root} has no class {label!r}: {nearest(label, there)}"
    )
  for split, entries in layout.splits.items():
    layout.splits[split] = [x for x in entries if x.label in chosen]


def _describe_spellings(layout: Layout) -> list[str]:
  """Describes classes that are written in several ways, or nearly alike."""
  spellings: dict[str, set[str]] = {}
  for entries in layout.splits.values():
    for entry in entries:
      # The folder of the class: the first of the name in every layout.
      spellings.setdefault(entry.label, set()).add(entry.name.split("/")[0])
  notes = [
    f"{label} is one class, of folders whose names are written in several "
    f"ways: {', '.join(map(ascii, sorted(names)))}"
    for label, names in spellings.items()
    if len(names) > 1
  ]
  notes += [
    f"{label} is a class whose folder's name is not UTF-8"
    for label, names in spellings.items()
    if any("\udc80" <= x <= "\udcff" for name in names for x in name)
  ]
  folded: dict[str, list[str]] = {}
  for label in sorted(spellings):
    folded.setdefault(label.casefold().strip(), []).append(label)
  return notes + [
    f"{', '.join(map(repr, labels))} are classes of their own, and differ in "
    f"case or spaces alone"
    for labels in folded.values()
    if len(labels) > 1
  ]
