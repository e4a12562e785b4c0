# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What `predict` does with a run that classifies pixels: class maps, shares."""

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import PIL.Image
from jaxtyping import UInt8

from vit_jax.config import ConfigError
from vit_jax.convert import load
from vit_jax.convert.segmentation import (
  add_head,
  find_names,
  is_segmentation,
)
from vit_jax.data.images import decode_batches, rank
from vit_jax.data.segmentation import read_size
from vit_jax.devices.auto import choose_batch
from vit_jax.evaluators.segmentation import classify_pixels
from vit_jax.metrics.predictions import Prediction
from vit_jax.storage.paths import locate

# Takes the path of an image and the class of each of its pixels.
Save = Callable[[str, UInt8[np.ndarray, "H W"]], None]


def predict_pixels(
  path: str,
  images: Sequence[str],
  *,
  top: int,
  batch_size: int | None,
  progress: Callable[[int], None],
  save: Save | None,
  **options: Any,
) -> Iterator[Prediction]:
  """Classifies the pixels of photographs; yields a prediction for each.

  Its classes are those that pixels have, with their shares of the photograph,
  the largest first.

  Args:
    path: a run of objective.name=segmentation.
    images: paths.
    top: number of classes per image.
    batch_size: images at a time (B); None chooses by the device.
    progress: called with the number of images that were just done.
    save: called with each image that is classified, and its class map at the
      size of the photograph.
    **options: as of `load.load_as`.
  """
  segmenter = add_head(path, load.load_as(path, **options))
  classes = segmenter.objective.setting.classes
  names = find_names(path, classes)
  if batch_size is None:
    model, size = segmenter.objective.model, segmenter.preprocess.size
    batch_size = choose_batch(model, jax.devices()[:1], *size)
  batch_size = max(1, min(batch_size, len(images)))
  for files, errors, batch in decode_batches(
    images, batch_size, segmenter.preprocess
  ):
    logits = np.asarray(segmenter.compute_logits(batch), np.float32)
    for file, error, row in zip(files, errors, logits, strict=False):
      if error is None and not np.isfinite(row).all():
        error = "the model's scores are not finite: the weights may hold NaN"
      if error is not None:
        yield Prediction(file, (), error)
        continue
      found = classify_pixels(row, read_size(file))
      if save is not None:
        save(file, found)
      shares = np.bincount(found.ravel(), minlength=classes) / found.size
      seen = int((shares > 0).sum())
      yield Prediction(file, rank(shares, min(top, seen), names))
    progress(len(files))


def check_names(path: str, data: str, names: Sequence[str]) -> None:
  """Raises ConfigError if masks have a class of a run at another number.

  Args:
    path: of the run.
    data: what has the masks.
    names: of the classes of the masks, by number.
  """
  for number, name in enumerate(find_names(path, len(names))):
    if name in names and names[number] != name:
      raise ConfigError(
        f"class {name!r} is {names.index(name)} in {data}, and {number} in "
        f"what {path} was trained on: give masks and classes.txt its numbers"
      )


def name_pictures(images: Sequence[str], suffix: str) -> dict[str, str]:
  """Names a picture for each image, numbered where several have one name."""
  seen: collections.Counter = collections.Counter()
  targets = {}
  for image in images:
    stem = os.path.basename(image)
    seen[stem] += 1
    number = f".{seen[stem]}" if seen[stem] > 1 else ""
    targets[image] = f"{stem}{number}.{suffix}.png"
  return targets


@contextlib.contextmanager
def written(flag: str) -> Iterator[None]:
  """Turns errors of the directory of a flag into a ConfigError."""
  try:
    yield
  except OSError as error:
    raise ConfigError(f"{flag} cannot be written: {error}") from error


def make_save(name: str, run: str, images: Sequence[str]) -> Save:
  """Makes the function that writes class maps, as PNGs with a palette.

  Args:
    name: the directory; an image's map is NAME.classes.png in it.
    run: what classifies them.
    images: paths of all images.

  Raises:
    ConfigError: if it cannot be written.
  """
  from vit_jax.plots.segmentation import make_colours

  folder, targets = locate(name), name_pictures(images, "classes")
  flag = f"--masks={name}"
  if is_segmentation(run):  # `predict` refuses others, and nothing is made.
    with written(flag):
      folder.mkdir(parents=True, exist_ok=True)
  palette = make_colours(256).tobytes()

  def save(file: str, classes: UInt8[np.ndarray, "H W"]) -> None:
    picture = PIL.Image.fromarray(classes)
    picture.putpalette(palette)
    with written(flag), (folder / targets[file]).open("wb") as out:
      picture.save(out, "PNG", optimize=True)

  return save
