# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifies photographs with a trained model.

  python -m vit_jax.predict runs/pets cat.jpg              top 5 classes
  python -m vit_jax.predict ViT-B_16.npz photos --out=classes.csv

RUN is the directory of a run, or any weights that vit_jax.load reads. Folders
are searched for images of every format that is read, without what is hidden or
a system's own. Images that cannot be read are named, the others are classified,
and the exit status is then 1.

Each photograph is written when its classes are known. With --out=FILE.csv or
FILE.jsonl, the same command continues after an interruption.
"""

import collections
import io
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

from vit_jax.config import INTERRUPTED, ConfigError
from vit_jax.config.command_line import make_parser, positive, reported
from vit_jax.config.weight_options import add_options, read_options
from vit_jax.devices.detection import start_backend
from vit_jax.metrics import predictions
from vit_jax.metrics.predictions import Prediction
from vit_jax.metrics.progress import Progress
from vit_jax.prepare.listing import Meter
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.paths import is_local, locate

AHEAD = 1  # Batches that are decoded beside the one that is waited for.


def find_images(names: Sequence[str]) -> tuple[list[str], list[str]]:
  """Finds the files, and the images in folders, sorted.

  Returns:
    Their paths, each once, and what is left out of folders, in words.

  Raises:
    ConfigError: naming files that do not exist and folders without images.
  """
  from vit_jax.data.folder_files import describe_other, find_files

  found, notes, errors = [], [], []
  for name in names:
    if not name:
      errors.append("an IMAGE is empty: give the path of an image or a folder")
      continue
    path = pathlib.Path(locate(name))
    if path.is_dir():
      files, other, bad = find_files(path)
      rest = describe_other(other)
      if not files:
        errors.append(f"{name} contains no images{rest and f', but {rest}'}")
      elif rest:
        notes.append(f"{name}: left out, by suffix: {rest}")
      notes += [f"{folder} cannot be read: {why}" for folder, why in bad]
      found += [os.fspath(path / file) for file in files]
    elif not is_local(name):
      found.append(name)
    elif path.exists():
      found.append(os.fspath(path))
    else:
      errors.append(
        f"there is no {name}: give the path of an image, or of a folder of them"
      )
  if errors:
    raise ConfigError("\n".join(errors))
  return list(dict.fromkeys(found)), notes


def predict(
  path: str,
  images: Sequence[str],
  *,
  top: int = 5,
  batch_size: int = 32,
  progress: Callable[[int], None] = lambda number: None,
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
    progress: called with the number of images that were just done.
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

  def finish(
    files: Sequence[str], errors: Sequence[str | None], scores: jax.Array
  ) -> Iterator[Prediction]:
    """Waits for the scores of a batch and yields its predictions."""
    for file, error, row in zip(
      files, errors, np.asarray(scores), strict=False
    ):
      if error is None and not np.isfinite(row).all():
        error = (
          "the model's scores are not finite: the weights may hold NaN, or be "
          "damaged"
        )
      classes = () if error else rank(row, top, model.class_names)
      yield Prediction(file, classes, error)
    progress(len(files))

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
      return f"cannot be read: {str(error).removeprefix(f'{file}: ')}"
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


def check_out(path: str) -> None:
  """Raises ConfigError for a file that cannot be written and continued."""
  if not is_local(path):
    raise ConfigError(
      f"--out={path}: only a file on a disk can be continued: give its path"
    )
  folder = os.path.dirname(locate(path)) or "."
  if not os.path.isdir(folder):
    raise ConfigError(f"--out={path}: there is no directory {folder}: make it")


def continue_file(
  path: str,
  form: str,
  images: Sequence[str],
  classify: Callable[[Sequence[str]], Iterator[Prediction]],
) -> Iterator[Prediction]:
  """Classifies the images that a file does not have, and adds them to it.

  Args:
    path: a CSV or JSON lines.
    form: which of them.
    images: paths of all images.
    classify: yields the predictions of images.

  Raises:
    ConfigError: if the file holds something else, or predictions of other
      weights, or cannot be written.
  """
  done, size = predictions.read_back(path, form)
  if any(x.error for x in done):  # These are tried again.
    done = [x for x in done if not x.error]
    size = predictions.rewrite(path, form, done)
  known = {x.path for x in done}
  left = [image for image in images if image not in known]
  if done:
    print(f"{path} has {len(done):,} images already", file=sys.stderr)
  # The weights that began it classify one of its images again.
  again = [x for x in done if x.path in images][:1]
  stream = classify([*(x.path for x in again), *left]) if left else iter(())
  for before in again if left else ():
    predictions.check_same(before, next(stream), path)
  try:
    with open(path, "ab") as file:
      file.truncate(size)
    with open(path, "a", encoding="utf-8", errors="surrogateescape") as out:
      yield from predictions.write(stream, form, out, not size)
  except OSError as error:
    raise ConfigError(f"--out={path} cannot be written: {error}") from error


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
    "--format",
    choices=predictions.FORMATS,
    help="output (default: table; with --out, as its suffix says)",
  )
  parser.add_argument(
    "--out",
    metavar="FILE",
    help="write to FILE.csv or FILE.jsonl, and continue what is there",
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
  add_options(parser)
  arguments = parser.parse_args(argv)
  bad: list[Prediction] = []
  with reported():
    form = arguments.format or "table"
    if arguments.out:
      form = predictions.get_format(arguments.out, arguments.format)
      check_out(arguments.out)
    images, notes = find_images(arguments.images)
    for note in notes:
      print(note, file=sys.stderr)
    use_cache(start_backend())
    # On one terminal the rows themselves show how far it is.
    progress = Progress(bool(arguments.out) or not sys.stdout.isatty())
    if isinstance(sys.stdout, io.TextIOWrapper):  # Names may be any bytes.
      sys.stdout.reconfigure(errors="surrogateescape")
    chosen = read_options(arguments)
    if arguments.dtype:
      chosen["dtype"] = arguments.dtype

    def classify(paths: Sequence[str]) -> Iterator[Prediction]:
      before = len(images) - len(paths)
      meter = Meter(progress, len(images), "images", before)
      yield from predict(
        arguments.run,
        paths,
        top=arguments.top,
        batch_size=arguments.batch,
        progress=meter.add,
        weights=arguments.weights,
        **chosen,
      )

    try:
      if arguments.out:
        found = continue_file(arguments.out, form, images, classify)
      else:
        found = predictions.write(classify(images), form, sys.stdout)
      bad = [x for x in found if x.error]
    except KeyboardInterrupt:
      progress.end()
      more = ": the same command goes on" if arguments.out else ""
      print(f"interrupted{more}", file=sys.stderr)
      sys.exit(INTERRUPTED)
    finally:
      progress.end()
  for x in bad if form != "table" else ():
    print(f"{x.path}: {x.error}", file=sys.stderr)
  if bad:
    sys.exit(1)


if __name__ == "__main__":
  main()
