# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classifies photographs with a trained model.

  python -m vit_jax.predict runs/pets cat.jpg              top 5 classes
  python -m vit_jax.predict ViT-B_16.npz photos --out=classes.csv

RUN is the directory of a run, or any weights that vit_jax.load reads. Folders
are searched for images of every format that is read, without what is hidden or
a system's own. Images that cannot be read are named, the others are classified,
and the exit status is then 1.

Of a run that classifies pixels the classes are those of its pixels, with their
shares, and --masks=DIR writes the map of each photograph at its own size.

With --attention=DIR each photograph is also drawn with what the model attends
to over it (attention rollout, docs/analysis.md).

Each photograph is written when its classes are known. With --out=FILE.csv or
FILE.jsonl, the same command continues after an interruption.
"""

import collections
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vit_jax.config import INTERRUPTED, ConfigError, Count
from vit_jax.config.command_line import make_parser, positive, reported
from vit_jax.config.errors import counted
from vit_jax.config.weight_options import (
  add_options,
  add_weights,
  read_options,
)
from vit_jax.data.images import decode_batches, find_images, list_images, rank
from vit_jax.devices.detection import start_backend
from vit_jax.metrics import predictions
from vit_jax.metrics.predictions import Prediction
from vit_jax.metrics.progress import Progress
from vit_jax.prepare.listing import Meter
from vit_jax.runtime.compilation_cache import use_cache
from vit_jax.storage.paths import check_directory, is_local, locate

# Takes the path of an image, its pixels uint8 [H W 3] and a map [h w].
Draw = Callable[[str, Any, Any], None]


def predict(
  path: str | os.PathLike,
  images: str | os.PathLike | Sequence[str | os.PathLike],
  *,
  top: Count = 5,
  batch_size: Count | None = None,
  progress: Callable[[int], None] = lambda number: None,
  attention: Draw | None = None,
  masks: Callable[[str, Any], None] | None = None,
  **arguments: Any,
) -> Iterator[Prediction]:
  """Classifies photographs; yields a prediction for each, in order.

  The next batches are decoded while the device computes one, so that a few of
  them are in memory, however many images there are.

  Args:
    path: the run or weights, see `vit_jax.load`.
    images: paths of images; or one path, a folder is searched for images.
    top: number of classes per image.
    batch_size: images at a time (B); None chooses by the device. Batches are
      padded to it, so that the model is compiled once.
    progress: called with the number of images that were just done.
    attention: called with the path of each image that is classified, its
      pixels as the model sees them and its attention rollout [h w].
    masks: called with the path of each image and the classes of its pixels
      [H W]; for runs that classify pixels, whose predictions are the shares of
      the classes.
    **arguments: see `vit_jax.load`.

  Raises:
    ConfigError: if the weights cannot be loaded, the model has no head, or has
      no attention, or classes of pixels, where they are asked for.
  """
  import jax
  import numpy as np

  import vit_jax
  from vit_jax.analysis.explain import choose_batch_size
  from vit_jax.convert.segmentation import is_segmentation
  from vit_jax.devices.auto import choose_batch
  from vit_jax.plots.pictures import restore

  images = list_images(images)
  if is_segmentation(os.fspath(path)):
    from vit_jax.segmented import predict_pixels

    given = ["--attention"] if attention is not None else []
    if arguments.pop("weights", None) == "int8":
      given.append("--weights=int8")
    if given:
      raise ConfigError(
        f"{path} classifies pixels: leave out {' and '.join(given)}"
      )
    yield from predict_pixels(
      os.fspath(path),
      images,
      top=top,
      batch_size=batch_size,
      progress=progress,
      save=masks,
      **arguments,
    )
    return
  model, preprocess = vit_jax.load(path, **arguments)
  if masks is not None:
    raise ConfigError(
      f"{path} does not classify pixels, whose classes --masks writes: leave "
      f"it out"
    )
  if not model.module.num_classes:
    raise ConfigError(
      f"{path} has no head, so it cannot classify; fine-tune it first"
    )
  sizes = model.manifest["preprocess"]
  sigmoid = model.manifest.get("cross_entropy") == "sigmoid"
  score = jax.jit(jax.nn.sigmoid if sigmoid else jax.nn.softmax)
  look = None
  if batch_size is None:
    batch_size = choose_batch(model.module, jax.devices()[:1], *preprocess.size)
  if attention is not None:
    look = make_look(path, model)
    most = choose_batch_size(model.module, preprocess.size)
    batch_size = min(batch_size, most)
  batch_size = max(1, min(batch_size, len(images)))

  def finish(
    files: Sequence[str],
    errors: Sequence[str | None],
    scores: jax.Array,
    batch: Any,
    rollouts: jax.Array | None,
  ) -> Iterator[Prediction]:
    """Waits for the scores of a batch and yields its predictions."""
    for i, (file, error, row) in enumerate(
      zip(files, errors, np.asarray(scores), strict=False)
    ):
      if error is None and not np.isfinite(row).all():
        error = (
          "the model's scores are not finite: the weights may hold NaN, or be "
          "damaged"
        )
      classes = () if error else rank(row, top, model.class_names)
      if attention is not None and rollouts is not None and not error:
        pixels = restore(batch[i], sizes["mean"], sizes["std"])
        attention(file, pixels, np.asarray(rollouts[i]))
      yield Prediction(file, classes, error)
    progress(len(files))

  late: collections.deque = collections.deque()
  for files, errors, batch in decode_batches(images, batch_size, preprocess):
    logits, rollouts = look(batch) if look else (model(batch), None)
    late.append((files, errors, score(logits), batch, rollouts))
    if len(late) > 1:  # Once the device has the next one to compute.
      yield from finish(*late.popleft())
  while late:
    yield from finish(*late.popleft())


def make_look(
  path: str | os.PathLike, model: Any
) -> Callable[[Any], tuple[Any, Any]]:
  """Makes the function of images that returns logits and rollouts [B h w].

  Raises:
    ConfigError: for a model without attention.
  """
  import jax

  from vit_jax.analysis.explain import has_attention
  from vit_jax.analysis.rollout import compute_rollout, read_rollout

  module = model.module
  if not has_attention(module):
    raise ConfigError(
      f"{path} is a {type(module).__name__}, which has no attention to draw: "
      f"leave out --attention"
    )
  sizes = model.manifest["preprocess"]
  layout = module.make_layout(sizes["height"], sizes["width"])
  roll_out = jax.jit(
    lambda weights, pooling: read_rollout(
      compute_rollout(weights), layout, pooling
    )
  )

  def look(batch: Any) -> tuple[Any, Any]:
    logits, found = model(batch, intermediates=True)
    return logits, roll_out(found["attention"], found.get("pooling"))

  return look


def make_draw(name: str, images: Sequence[str]) -> Draw:
  """Makes the function that draws a rollout over its image, in a directory.

  Args:
    name: the directory; pictures are NAME.attention.png in it, numbered where
      several images have one name.
    images: paths of all images.

  Raises:
    ConfigError: if it cannot be written.
  """
  from vit_jax.plots.pictures import draw_overlay
  from vit_jax.segmented import name_pictures, written

  if not name:
    raise ConfigError("--attention is empty: name a directory")
  folder, targets = locate(name), name_pictures(images, "attention")
  flag = f"--attention={name}"

  def draw(file: str, pixels: Any, rollout: Any) -> None:
    with written(flag):
      (folder / targets[file]).write_bytes(draw_overlay(pixels, rollout))

  with written(flag):
    folder.mkdir(parents=True, exist_ok=True)
  return draw


def check_out(path: str) -> None:
  """Raises ConfigError for a file that cannot be written and continued."""
  if not is_local(path):
    raise ConfigError(
      f"--out={path}: only a file on a disk can be continued: give its path"
    )
  folder = os.path.dirname(locate(path)) or "."
  if not os.path.isdir(folder):
    raise ConfigError(f"--out={path}: there is no directory {folder}: make it")
  check_directory(locate(folder), f"--out={path}")


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
    metavar="N",
    help="images at a time (default: as suits the device)",
  )
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="dtype that the model computes in (default: bfloat16 on an "
    "accelerator; on a CPU that of the run, or float32)",
  )
  add_weights(parser)
  parser.add_argument(
    "--attention",
    metavar="DIR",
    help="draw every image with its attention rollout over it, as PNGs in DIR",
  )
  parser.add_argument(
    "--masks",
    metavar="DIR",
    help="write the class of every pixel as PNGs in DIR, of a run that "
    "classifies pixels",
  )
  add_options(parser)
  arguments = parser.parse_args(argv)
  bad: list[Prediction] = []
  done = 0
  with reported():
    form = arguments.format or "table"
    if arguments.out:
      form = predictions.get_format(arguments.out, arguments.format)
      check_out(arguments.out)
    images, notes = find_images(arguments.images)
    for note in notes:
      print(note, file=sys.stderr)
    draw = None
    if arguments.attention is not None:
      draw = make_draw(arguments.attention, images)
    use_cache(start_backend(keep=True))
    save = None
    if arguments.masks:
      from vit_jax.segmented import make_save

      save = make_save(arguments.masks, arguments.run, images)
    # On one terminal the rows themselves show how far it is.
    progress = Progress(bool(arguments.out) or not sys.stdout.isatty())
    chosen = read_options(arguments)

    def classify(paths: Sequence[str]) -> Iterator[Prediction]:
      before = max(0, len(images) - len(paths))
      meter = Meter(progress, len(images), "images", before)
      yield from predict(
        arguments.run,
        paths,
        top=arguments.top,
        batch_size=arguments.batch,
        progress=meter.add,
        weights=arguments.weights,
        attention=draw,
        masks=save,
        **chosen,
      )

    try:
      if arguments.out:
        found = predictions.continue_file(arguments.out, form, images, classify)
      else:
        found = predictions.write(classify(images), form, sys.stdout)
      for one in found:
        done += 1
        bad += [one] if one.error else []
    except KeyboardInterrupt:
      progress.end()
      more = ": the same command goes on" if arguments.out else ""
      print(f"interrupted{more}", file=sys.stderr)
      sys.exit(INTERRUPTED)
    finally:
      progress.end()
    if arguments.out and done:
      kept = done - len(bad) if form == "csv" else done
      written = f"{counted(kept, 'image')} written to {arguments.out}"
      print(written, file=sys.stderr)
  for x in bad if form != "table" else ():
    print(f"{x.path}: {x.error}", file=sys.stderr)
  if bad:
    sys.exit(1)


if __name__ == "__main__":
  main()
