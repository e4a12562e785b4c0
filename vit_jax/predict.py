# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Says what is on photographs: python -m vit_jax.predict RUN PHOTO... FOLDER...

RUN is the directory of a run, or any file of weights that vit_jax.load reads.
Folders are searched for images (jpg, jpeg, png, webp). What can not be read is
named, and the others are done; the exit status is then 1.
"""

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vit_jax.accelerators import start_backend
from vit_jax.command_line import make_parser, reported
from vit_jax.config import ConfigError

FORMATS = ("table", "json", "csv")
COLUMNS = ("path", "rank", "index", "class", "probability")


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What a model says of a photograph.

  Attributes:
    path: of the file.
    classes: (index, name, probability), the most likely first.
    error: why it could not be read, or None.
  """

  path: str
  classes: Sequence[tuple[int, str, float]] = ()
  error: str | None = None


def find_images(names: Sequence[str]) -> list[str]:
  """Files as they are named, and the images in folders, sorted.

  Raises:
    ConfigError: if there is no such file, or a folder has no image.
  """
  from vit_jax.data.folder import find_files

  found, errors = [], []
  for name in names:
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
      files, _ = find_files(path)
      if not files:
        errors.append(f"{name} has no image in it")
      found += [os.fspath(path / file) for file in files]
    elif path.exists() or "://" in name:
      found.append(name if "://" in name else os.fspath(path))
    else:
      errors.append(f"there is no file {name}")
  if errors:
    raise ConfigError("\n".join(errors))
  return found


def predict(
  path: str,
  images: Sequence[str],
  *,
  top: int = 5,
  batch_size: int = 32,
  progress: Callable[[int], None] = lambda done: None,
  **overrides: Any,
) -> Iterator[Prediction]:
  """What a model says of photographs, one after another.

  Args:
    path: of the run or the weights.
    images: files.
    top: how many classes to name.
    batch_size: B; every batch is filled up to it, so one program does them.
    progress: told how many are done.
    **overrides: of `vit_jax.load`.

  Raises:
    ConfigError: as `vit_jax.load`, or if the model has no head.
  """
  import jax
  import numpy as np

  import vit_jax

  model, preprocess = vit_jax.load(path, **overrides)
  if not model.module.num_classes:
    raise ConfigError(f"{path} has no head, so it names no classes")
  names = model.class_names
  score = jax.nn.softmax
  if model.manifest.get("cross_entropy") == "sigmoid":
    score = jax.nn.sigmoid
  batch_size = min(batch_size, len(images))
  for start in range(0, len(images), batch_size):
    chosen = images[start : start + batch_size]
    shape = (*preprocess.size, preprocess.channels)
    batch = np.zeros((batch_size, *shape), np.float32)
    errors: dict[int, str] = {}
    for i, file in enumerate(chosen):
      try:
        batch[i] = preprocess(file)[0]
      except ValueError as error:
        errors[i] = str(error).removeprefix(f"{file}: ")
    scores = np.asarray(score(model(batch)))
    for i, file in enumerate(chosen):
      if i in errors:
        yield Prediction(file, error=errors[i])
        continue
      order = np.argsort(-scores[i], kind="stable")[:top]
      yield Prediction(
        file,
        [
          (int(j), names[j] if names else f"class {j}", float(scores[i, j]))
          for j in order
        ],
      )
    progress(start + len(chosen))


def write_table(predictions: Sequence[Prediction]) -> None:
  """For people: a line a photograph, and one a class."""
  width = max(
    (len(name) for p in predictions for _, name, _ in p.classes), default=0
  )
  for found in predictions:
    print(found.path)
    for _, name, probability in found.classes:
      print(f"  {probability:6.1%}  {name:{width}}".rstrip())
    if found.error:
      print(f"  can not be read: {found.error}")


def write_json(predictions: Sequence[Prediction]) -> None:
  """One object on one line."""
  rows = []
  for found in predictions:
    row: dict[str, Any] = {"path": found.path}
    if found.error:
      row["error"] = found.error
    else:
      row["predictions"] = [
        {"index": index, "class": name, "probability": probability}
        for index, name, probability in found.classes
      ]
    rows.append(row)
  print(json.dumps({"images": rows}, ensure_ascii=False))


def write_csv(predictions: Sequence[Prediction]) -> None:
  """A row a class; a photograph that can not be read has none."""
  writer = csv.writer(sys.stdout, lineterminator="\n")
  writer.writerow(COLUMNS)
  for found in predictions:
    for rank, (index, name, probability) in enumerate(found.classes, 1):
      writer.writerow([found.path, rank, index, name, f"{probability:.6f}"])


WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}


def positive(text: str) -> int:
  """A whole number from 1 on, for argparse."""
  value = int(text)
  if value < 1:
    raise argparse.ArgumentTypeError(f"{text} must be at least 1")
  return value


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.predict", __doc__)
  parser.add_argument("run", metavar="RUN", help="a run, or weights")
  parser.add_argument("images", metavar="IMAGE", nargs="+", help="or a folder")
  parser.add_argument(
    "--top", type=positive, default=5, help="how many classes to name (5)"
  )
  parser.add_argument("--format", choices=FORMATS, default="table")
  parser.add_argument(
    "--batch", type=positive, default=32, help="images at a time (32)"
  )
  arguments = parser.parse_args(argv)
  with reported():
    images = find_images(arguments.images)
    start_backend()
    live = sys.stderr.isatty()

    def progress(done):
      if live:
        text = f"\r\x1b[2K{done:,}/{len(images):,} images"
        print(text, end="", file=sys.stderr, flush=True)

    found = list(
      predict(
        arguments.run,
        images,
        top=arguments.top,
        batch_size=arguments.batch,
        progress=progress,
      )
    )
    if live:
      print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
  WRITERS[arguments.format](found)
  bad = [p for p in found if p.error]
  for p in bad if arguments.format != "table" else ():
    print(f"{p.path} can not be read: {p.error}", file=sys.stderr)
  if bad:
    sys.exit(1)


if __name__ == "__main__":
  main()
