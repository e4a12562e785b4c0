# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion as data: rows of (their name, our path, transform), both ways.

A name is a template. `{i}` is a number, `{b-1}` a number one less than the `b`
of the other side, any other `{word}` part of a name. Where `{i}` is in their
name and not in our path, theirs is one layer of our stacked array [L ...].
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from vit_jax.checkpoint.allocator import allocate
from vit_jax.config.errors import counted
from vit_jax.convert.file_type import CheckpointError
from vit_jax.convert.lazy import load, make_hollow

# A placeholder; -1 where this side counts from one less than the other.
_PLACEHOLDER = re.compile(r"\{([a-z]+)(-1)?\}")
NUMBERS = ("i", "b", "u")

Arrays = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Transform:
  """Converts an array of theirs into ours, and back.

  Both functions work on anything with NumPy's methods, shapes alone included.
  What `read` returns are views: see `make_hollow`.

  Attributes:
    read: (array, number of heads K) -> our array, or a tuple of one per path.
    write: the inverse, (array or tuple, K) -> array.
  """

  read: Callable[[Any, int], Any]
  write: Callable[[Any, int], Any]


SAME = Transform(lambda x, heads: x, lambda x, heads: x)


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a conversion table.

  Attributes:
    theirs: template of a name in the file.
    ours: template of our path; several if one array of theirs holds them all.
    transform: converts the array.
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
    """True if an array of the file is one layer of our stacked array."""
    return "{i}" in self.theirs and "{i}" not in self.paths[0]


def match(template: str, name: str) -> dict[str, int | str] | None:
  """The values of a template's placeholders in a name; None if it differs."""
  found = _compile(template).fullmatch(name)
  if found is None:
    return None
  less = {word for word, shift in _PLACEHOLDER.findall(template) if shift}
  return {
    word: int(text) + (word in less) if word in NUMBERS else text
    for word, text in found.groupdict().items()
  }


@functools.cache
def _compile(template: str) -> re.Pattern:
  """Compiles a template to a regular expression."""
  parts, end = [], 0
  for found in _PLACEHOLDER.finditer(template):
    parts.append(re.escape(template[end : found.start()]))
    form = r"0|[1-9]\d{0,3}" if found[1] in NUMBERS else r"[^/.]+"
    parts.append(f"(?P<{found[1]}>{form})")
    end = found.end()
  return re.compile("".join(parts) + re.escape(template[end:]))


def fill(template: str, values: Mapping[str, int | str]) -> str:
  """Fills in the placeholders of a template."""

  def put(found):
    value = values[found[1]]
    return str(value - 1 if found[2] else value)

  return _PLACEHOLDER.sub(put, template)


@dataclasses.dataclass
class Found:
  """The arrays of a file under our paths, without their values.

  Attributes:
    whole: our path -> array, of arrays that are not stacked.
    layers: our path -> layer -> array, of arrays that we stack.
    places: their name -> its row's transform, and where the arrays that it
      gives go: our path, and the layer or None.
    left: names that no row matches.
    names: (our path, layer or None) -> their name.
    odd: name -> shape, of arrays that their row's transform cannot take.
  """

  whole: Arrays = dataclasses.field(default_factory=dict)
  layers: dict[str, dict[int, Any]] = dataclasses.field(default_factory=dict)
  left: list[str] = dataclasses.field(default_factory=list)
  places: dict[str, tuple[Transform, list[tuple[str, int | None]]]] = (
    dataclasses.field(default_factory=dict)
  )
  names: dict[tuple[str, int | None], str] = dataclasses.field(
    default_factory=dict
  )
  odd: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

  def load(self, arrays: Arrays, heads: int) -> Arrays:
    """Loads the values, one array of the file at a time.

    Args:
      arrays: as of `read_rows`, float32, with all layers.
      heads: number of heads (K).

    Returns:
      Our path -> array, with layers stacked to [L ...].
    """
    made = dict(self.whole)
    for path, layers in self.layers.items():
      made[path] = allocate((len(layers), *layers[0].shape))
    for name, (transform, places) in self.places.items():
      parts = transform.read(load(arrays[name]), heads)
      parts = parts if isinstance(parts, tuple) else (parts,)
      for (path, layer), part in zip(places, parts, strict=True):
        if layer is None:
          made[path] = np.asarray(part, order="C")
        else:
          made[path][layer] = part
    return made


def read_rows(rows: Iterable[Row], arrays: Arrays, heads: int) -> Found:
  """Finds the places of a file's arrays among ours.

  Args:
    rows: the table of the format.
    arrays: name -> array.
    heads: number of heads (K).

  Returns:
    The arrays by our paths. Those that their row's transform cannot take are
    left out, for `check_shapes` to report.
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
      parts = row.transform.read(make_hollow(array), heads)
    except (ValueError, TypeError, IndexError, ZeroDivisionError):
      found.odd[name] = tuple(array.shape)
      continue
    parts = parts if isinstance(parts, tuple) else (parts,)
    places = []
    for template, part in zip(row.paths, parts, strict=True):
      path, layer = fill(template, values), None
      if row.stacked:
        layer = int(values["i"])
        found.layers.setdefault(path, {})[layer] = part
      else:
        found.whole[path] = part
      found.names[path, layer] = name
      places.append((path, layer))
    found.places[name] = row.transform, places
  return found


def write_rows(
  rows: Iterable[Row], ours: Arrays, heads: int
) -> tuple[dict[str, Callable[[], Any]], list[str]]:
  """Converts our arrays to theirs; the inverse of `read_rows`.

  Returns:
    Name -> the function that makes the array, and those of our paths that no
    row matches.
  """
  written: dict[str, Callable[[], Any]] = {}
  used, rows = set(), list(rows)
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
        name = fill(row.theirs, values if i is None else {**values, "i": i})
        written[name] = functools.partial(
          _write, row.transform, group, i, heads
        )
      break
  return written, [path for path in ours if path not in used]


def _write(
  transform: Transform, group: list, layer: int | None, heads: int
) -> Any:
  """Makes an array of theirs from those of ours, or from a layer of each."""
  parts = tuple(x if layer is None else x[layer] for x in group)
  return transform.write(parts if len(parts) > 1 else parts[0], heads)


def check_shapes(
  arrays: Arrays, expected: Mapping[str, tuple[int, ...]], what: str
) -> None:
  """Compares the shapes of arrays with those that a model needs.

  Args:
    arrays: name -> array.
    expected: name -> shape.
    what: beginning of the message, names the file and the model.

  Raises:
    CheckpointError: lists all differences, as lines of - (missing) and +
      (unexpected).
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
      f"{what}: {counted(len(lines), 'difference')} (- missing, "
      f"+ unexpected)\n" + "\n".join(shown)
    )
