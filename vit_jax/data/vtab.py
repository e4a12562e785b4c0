# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""VTAB-1k, 19 tasks of 1,000 training images: data.source=vtab:TASK.

Zhai et al., 2019 (arXiv 1910.04867). Sets, splits, labels and classes are those
of the authors' code, google-research/task_adaptation; the sizes of sets are
those of TFDS's catalogue. The splits have the names of that code:

  train800         the first 800 examples of TFDS's train
  val200           200 others, to choose hyper-parameters on
  train800val200   both, to train on for a score
  test             all test images, to measure the score on; where TFDS has none
                   with labels, another split or the end of one

TFDS orders examples by a hash of their keys, in any file format, so these are
the paper's images as long as TFDS keeps the keys of a set. For Caltech101 it
draws the training images itself, by the order of the files on a disk.
"""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config import nearest
from vit_jax.data import transforms
from vit_jax.data.catalogue import CATALOGUE
from vit_jax.data.examples import Examples
from vit_jax.data.info import DataError, DatasetInfo, make_splits
from vit_jax.data.records import Records, open_records, parse_example
from vit_jax.data.tfds_builders import open_builder

TRAIN, VAL = 800, 200  # Numbers of examples.

# Splits of the sets without a feature `label`; CATALOGUE has the others.
SIZES = {
  "clevr": {"train": 70_000, "validation": 15_000, "test": 15_000},
  "dsprites": {"train": 737_280},
  "kitti": {"train": 6347, "validation": 423, "test": 711},
  "smallnorb": {"train": 24_300, "test": 24_300},
}

# Field -> its value for each object.
Objects = Mapping[str, Sequence[Any]]


def count(objects: Objects) -> int:
  """Counts the objects of CLEVR, from 3: label 0 is 3, label 7 is 10."""
  return len(objects["size"]) - 3


def find_nearest(objects: Objects) -> int:
  """Finds the bin of the depth of CLEVR's nearest object."""
  depth = min(z for _, _, z in objects["pixel_coords"])
  return bisect.bisect_left((8.0, 8.5, 9.0, 9.5, 10.0), depth)


def find_vehicle(objects: Objects) -> int:
  """Finds the bin of the distance of KITTI's nearest car, van or truck."""
  pairs = zip(objects["type"], objects["location"], strict=True)
  depths = (z for kind, (_, _, z) in pairs if kind < 3)
  return bisect.bisect_left((8.0, 20.0, 999.0), min(depths, default=1000.0))


