# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifies photographs with a trained model.

  python -m vit_jax.predict runs/pets cat.jpg              top 5 classes
  python -m vit_jax.predict ViT-B_16.npz photos --format=csv

RUN is the directory of a run, or any weights that vit_jax.load reads. Folders
are searched for images (jpg, jpeg, png, webp). Images that cannot be read are
named, the others are classified, and the exit status is then 1.
"""

import collections
import csv
import dataclasses
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, positive, reported
from vit_jax.devices.detection import start_backend
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.paths import is_local

FORMATS = ("table", "json", "csv")
AHEAD = 1  # Batches that are decoded beside the one that is waited for.
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
  **arguments: Any,
) -> Iterator[Prediction]:
  """Classifies photographs; yields a prediction for each, in order.

  The next batches are decoded while the device computes one, so that a few of
  them are in memory, however many images there are.

  Args:
    path: the run or weights, see `vit_jax.load`.
    images: paths of images.
    top: number of classes per image.
    batch_size: images at a time (B); batches are padded to it, so that the
      model is compiled once.
    progress: called with the number of images done.
    **arguments: see `vit_jax.load`.

  Raises:
    ConfigError: if the weights cannot be loaded, or the model has no head.
  """
  import jax
  import numpy as np

  import vit_jax

  model, preprocess = vit_jax.load(path, **arguments)
  if not model.module.num_classes:
    raise ConfigError(
      f"{path} has no head, so it cannot classify; fine-tune it first"
    )
  score = jax.nn.softmax
  if model.manifest.get("cross_entropy") == "sigmoid":
    score = jax.nn.sigmoid
  score = jax.jit(score)
  batch_size = max(1, min(batch_size, len(images)))
  done = 0

  def finish(
    files: Sequence[str], errors: Sequence[str | None], scores: jax.Array
  ) -> Iterator[Prediction]:
    """Waits for the scores of a batch and yields its predictions."""
    nonlocal done
    for file, error, row in zip(
      files, errors, np.asarray(scores), strict=False
    ):
      classes = () if error else rank(row, top, model.class_names)
      yield Prediction(file, classes, error)
    done += len(files)
    progress(done)

  late: collections.deque = collections.deque()
  for files, errors, batch in decode_batches(images, batch_size, preprocess):
    late.append((files, errors, score(model(batch))))
    if len(late) > 1:  # Once the device has the next one to compute.
      yield from finish(*late.popleft())
  while late:
    yield from finish(*late.popleft())


def decode_batches(
  images: Sequence[str], batch_size: int, preprocess: Any
) -> Iterator[tuple[Sequence[str], list[str | None], Any]]:
  """Decodes images in threads, AHEAD batches before they are asked for.

  Args:
    images: paths, at least one.
    batch_size: B.
    preprocess: a `Preprocess`.

  Yields:
    The paths of a batch, what is wrong with each image, and float32
    [B H W c], which is zero where there is no image.
  """
  import numpy as np

  from vit_jax.devices.machine import count_cores

  def decode(file: str, row: np.ndarray) -> str | None:
    """Decodes an image into its row; returns what is wrong if it cannot."""
    try:
      row[:] = preprocess(file)[0]
    except ValueError as error:
      return str(error).removeprefix(f"{file}: ")
    return None

  shape = (batch_size, *preprocess.size, preprocess.channels)
  waiting: collections.deque = collections.deque()
  starts = iter(range(0, len(images), batch_size))
  with futures.ThreadPoolExecutor(count_cores()) as pool:
    while True:
      for start in itertools.islice(starts, AHEAD + 1 - len(waiting)):
        files = images[start : start + batch_size]
        batch = np.zeros(shape, np.float32)
        results = [
          pool.submit(decode, *x) for x in zip(files, batch, strict=False)
        ]
        waiting.append((files, results, batch))
      if not waiting:
        return
      files, results, batch = waiting.popleft()
      yield files, [x.result() for x in results], batch


def rank(
  scores: Any, top: int, names: Sequence[str]
) -> list[tuple[int, str, float]]:
  """Lists the `top` classes of an image: (index, name, probability)."""
  order = (-scores).argsort(kind="stable")[:top]
  return [
    (int(j), names[j] if names else f"class {j}", float(scores[j]))
    for j in order
  ]


def write_table(predictions: Iterator[Prediction]) -> None:
  """Prints the path of each photograph and, below it, its classes."""
  for found in predictions:
    print(found.path)
    for _, name, probability in found.classes:
      print(f"  {probability:6.1%}  {name}")
    if found.error:
      print(f"  cannot be read: {found.error}")


def write_json(predictions: Iterator[Prediction]) -> None:
  """Prints one JSON object on one line, image by image."""
  start = '{"images": ['
  for found in predictions:
    row: dict[str, Any] = {"path": found.path}
    if found.error:
      row["error"] = found.error
    else:
      row["predictions"] = [
        {"index": index, "class": name, "probability": probability}
        for index, name, probability in found.classes
      ]
    print(start, json.dumps(row, ensure_ascii=False), sep="", end="")
    start = ", "
  print("]}")


def write_csv(predictions: Iterator[Prediction]) -> None:
  """Prints CSV, a row per class; an unreadable photograph has none."""
  writer = csv.writer(sys.stdout, lineterminator="\n")
  for number, found in enumerate(predictions):
    if not number:
      writer.writerow(COLUMNS)
    for place, (index, name, probability) in enumerate(found.classes, 1):
      writer.writerow([found.path, place, index, name, f"{probability:.6f}"])


WRITERS = {"table": write_table, "json": write_json, "csv": write_csv}


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
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="dtype that the model computes in (default: bfloat16 on an "
    "accelerator; on a CPU that of the run, or float32)",
  )
  parser.add_argument(
    "--weights",
    choices=("float32", "int8"),
    default="float32",
    help="int8 keeps the weights in a quarter of the memory",
  )
  arguments = parser.parse_args(argv)
  with reported():
    images = find_images(arguments.images)
    use_cache(start_backend())
    live = sys.stderr.isatty()
    bad = []

    def progress(done: int) -> None:
      if live:
        text = f"\r\x1b[2K{done:,}/{len(images):,} images"
        print(text, end="", file=sys.stderr, flush=True)

    def collect_bad(predictions: Iterator[Prediction]) -> Iterator[Prediction]:
      for found in predictions:
        if found.error:
          bad.append(found)
        yield found

    chosen = {"dtype": arguments.dtype} if arguments.dtype else {}
    predictions = predict(
      arguments.run,
      images,
      top=arguments.top,
      batch_size=arguments.batch,
      progress=progress,
      weights=arguments.weights,
      **chosen,
    )
    WRITERS[arguments.format](collect_bad(predictions))
    if live:
      print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
  for p in bad if arguments.format != "table" else ():
    print(f"{p.path} cannot be read: {p.error}", file=sys.stderr)
  if bad:
    sys.exit(1)


if __name__ == "__main__":
  main()
