# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From an example of a source to one as batches hold it.

A batch's example has image uint8 [H W c]; label int32, one or [s] padded with
-1; mask bool, False for padding; and unreadable, which stays on the host: the
index of the source's example whose image could not be decoded, or -1.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from vit_jax.data import transforms
from vit_jax.data.info import DataError

TRIES = 1000  # Unreadable images in a row, after which something else is wrong.


def make_example(
  image: np.ndarray, label: np.ndarray, mask: bool, unreadable: int = -1
) -> dict[str, np.ndarray]:
  """An example as batches hold it."""
  return dict(
    image=image,
    label=np.asarray(label, np.int32),
    mask=np.bool_(mask),
    unreadable=np.int64(unreadable),
  )


def pad_labels(label: Any, slots: int | None) -> np.ndarray:
  """A label, or several, as int32 [] without slots and [s] with them.

  Raises:
    DataError: if there are more labels than slots.
  """
  if slots is None:
    return np.asarray(label, np.int32)
  labels = np.atleast_1d(np.asarray(label, np.int32))
  labels = labels[labels >= 0]
  if len(labels) > slots:
    raise DataError(
      f"an image has {len(labels)} labels, and data.label_slots={slots}: set "
      f"--config.data.label_slots to the most that any has"
    )
  padded = np.full(slots, -1, np.int32)
  padded[: len(labels)] = labels
  return padded


@dataclasses.dataclass(frozen=True)
class Decoded:
  """A source's examples decoded; an unreadable one is replaced by the next.

  Which example replaces which is a function of the source alone, so it is the
  same on every machine and after every restart.

  Attributes:
    source: examples by index.
    channels: c.
    slots: s, or None for one label an image.
    start: index of the first example in what the source is a part of.
  """

  source: Sequence[dict[str, Any]]
  channels: int
  slots: int | None = None
  start: int = 0

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    size = len(self.source)
    for tried in range(min(size, TRIES)):
      example = self.source[(index + tried) % size]
      try:
        image = transforms.decode(example["image"], self.channels)
      except ValueError as error:
        reason = error
        continue
      return make_example(
        image,
        pad_labels(example["label"], self.slots),
        True,
        self.start + index if tried else -1,
      )
    raise DataError(
      f"no image of {min(size, TRIES):,} in a row can be read; the last, "
      f"{get_name(example, (index + tried) % size)}: {reason}"
    )


def get_name(example: dict[str, Any], index: int) -> str:
  """What to call an example: its path where it has one."""
  name = example.get("name", example.get("file_name"))
  if isinstance(name, bytes):
    name = name.decode(errors="replace")
  return str(name) if name is not None else f"example {index}"


@dataclasses.dataclass(frozen=True)
class TrainTransform:
  """Crops and resizes a decoded example; random by index.

  Attributes:
    size: (H, W).
    crop: "inception" or "none".
    crop_area: range of a box's share of the image.
  """

  size: tuple[int, int]
  crop: str
  crop_area: tuple[float, float]

  def __call__(
    self, example: dict[str, Any], rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    image = example["image"]
    if self.crop == "inception":
      image = transforms.inception_crop(image, self.size, rng, self.crop_area)
    else:
      image = transforms.resize(image, self.size)
    return example | {"image": image}


@dataclasses.dataclass(frozen=True)
class EvalExamples:
  """A source, decoded and resized, and padded with masked examples.

  An unreadable image is shown as black, so that every example counts once.

  Attributes:
    source: what to evaluate on.
    length: examples with padding.
    size: (H, W).
    channels: c.
    slots: s, or None for one label an image.
    crop: the share of a central crop; None is the whole image.
  """

  source: Sequence[dict[str, Any]]
  length: int
  size: tuple[int, int]
  channels: int
  slots: int | None
  crop: float | None

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if index >= len(self.source):
      return make_example(self._black(), pad_labels(-1, self.slots), False)
    example = self.source[index]
    label = pad_labels(example["label"], self.slots)
    try:
      image = transforms.decode(example["image"], self.channels)
    except ValueError:
      return make_example(self._black(), label, True, index)
    image = transforms.fit(image, self.size, self.crop)
    return make_example(image, label, True)

  def _black(self) -> np.ndarray:
    return np.zeros((*self.size, self.channels), np.uint8)
