# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifies photographs with a trained model.

  python -m vit_jax.predict runs/pets cat.jpg              top 5 classes
  python -m vit_jax.predict ViT-B_16.npz photos --format=csv

RUN is the directory of a run, or any weights that vit_jax.load reads. Folders
are searched for images (jpg, jpeg, png, webp). Images that cannot be read are
named, the others are classified, and the exit status is then 1.
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

from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, reported
from vit_jax.devices.detection import start_backend
from vit_jax.storage.paths import is_local

FORMATS = ("table", "json", "csv")
COLUMNS = ("path", "rank", "index", "class", "probability")


@dataclasses.dataclass(frozen=True)
class Prediction:
  """The classes of a photograph.

  Attributes:
    path: path of the image.
    classes: (index, name, probability), the most likely first.
    error: why the image cannot be read, or None.
  """

  path: str
  classes: Sequence[tuple[int, str, float]] = ()
  error: str | None = None


def find_images(names: Sequence[str]) -> list[str]:
  """Lists the files, and the images in folders, sorted.

  Raises:
    ConfigError: naming files that do not exist and folders without images.
  """
  from vit_jax.data.folder import find_files

  found, errors = [], []
  for name in names:
    path = pathlib.Path(name).expanduser()
    if path.is_dir():
      files, _ = find_files(path)
      if not files:
        errors.append(f"{name} contains no images")
      found += [os.fspath(path / file) for file in files]
    elif not is_local(name):
      found.append(name)
    elif path.exists():
      found.append(os.fspath(path))
    else:
      errors.append(f"{name} does not exist")
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
  """Classifies photographs; yields a prediction for each, in order.

  Args:
    path: the run or weights, see `vit_jax.load`.
    images: paths of images.
    top: number of classes per image.
    batch_size: images at a time (B); batches are padded to it, so that the
      model is compiled once.
    progress: called with the number of images done.
    **overrides: see `vit_jax.load`.

  Raises:
    ConfigError: if the weights cannot be loaded, or the model has no head.
  """
  import jax
  import numpy as np

  import vit_jax

  model, preprocess = vit_jax.load(path, **overrides)
  if not model.module.num_classes:
    raise ConfigError(
      f"{path} has no head, so it cannot classify; fine-tune it first"
    )
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
  """Prints the path of each photograph and, below it, its classes."""
  width = max(
    (len(name) for p in predictions for _, name, _ in p.classes), default=0
  )
  for found in predictions:
    print(found.path)
    for _, name, probability in found.classes:
      print(f"  {probability:6.1%}  {name:{width}}".rstrip())
    if found.error:
      print(f"  cannot be read: {found.error}")


def write_json(predictions: Sequence[Prediction]) -> None:
  """Prints one JSON object on one line."""
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
  """Prints CSV, a row per class; an unreadable photograph has none."""
  writer = csv.writer(sys.stdout, lineterminator="\n")
  writer.writerow(COLUMNS)
  for found in predictions:
    for rank, (index, name, probability) in enumerate(found.classes, 1):
      writer.writerow([found.path, rank, index, name, f"{probability:.6f}"])


WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}


def positive(text: str) -> int:
  """Parses an int that is at least 1, for argparse."""
  value = int(text)
  if value < 1:
    raise argparse.ArgumentTypeError(f"{text} must be at least 1")
  return value


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("predict", __doc__)
  parser.add_argument(
    "run", metavar="RUN", help="directory of a run, or weights"
  )
  parser.add_argument(
    "images", metavar="IMAGE", nargs="+", help="images and folders of images"
  )
  parser.add_argument(
    "--top",
    type=positive,
    default=5,
    metavar="N",
    help="classes per image (default: 5)",
  )
  parser.add_argument(
    "--format", choices=FORMATS, default="table", help="output (default: table)"
  )
  parser.add_argument(
    "--batch",
    type=positive,
    default=32,
    metavar="N",
    help="images at a time (default: 32)",
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
    print(f"{p.path} cannot be read: {p.error}", file=sys.stderr)
  if bad:
    sys.exit(1)


if __name__ == "__main__":
  main()