def merge(value: int, values: int) -> int:
  """Maps one of `values` values of dSprites to one of 16 bins."""
  return value * 16 // values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """A task of VTAB, made of a set of TFDS.

  Attributes:
    dataset: TFDS's name of the set, with its configuration.
    val: start of val200: (split, percentage of it).
    test: start of test, which extends to the end of that split.
    feature: feature that the label is made of.
    fields: fields of the feature that are used, if it has any.
    label: feature -> label.
    names: names of the classes; None is those of the feature.
    binary: whether pixels are stored as 0 and 1 in place of 0 and 255.
  """

  dataset: str
  val: tuple[str, int] = ("validation", 0)
  test: tuple[str, int] = ("test", 0)
  feature: str = "label"
  fields: tuple[str, ...] = ()
  label: Callable[[Any], int] = int
  names: tuple[str, ...] | None = None
  binary: bool = False


# Shared by the two tasks of a set. The test images of CLEVR have no labels.
CLEVR = dict(
  dataset="clevr",
  val=("train", 90),
  test=("validation", 0),
  feature="objects",
)
DSPRITES = dict(
  dataset="dsprites",
  val=("train", 80),
  test=("train", 90),
  binary=True,
)
SMALLNORB = dict(dataset="smallnorb", val=("test", 0), test=("test", 50))

TASKS = {
  # Natural.
  "caltech101": Task(dataset="caltech101", val=("train", 90)),
  "cifar100": Task(dataset="cifar100", val=("train", 90)),
  "dtd": Task(dataset="dtd"),
  "flowers102": Task(dataset="oxford_flowers102"),
  "pets": Task(dataset="oxford_iiit_pet", val=("train", 80)),
  "sun397": Task(dataset="sun397/tfds"),
  "svhn": Task(dataset="svhn_cropped", val=("train", 90)),
  # Specialised.
  "patch_camelyon": Task(dataset="patch_camelyon"),
  "eurosat": Task(dataset="eurosat/rgb", val=("train", 60), test=("train", 80)),
  "resisc45": Task(dataset="resisc45", val=("train", 60), test=("train", 80)),
  "retinopathy": Task(dataset="diabetic_retinopathy_detection/btgraham-300"),
  # Structured.
  "clevr_count": Task(
    **CLEVR,
    fields=("size",),
    label=count,
    names=tuple(f"{i} objects" for i in range(3, 11)),
  ),
  "clevr_dist": Task(
    **CLEVR,
    fields=("pixel_coords",),
    label=find_nearest,
    names=("to 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "from 10"),
  ),
  "dmlab": Task(dataset="dmlab"),
  "kitti_dist": Task(
    dataset="kitti",
    feature="objects",
    fields=("type", "location"),
    label=find_vehicle,
    names=("to 8 m", "8 to 20 m", "from 20 m", "no vehicle"),
  ),
  "dspr_loc": Task(
    **DSPRITES,
    feature="label_x_position",
    label=functools.partial(merge, values=32),
    names=tuple(f"column {i} of 16" for i in range(16)),
  ),
  "dspr_ori": Task(
    **DSPRITES,
    feature="label_orientation",
    label=functools.partial(merge, values=40),
    names=tuple(f"orientation {i} of 16" for i in range(16)),
  ),
  "snorb_azim": Task(
    **SMALLNORB,
    feature="label_azimuth",
    names=tuple(f"azimuth {i} degrees" for i in range(0, 360, 20)),
  ),
  "snorb_elev": Task(
    **SMALLNORB,
    feature="label_elevation",
    names=tuple(f"elevation {i} degrees" for i in range(30, 75, 5)),
  ),
}


def get_task(name: str) -> Task:
  """Looks up a task; raises DataError, with the nearest, if it is unknown."""
  if name not in TASKS:
    raise DataError(
      f"data.source=vtab:{name}: unknown task of VTAB: {nearest(name, TASKS)}"
    )
  return TASKS[name]


def compute_parts(
  name: str, sizes: Mapping[str, int]
) -> dict[str, list[tuple[str, int, int]]]:
  """Computes the splits of a task, as parts of the splits of its set.

  Args:
    name: name of the task.
    sizes: split of the set -> number of examples.

  Returns:
    split of the task -> (split of the set, start, stop) of each part.

  Raises:
    DataError: if there are too few examples.
  """
  task = get_task(name)
  (val, before), (test, rest) = task.val, task.test
  before = sizes.get(val, 0) * before // 100
  rest = sizes.get(test, 0) * rest // 100
  train = ("train", 0, TRAIN)
  val = (val, before, before + VAL)
  test = (test, rest, sizes.get(test, 0))
  spans = sorted([train, val, test])
  fit = all(start < stop <= sizes.get(split, 0) for split, start, stop in spans)
  apart = all(
    one[0] != other[0] or one[2] <= other[1]
    for one, other in itertools.pairwise(spans)
  )
  if not fit or not apart:
    found = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
    raise DataError(
      f"vtab:{name} cannot take {TRAIN} training and {VAL} validation images "
      f"from {task.dataset}, which has {found}: prepare the complete set"
    )
  return {
    "train800": [train],
    "val200": [val],
    "train800val200": [train, val],
    "test": [test],
  }


def select_features(
  task: Task, info: tfds.core.DatasetInfo
) -> tfds.features.FeaturesDict:
  """Selects the features of a set that a task needs; others are not parsed.

  Raises:
    DataError: if the set does not have them.
  """
  try:
    image, feature = info.features["image"], info.features[task.feature]
    if task.fields:
      feature = tfds.features.Sequence(
        {field: feature.feature[field] for field in task.fields}
      )
  except (AttributeError, KeyError) as error:
    raise DataError(
      f"{info.data_dir} is not {task.dataset} of TFDS: it has the features "
      f"{info.features}"
    ) from error
  return tfds.features.FeaturesDict({"image": image, task.feature: feature})


def load_info(name: str, directory: epath.Path | None) -> DatasetInfo:
  """Loads the facts of a task: from the files of its set, else from tables.

  Args:
    name: name of the task.
    directory: where its set is prepared; None if it is not.

  Raises:
    DataError: if there is no such task, or its set is too small or has other
      features.
  """
  task = get_task(name)
  names = task.names or ()
  if directory is None:
    entry = CATALOGUE.get(task.dataset)
    sizes = entry.splits if entry else SIZES[task.dataset]
    num_classes = len(names) or entry.num_classes
  else:
    info = open_builder(directory).info
    sizes = {split: x.num_examples for split, x in info.splits.items()}
    names = names or tuple(select_features(task, info)[task.feature].names)
    num_classes = len(names)
  parts = compute_parts(name, sizes)
  return DatasetInfo(
    name=f"vtab:{name}",
    directory=directory,
    num_classes=num_classes,
    class_names=names,
    channels=3,
    splits=make_splits(
      {
        split: sum(stop - start for _, start, stop in spans)
        for split, spans in parts.items()
      }
    ),
    origins=parts,
  )


def whiten(png: bytes) -> bytes:
  """Turns a PNG of zeros and ones into one of zeros and 255."""
  try:
    image = transforms.decode(png, 1)
  except ValueError:
    return png  # Decoding it later reports the error.
  return cv2.imencode(".png", np.uint8(255) * (image > 0))[1].tobytes()


def _make_example(
  task: Task,
  records: Records,
  features: tfds.features.FeaturesDict,
  index: int,
) -> dict[str, Any]:
  """Reads an example of the set, and makes one of the task from it."""
  example = parse_example(records, features, index)
  image = example["image"]
  return {
    "image": whiten(image) if task.binary else image,
    "label": task.label(example[task.feature]),
  }


def open_source(
  name: str, split: str, builder: tfds.core.DatasetBuilder
) -> Examples:
  """Opens the examples of a split of a task.

  Args:
    name: name of the task.
    split: as "train800val200" or "test[:50%]".
    builder: TFDS's builder of its set, prepared as ArrayRecord.

  Raises:
    DataError: if there is no such split, or the set is too small or has other
      features.
  """
  task, info = get_task(name), builder.info
  wanted = [
    f"{original}[{start}:{stop}]"
    for original, start, stop in load_info(name, builder.data_path).find_files(
      split
    )
  ]
  records = open_records(info, "+".join(wanted))
  features = select_features(task, info)
  read = functools.partial(_make_example, task, records, features)
  return Examples(range(len(records)), read)
