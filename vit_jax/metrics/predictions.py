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
import sys
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Sequence,
)
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.errors import counted
from vit_jax.metrics.progress import escape
from vit_jax.storage.files import replacing, to_csv
from vit_jax.storage.paths import is_local

FORMATS = ("table", "json", "jsonl", "csv")
COLUMNS = ("path", "rank", "index", "class", "probability")

# Formats that can be continued, by the suffix of the file.
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl"}

LONGEST = 1 << 16  # Bytes of a row: a path has at most 4,096, each quote two.

# By how much a probability may differ when an image is classified again, in
# another batch or on another kind of device: by itself, and as a share of it,
# to which rounding adds.
TOLERANCE, SHARE, ROUNDING = 0.02, 0.25, 1e-5


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


def continue_file(
  path: str,
  form: str,
  images: Sequence[str],
  classify: Callable[[Sequence[str]], Iterator[Prediction]],
) -> Iterator[Prediction]:
  """Classifies the images that a file does not have, and adds them to it.

  And, once more, one that it has: by the same weights its classes are the same.

  Args:
    path: a CSV or JSON lines.
    form: which of them.
    images: paths of all images.
    classify: yields the predictions of images.

  Raises:
    ConfigError: if the file holds something else, or predictions of other
      weights, or cannot be written.
  """
  found, sizes, start = read_back(path, form)
  wanted = set(images)
  # Of the last image of a CSV rows may be missing, unless it has as many as the
  # first; one that is gone stays as it is.
  last = [] if form != "csv" or _has_all(found) else found[-1:]
  last = [x for x in last if _is_there(x.path)]
  if last:
    found, sizes = found[:-1], sizes[:-1]
  done, size = found, start + sum(sizes)
  if any(x.error and x.path in wanted for x in found):  # Tried again.
    done = [x for x in found if not (x.error and x.path in wanted)]
    size = rewrite(path, form, done)
  known = {x.path for x in [*last, *done]}
  left = [x.path for x in last] + [x for x in images if x not in known]
  if done:
    print(f"{path} has {counted(len(done), 'image')} already", file=sys.stderr)
  again = _choose_again(path, done, wanted) if left else None
  both = ([] if again is None else [again.path]) + left
  stream = classify(both) if left else iter(())
  if again is not None:
    check_same(again, next(stream), path)
  elif last:  # What there is of it.
    first = next(stream)
    check_agreement(_agree(last[0].classes, first.classes), first, path)
    stream = itertools.chain([first], stream)
  try:
    with open(path, "ab") as file:
      file.truncate(size)
    with open(path, "a", encoding="utf-8", errors="surrogateescape") as out:
      yield from write(stream, form, out, not size)
  except OSError as error:
    raise ConfigError(f"--out={path} cannot be written: {error}") from error


def _has_all(found: Sequence[Prediction]) -> bool:
  """Whether the last of several images has as many classes as the first."""
  return len(found) > 1 and len(found[0].classes) == len(found[-1].classes)


def _is_there(image: str) -> bool:
  """Whether an image can be classified again; of a store it is taken for so."""
  return not is_local(image) or os.path.exists(image)


def _choose_again(
  path: str, done: Sequence[Prediction], wanted: Collection[str]
) -> Prediction | None:
  """Chooses the image of a file that is classified again; None if it has none.

  Raises:
    ConfigError: if none of them is there any more.
  """
  good = [x for x in done if not x.error]
  asked = (x for x in good if x.path in wanted)
  there = (x for x in good if _is_there(x.path))
  again = next(itertools.chain(asked, there), None)
  if good and again is None:
    raise ConfigError(
      f"none of the images in --out={path} is there any more, so whether these "
      f"weights have classified them cannot be told: choose another name"
    )
  return again


