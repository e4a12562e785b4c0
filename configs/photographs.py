# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How long, and in what batches, photographs of one's own are trained on.

Both follow their number. The steps are at most BiT's (Kolesnikov et
al., 2020, section 3.3); the smaller batches, and the limit of 50 epochs, are
ours.
"""

import os
import pathlib
from typing import NamedTuple

SUFFIXES = frozenset(
  (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng"),
    *(".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    *(".avif", ".avifs", ".heic", ".heif", ".hif"),
  )
)

# Kinds of sources: a folder a class, and images without classes.
KINDS = ("folder", "images")

LARGEST, LEAST = 512, 8  # Batch sizes.


class Length(NamedTuple):
  """What follows the number of images.

  Attributes:
    batch: batch size.
    steps: number of steps.
  """

  batch: int
  steps: int


def count_images(source: str, data_dir: str | None = None) -> int | None:
  """Counts images to train on, roughly; None if there are none.

  Args:
    source: KIND:PATH, or tfds:NAME.
    data_dir: where prepared sets are stored; None is TFDS's directory.
  """
  kind, _, name = source.partition(":")
  if kind == "tfds":
    from vit_jax.data import sources  # Other recipes look into no data.

    return sources.count_training_images(source, data_dir)
  path, wanted = pathlib.Path(name).expanduser(), set()
  if not path.is_dir():
    name, _, classes = name.rpartition("#")
    path, wanted = pathlib.Path(name).expanduser(), set(classes.split("+"))
    if not name or not path.is_dir():
      return None
  count = 0
  for parent, folders, files in os.walk(path):
    folders[:] = [x for x in folders if x[0] not in ".@#$" and x != "__MACOSX"]
    if wanted and wanted.isdisjoint(pathlib.Path(parent).parts):
      continue
    count += sum(os.path.splitext(x)[1].lower() in SUFFIXES for x in files)
  return count


def choose_length(images: int) -> Length:
  """Chooses batch and steps.

  Ten batches or more an epoch, of powers of two, and at most 50 epochs.
  """
  batch = LARGEST
  while batch > LEAST and batch * 10 > images:
    batch //= 2
  steps = 500 if images < 20_000 else 10_000 if images < 500_000 else 20_000
  # In tens, as there are ten evaluations.
  return Length(batch, max(10, min(steps, 5 * images // batch * 10)))


def choose_eval_batch(batch: int) -> int:
  """The batch of evaluations: about 64, whose activations fit everywhere.

  A multiple or a divisor of training's, which the devices divide.
  """
  if batch > 64:
    return 64 if batch % 64 == 0 else batch
  return batch * (64 // batch)
