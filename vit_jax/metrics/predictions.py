# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of predictions, each written when it is known, and continued later."""

import collections
import csv
import dataclasses
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.metrics.progress import escape
from vit_jax.storage.files import replacing, to_csv

FORMATS = ("table", "json", "jsonl", "csv")
COLUMNS = ("path", "rank", "index", "class", "probability")

# Formats that can be continued, by the suffix of the file.
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl"}

# By how much a probability may differ when an image is classified again, in
# another batch or on another kind of device.
TOLERANCE = 0.02


@dataclasses.dataclass(frozen=True)
class Prediction:
  """The classes of a photograph.

  Attributes:
    path: path of the image.
    classes: (index, name, probability), the most likely first.
    error: why there are no classes, or None.
  """

  path: str
  classes: Sequence[tuple[int, str, float]] = ()
  error: str | None = None


def format_table(found: Prediction) -> str:
  """Formats the path of a photograph and, below it, its classes."""
  lines = [escape(found.path)]
  lines += [f"  {p:6.1%}  {escape(name)}" for _, name, p in found.classes]
  if found.error:
    lines.append(f"  {escape(found.error)}")
  return "\n".join(lines) + "\n"


def format_json(found: Prediction) -> str:
  """Formats a photograph as a JSON object; bytes of no encoding as \\udcXX."""
  row: dict[str, Any] = {"path": found.path}
  if found.error:
    row["error"] = found.error
  else:
    row["predictions"] = [
      {"index": index, "class": name, "probability": probability}
      for index, name, probability in found.classes
    ]
  text = json.dumps(row, ensure_ascii=False)
  return text if text.isprintable() else json.dumps(row)


def format_csv(found: Prediction) -> str:
  """Formats a row per class; an unreadable photograph has none."""
  return "".join(
    to_csv([found.path, place, index, name, f"{probability:.6f}"])
    for place, (index, name, probability) in enumerate(found.classes, 1)
  )


def write(
  predictions: Iterable[Prediction], form: str, out: Any, start: bool = True
) -> Iterator[Prediction]:
  """Writes predictions, each as soon as it is known, and yields them.

  Args:
    predictions: one an image.
    form: one of FORMATS.
    out: where to; flushed after each image.
    start: whether nothing stands there yet.
  """
  if form == "csv" and start:
    out.write(",".join(COLUMNS) + "\n")
  if form == "json":
    out.write('{"images": [')
  for number, found in enumerate(predictions):
    if form == "json":
      out.write(", " * bool(number) + format_json(found))
    elif form == "jsonl":
      out.write(format_json(found) + "\n")
    else:
      out.write(format_csv(found) if form == "csv" else format_table(found))
    out.flush()
    yield found
  if form == "json":
    out.write("]}\n")
  out.flush()


def get_format(path: str, given: str | None) -> str:
  """Returns the format of a file that can be continued.

  Raises:
    ConfigError: if its suffix names none, or another than the one given.
  """
  form = SUFFIXES.get(os.path.splitext(path)[1].lower())
  if form is None or given not in (None, form):
    raise ConfigError(
      f"--out={path} must end in {' or '.join(SUFFIXES)}, which names its "
      f"format{f', and not --format={given}' if form else ''}: other formats "
      f"cannot be continued"
    )
  return form


def read_back(path: str, form: str) -> tuple[list[Prediction], int]:
  """Reads what an earlier command has written to a file.

  A row that was cut off is left out. So is the last image of a CSV, of which
  rows may be missing.

  Args:
    path: the file; it need not exist.
    form: "csv" or "jsonl".

  Returns:
    The predictions, and the number of bytes that they take.

  Raises:
    ConfigError: if it holds something else.
  """
  try:
    with open(path, "rb") as file:
      data = file.read()
  except FileNotFoundError:
    return [], 0
  except OSError as error:
    raise ConfigError(f"--out={path} cannot be read: {error}") from error
  start = ",".join(COLUMNS).encode() if form == "csv" else b'{"path": '
  size = min(len(start), len(data))
  if data[:size] != start[:size]:  # Nothing of another file is cut off.
    raise ConfigError(
      f"--out={path} exists, and does not hold predictions: choose another name"
    )
  data = data[: data.rfind(b"\n") + 1]
  text = data.decode("utf-8", "surrogateescape")
  try:
    parse = _parse_csv if form == "csv" else _parse_jsonl
    found = parse(text)
  except (KeyError, ValueError, TypeError, AttributeError) as error:
    raise ConfigError(
      f"--out={path} is damaged: {error}; choose another name, or delete it"
    ) from error
  size = sum(size for _, size in found)
  if form == "csv" and data:
    size += len(start) + 1
  return [x for x, _ in found], size


def _parse_jsonl(text: str) -> list[tuple[Prediction, int]]:
  """Parses (prediction, bytes) of each line."""
  found = []
  for line in text.split("\n")[:-1]:
    row = json.loads(line)
    classes = [
      (int(x["index"]), str(x["class"]), float(x["probability"]))
      for x in row.get("predictions", ())
    ]
    size = len(line.encode("utf-8", "surrogateescape")) + 1
    found.append((Prediction(row["path"], classes, row.get("error")), size))
  return found


def _parse_csv(text: str) -> list[tuple[Prediction, int]]:
  """Parses (prediction, bytes) of each image but the last."""
  rows = list(csv.reader(io.StringIO(text)))
  if rows and tuple(rows[0]) != COLUMNS:
    raise ValueError("other columns")
  found = []
  for path, group in itertools.groupby(rows[1:], key=lambda row: row[0]):
    classes = [
      (int(index), name, float(probability))
      for _, _, index, name, probability in group
    ]
    prediction = Prediction(path, classes)
    size = len(format_csv(prediction).encode("utf-8", "surrogateescape"))
    found.append((prediction, size))
  return found[:-1]


def rewrite(path: str, form: str, kept: Sequence[Prediction]) -> int:
  """Writes a file anew with some of its predictions; returns its bytes.

  Raises:
    ConfigError: if it cannot be written.
  """
  try:
    with (
      replacing(epath.Path(path)) as target,
      open(target, "w", encoding="utf-8", errors="surrogateescape") as out,
    ):
      collections.deque(write(kept, form, out), maxlen=0)
    return os.path.getsize(path)
  except OSError as error:
    raise ConfigError(f"--out={path} cannot be written: {error}") from error


def check_same(before: Prediction, now: Prediction, path: str) -> None:
  """Checks that a file is continued with the weights that began it.

  Args:
    before: what stands in the file.
    now: the same image, classified again.
    path: the file.

  Raises:
    ConfigError: if they differ.
  """
  counts = len(before.classes), len(now.classes)
  if counts[0] != counts[1] and before.error == now.error:
    raise ConfigError(
      f"--out={path} holds {counts[0]} classes of each image, and this command "
      f"writes {counts[1]}: choose another name, or continue with "
      f"--top={counts[0]}"
    )
  same = before.error == now.error
  then = {index: (name, p) for index, name, p in before.classes}
  for index, name, p in now.classes if same else ():
    other, q = then.get(index, (name, 0.0))
    same = same and name == other and abs(p - q) <= TOLERANCE
  if not same:
    raise ConfigError(
      f"--out={path} holds other predictions for {now.path} than these "
      f"weights and options give: choose another name, or delete the file"
    )
