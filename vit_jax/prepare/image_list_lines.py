# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of an image list, read and checked one by one."""

import csv
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from vit_jax.data.folder_names import SPLITS
from vit_jax.data.info import DataError
from vit_jax.storage.untrusted import parse_json

MAX_LINE = 1 << 20  # Bytes.

COLUMNS = ("image", "labels", "split")


@dataclasses.dataclass(frozen=True)
class ListedImage:
  """A line of an image list."""

  image: str
  labels: list[str]
  split: str


@dataclasses.dataclass(frozen=True)
class ImageList:
  """An image list on a disk, of JSON lines or CSV.

  Attributes:
    path: the file.
    root: directory that relative paths start from.
    columns: column names of CSV, in their order; None for JSON lines.
  """

  path: str
  root: str
  columns: tuple[str, ...] | None

  def iterate(self) -> Iterator[tuple[int, int, bytes]]:
    """Yields (line number, offset, bytes) of each line that is not blank."""
    with open(self.path, "rb") as file:
      offset = number = 0
      while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
          raise DataError(
            f"{self.path}: line {number:,} exceeds {MAX_LINE:,} bytes: is it "
            f"the right file?"
          )
        is_header = self.columns is not None and number == 1
        if line.strip() and not is_header:
          yield number, offset, line
        offset += len(line)

  def read(self, offset: int) -> ListedImage:
    """Reads the line at `offset`; raises DataError if the file has changed."""
    with open(self.path, "rb") as file:
      file.seek(offset)
      line = file.readline(MAX_LINE)
    try:
      return self.parse(line)
    except ValueError as error:
      raise DataError(f"{self.path} changed while it was read") from error

  def parse(self, line: bytes) -> ListedImage:
    """Parses a line; raises ValueError, with the reason, if it is invalid."""
    text = line.decode()
    if self.columns is None:
      fields = parse_json(text)
      if not isinstance(fields, dict):
        raise ValueError('it must be {"image": ..., "labels": [...]}')
      labels = fields.get("labels")
    else:
      values = read_csv(text)
      if len(values) != len(self.columns):
        raise ValueError(
          f"it has {len(values)} columns, and the first line "
          f"{len(self.columns)}"
        )
      fields = dict(zip(self.columns, values, strict=True))
      labels = fields["labels"].split("|")
    unknown = fields.keys() - {*COLUMNS}
    if unknown:
      raise ValueError(
        f"unknown fields {', '.join(sorted(unknown))}: only "
        f"{', '.join(COLUMNS)} are read"
      )
    listed = check_fields(
      fields.get("image"), labels, fields.get("split", "train")
    )
    path = split_image(listed.image)[0] or listed.image
    # Most paths cannot leave the folder, and there are many to check.
    if ".." in path or os.path.isabs(path):
      root = os.path.abspath(self.root)
      place = pathlib.Path(os.path.abspath(self.locate(path)))
      if not place.is_relative_to(root):
        raise ValueError(
          f"{listed.image} is outside of {root}: if you trust the list, give "
          f"--root=DIR, a folder that contains all of its images"
        )
    return listed

  def locate(self, path: str) -> str:
    """Returns the path of a file that the list names."""
    return os.path.join(self.root, path)


def read_csv(line: str) -> list[str]:
  """Parses a line of CSV; raises ValueError."""
  try:
    return next(csv.reader([line]), [])
  except csv.Error as error:
    raise ValueError(str(error)) from error


def split_image(image: str) -> tuple[str, str]:
  """Splits "A.tar#B" into ("A.tar", "B"), any other path into ("", path)."""
  path, mark, member = image.partition(".tar#")
  return (f"{path}.tar", member) if mark else ("", image)


def check_fields(image: Any, labels: Any, split: Any) -> ListedImage:
  """Checks the fields of a line; raises ValueError."""
  if not isinstance(image, str) or not image:
    raise ValueError("it has no image")
  if re.search(r"\.(tgz|tar\.\w+)#", image):
    raise ValueError(
      f"{image} is in a compressed archive, which cannot be read at an offset: "
      f"decompress it to a .tar"
    )
  if not isinstance(labels, list) or not labels:
    raise ValueError("it has no list of labels")
  if not all(isinstance(label, str) and label.strip() for label in labels):
    raise ValueError(f"labels must be non-empty strings, not {labels}")
  if "\0" in image:
    raise ValueError(f"{image!r} is not a valid file name")
  # JSON can hold lone surrogates, which no file can: a ValueError, too.
  os.fsencode(image), "".join(labels).encode()
  if len(set(labels)) < len(labels):
    raise ValueError(f"the labels {labels} contain one twice")
  if str(split).lower() not in SPLITS:
    raise ValueError(f"its split {split!r} is not train, val or test")
  return ListedImage(image, labels, SPLITS[str(split).lower()])