def read_back(path: str, form: str) -> tuple[list[Prediction], list[int], int]:
  """Reads what an earlier command has written to a file.

  A row that was cut off is left out.

  Args:
    path: the file; it need not exist.
    form: "csv" or "jsonl".

  Returns:
    The predictions, the number of bytes of each, and of what is before them. Of
    the last one in a CSV rows may be missing.

  Raises:
    ConfigError: if it holds something else.
  """
  try:
    with open(path, "rb") as file:
      data = file.read()
  except FileNotFoundError:
    return [], [], 0
  except OSError as error:
    raise ConfigError(f"--out={path} cannot be read: {error}") from error
  start = ",".join(COLUMNS).encode() if form == "csv" else b'{"path": '
  size = min(len(start), len(data))
  if data[:size] != start[:size]:  # Nothing of another file is cut off.
    raise ConfigError(
      f"--out={path} exists, and does not hold predictions: choose another name"
    )
  data = data[: _find_end(data, form)]
  text = data.decode("utf-8", "surrogateescape")
  try:
    parse = _parse_csv if form == "csv" else _parse_jsonl
    found = parse(text)
  except (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    csv.Error,
  ) as error:
    raise ConfigError(
      f"--out={path} is damaged: {error}; choose another name, or delete it"
    ) from error
  before = len(start) + 1 if form == "csv" and data else 0
  return [x for x, _ in found], [size for _, size in found], before


def _find_end(data: bytes, form: str) -> int:
  """Finds where the last whole row ends; in a CSV quotes may span lines.

  One that is cut off begins with a quote, and is no longer than LONGEST; else a
  quote is wrong.
  """
  whole = end = data.rfind(b"\n") + 1
  odd = form == "csv" and data.count(b'"', 0, end) % 2
  while odd and whole - end < LONGEST:
    start = data.rfind(b"\n", 0, end - 1) + 1
    odd, end = (odd + data.count(b'"', start, end)) % 2, start
  cut = data[end : end + 1] in (b"", b'"')
  return end if cut and not odd else whole


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
  """Parses (prediction, bytes) of each image."""
  rows = list(csv.reader(io.StringIO(text)))
  if rows and tuple(rows[0]) != COLUMNS:
    raise ValueError("other columns")
  found, written = [], [",".join(COLUMNS) + "\n"]
  for path, group in itertools.groupby(rows[1:], key=lambda row: row[0]):
    classes = [
      (int(index), name, float(probability))
      for _, _, index, name, probability in group
    ]
    prediction = Prediction(path, classes)
    written.append(format_csv(prediction))
    size = len(written[-1].encode("utf-8", "surrogateescape"))
    found.append((prediction, size))
  # What another program has saved has other sizes, and would be cut in a row.
  if rows and text != "".join(written):
    raise ValueError("its rows are not written as predict writes them")
  return found


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
  same = same and _agree(before.classes, now.classes)
  check_agreement(same and _agree(now.classes, before.classes), now, path)


def check_agreement(same: bool, now: Prediction, path: str) -> None:
  """Raises ConfigError unless a file has the same classes of an image."""
  if not same and now.error:
    raise ConfigError(
      f"--out={path} holds predictions for {now.path}, of which is now said: "
      f"{now.error}: put it right, or choose another name"
    )
  if not same:
    raise ConfigError(
      f"--out={path} holds other predictions for {now.path} than these "
      f"weights and options give: choose another name, or delete the file"
    )


def _agree(
  classes: Sequence[tuple[int, str, float]],
  others: Sequence[tuple[int, str, float]],
) -> bool:
  """Whether classes have the names and probabilities that others allow.

  One that is not among the others is at most as likely as the last of these.
  """
  known = {index: (name, p) for index, name, p in others}
  least = min((p for _, _, p in others), default=0.0)
  for index, name, p in classes:
    other, q = known.get(index, (name, min(p, least)))
    most = min(TOLERANCE, SHARE * max(p, q) + ROUNDING)
    if name != other or abs(p - q) > most:
      return False
  return True
