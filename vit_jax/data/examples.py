# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Examples of a source, encoded, and examples of a batch, decoded.

An example of a batch has: image, uint8 [H W c]; label, int32 [], or [s] padded
by -1; mask, bool, False for padding; and unreadable, which stays on the host:
the index of an example whose image could not be decoded, or -1.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vit_jax.data import transforms
from vit_jax.data.info import DataError

TRIES = 1000  # Unreadable images in a row; more point to another fault.


@dataclasses.dataclass(frozen=True)
class Examples(Sequence):  # Untyped: run-time type checks would read items.
  """Examples by index, each read when it is asked for; images stay encoded.

  Both attributes are pickled into worker processes.

  Attributes:
    items: one an example: indices (a `range` takes no memory), paths, records.
    read: item -> {"image": bytes, "label": int or ints, perhaps a name}.
  """

  items: Sequence[Any]
  read: Callable[[Any], dict[str, Any]]

  def __len__(self) -> int:
    return len(self.items)

  def __getitem__(self, index: int) -> dict[str, Any]:
    return self.read(self.items[index])


def make_example(
  image: np.ndarray, label: np.ndarray, mask: bool, unreadable: int = -1
) -> dict[str, np.ndarray]:
  """Makes an example of a batch."""
  return dict(
    image=image,
    label=np.asarray(label, np.int32),
    mask=np.bool_(mask),
    unreadable=np.int64(unreadable),
  )


def pad_labels(label: Any, slots: int | None) -> np.ndarray:
  """Converts a label, or several, to int32 [], or [s] if there are slots.

  Raises:
    DataError: if there are more labels than slots.
  """
  if slots is None:
    return np.asarray(label, np.int32)
  labels = np.atleast_1d(np.asarray(label, np.int32))
  labels = labels[labels >= 0]
  if len(labels) > slots:
    raise DataError(
      f"an image has {len(labels)} labels, more than data.label_slots={slots}: "
      f"set --config.data.label_slots to the largest number of any image"
    )
  padded = np.full(slots, -1, np.int32)
  padded[: len(labels)] = labels
  return padded


@dataclasses.dataclass(frozen=True)
class Decoded:
  """Decoded examples of a source; an unreadable one is replaced by the next.

  The replacement depends on the source alone, so it is the same on every
  machine and after every restart.

  Attributes:
    source: encoded examples.
    channels: channels of the images (c).
    slots: largest number of labels (s); None is one label an image.
    start: offset of the source's indices, if it is a part of a mixture.
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
      f"{min(size, TRIES):,} images in a row cannot be read; the last, "
      f"{describe_example(example, (index + tried) % size)}: {reason}"
    )


def describe_example(example: dict[str, Any], index: int) -> str:
  """Names an example in a message: by its path if it has one."""
  name = example.get("name", example.get("file_name"))
  if isinstance(name, bytes):
    name = name.decode(errors="replace")
  return str(name) if name is not None else f"example {index}"


@dataclasses.dataclass(frozen=True)
class TrainTransform:
  """Crops and resizes a decoded example, at random.

  Attributes:
    size: height and width (H, W).
    crop: "inception" or "none".
    crop_area: range of the crop's share of the image's area.
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
  """Decoded and resized examples of a source, padded by masked examples.

  An unreadable image is replaced by black, so that every example counts once.

  Attributes:
    source: encoded examples.
    length: number of examples with padding.
    size: height and width (H, W).
    channels: channels of the images (c).
    slots: largest number of labels (s); None is one label an image.
    crop: share of a central crop; None is the whole image.
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
