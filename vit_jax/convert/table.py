# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion as data: rows of (their name, our path, transform), both ways.

A name is a template. `{i}` is a number, `{b-1}` a number one less than the `b`
of the other side, any other `{word}` a piece of a name. A row whose `{i}` our
path lacks is one layer of an array that we stack, with a leading L.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vit_jax.convert.files import CheckpointError

# A number, and where a template counts from less than the other side.
_HOLE = re.compile(r"\{([a-z]+)(-1)?\}")
NUMBERS = ("i", "b", "u")

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Transform:
  """How an array of theirs becomes ours, and back.

  Both functions work on anything with NumPy's methods, shapes alone included.

  Attributes:
    read: (array, heads K) -> an array, or a tuple of them, one a path of ours.
    write: the inverse, (array or tuple, K) -> array.
  """

  read: Callable[[Any, int], Any]
  write: Callable[[Any, int], Any]


SAME = Transform(lambda x, heads: x, lambda x, heads: x)


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of a table.

  Attributes:
    theirs: template of a name in the file.
    ours: template of our path, or several whose arrays lie in one of theirs.
    transform: of the array.
  """

  theirs: str
  ours: str | tuple[str, ...]
  transform: Transform = SAME

  @property
  def paths(self) -> tuple[str, ...]:
    """Our templates."""
    return (self.ours,) if isinstance(self.ours, str) else self.ours

  @property
  def stacked(self) -> bool:
    """Whether a file holds a layer of our array."""
    return "{i}" in self.theirs and "{i}" not in self.paths[0]


def match(template: str, name: str) -> dict[str, int | str] | None:
  """What stands in the holes of a template where a name has its form."""
  found = _compile(template).fullmatch(name)
  if found is None:
    return None
  less = {word for word, shift in _HOLE.findall(template) if shift}
  return {
    word: int(text) + (word in less) if word in NUMBERS else text
    for word, text in found.groupdict().items()
  }


@functools.cache
def _compile(template: str) -> re.Pattern:
  """The regular expression of a template."""
  parts, end = [], 0
  for hole in _HOLE.finditer(template):
    parts.append(re.escape(template[end : hole.start()]))
    form = r"0|[1-9]\d{0,3}" if hole[1] in NUMBERS else r"[^/.]+"
    parts.append(f"(?P<{hole[1]}>{form})")
    end = hole.end()
  return re.compile("".join(parts) + re.escape(template[end:]))


def fill(template: str, values: Mapping[str, int | str]) -> str:
  """A template with its holes filled."""

  def put(hole):
    value = values[hole[1]]
    return str(value - 1 if hole[2] else value)

  return _HOLE.sub(put, template)


@dataclasses.dataclass
class Found:
  """What a table makes of a file's arrays.

  Attributes:
    whole: our path -> array.
    layers: our path -> layer -> array, of what we stack.
    left: names that no row knows.
    names: (our path, layer or None) -> theirs.
    odd: name -> shape, where it can not take the form that its row wants.
  """

  whole: Arrays = dataclasses.field(default_factory=dict)
  layers: dict[str, dict[int, Any]] = dataclasses.field(default_factory=dict)
  left: list[str] = dataclasses.field(default_factory=list)
  names: dict[tuple[str, int | None], str] = dataclasses.field(
    default_factory=dict
  )
  odd: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

  def stack(self) -> Arrays:
    """Our path -> array, layers stacked; as many as the most have."""
    arrays = dict(self.whole)
    for path, layers in self.layers.items():
      arrays[path] = np.stack([layers[i] for i in sorted(layers)])
    return arrays


def read_rows(rows: Iterable[Row], arrays: Arrays, heads: int) -> Found:
  """Puts every array of a file in its place in our tree.

  Args:
    rows: of the format.
    arrays: name -> array.
    heads: K.

  Returns:
    What was found; arrays that can not take the form that their row wants are
    left out, for `check` to name.
  """
  found = Found()
  rows = list(rows)
  for name, array in arrays.items():
    for row in rows:
      values = match(row.theirs, name)
      if values is not None:
        break
    else:
      found.left.append(name)
      continue
    try:
      parts = row.transform.read(array, heads)
    except (ValueError, TypeError, IndexError, ZeroDivisionError):
      found.odd[name] = tuple(array.shape)
      continue
    parts = parts if isinstance(parts, tuple) else (parts,)
    for template, part in zip(row.paths, parts, strict=True):
      path = fill(template, values)
      found.names[path, values["i"] if row.stacked else None] = name
      if row.stacked:
        found.layers.setdefault(path, {})[values["i"]] = part
      else:
        found.whole[path] = part
  return found


def write_rows(
  rows: Iterable[Row], ours: Arrays, heads: int
) -> tuple[Arrays, list[str]]:
  """Our arrays by their names.

  Returns:
    Name -> array, and our paths that no row knows.
  """
  written, used, rows = {}, set(), list(rows)
  for path in ours:
    if path in used:
      continue
    for row in rows:
      matches = (match(template, path) for template in row.paths)
      values = next((v for v in matches if v is not None), None)
      if values is None:
        continue
      paths = [fill(template, values) for template in row.paths]
      if any(p not in ours for p in paths):
        continue
      used.update(paths)
      group = [ours[p] for p in paths]
      for i in range(group[0].shape[0]) if row.stacked else (None,):
        parts = tuple(x if i is None else x[i] for x in group)
        part = parts if len(parts) > 1 else parts[0]
        name = fill(row.theirs, values if i is None else {**values, "i": i})
        written[name] = row.transform.write(part, heads)
      break
  return written, [path for path in ours if path not in used]


def check(
  arrays: Arrays, expected: Mapping[str, tuple[int, ...]], what: str
) -> None:
  """Compares a file's arrays with what its model wants.

  Args:
    arrays: name -> array.
    expected: name -> shape.
    what: names file and model, for the message.

  Raises:
    CheckpointError: one for all that differs, as lines of - (missing) and +
      (in the file, and not wanted).
  """
  lines = []
  for name in sorted(expected.keys() | arrays.keys()):
    want = expected.get(name)
    have = tuple(arrays[name].shape) if name in arrays else None
    if want == have:
      continue
    if want is not None:
      lines.append(f"  - {name} {want}")
    if have is not None:
      lines.append(f"  + {name} {have}")
  if lines:
    shown = lines if len(lines) <= 40 else [*lines[:40], "  ..."]
    raise CheckpointError(
      f"{what}: {len(lines)} differences, - is missing, + is not wanted\n"
      + "\n".join(shown)
    )
