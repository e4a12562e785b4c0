# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of a batch: pictures of a source, decoded, cropped and resized.

A batch has: image, uint8 [B H W c], and other views of it (`views`), if there
are any; label, int32 [B], or [B s] padded by -1;
segmentation, uint8 [B H W], where the label of an image is a mask of it;
mask, bool [B], False for padding; and unreadable, int64 [B], which stays on the
host: the index of an example whose image could not be decoded, or -1.

Worker processes import this module and what it imports, so neither jax nor the
sources are among them.
"""

import abc
import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from vit_jax.data import transforms
from vit_jax.data.crops import CROPS
from vit_jax.data.examples import describe_example, pad_labels
from vit_jax.data.framing import Rounding, frame
from vit_jax.data.info import DataError
from vit_jax.data.jpeg import Box
from vit_jax.data.masks import UNLABELLED, Mask, cut_mask
from vit_jax.data.order import Order
from vit_jax.data.resize import Resize, resize_into
from vit_jax.data.views import ONE, Views, cut_each

# Of a batch, views of an example beside its image.
VIEWS = ("views", "local")

# Images that a thread takes at a time, at most.
CHUNK = 8

ALIGNMENT = 64  # Bytes, of memory that XLA computes from on a CPU.

TRIES = 1000  # Unreadable images in a row; more point to another fault.


def make_aligned(shape: tuple[int, ...]) -> np.ndarray:
  """Makes an uint8 array that a CPU takes for its own, without a copy."""
  size = math.prod(shape)
  memory = np.empty(size + ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % ALIGNMENT
  return memory[start : start + size].reshape(shape)


class Pictures:
  """The pictures of a source; those of a small one are kept, decoded.

  Attributes:
    source: encoded examples.
    channels: channels of the images (c).
  """

  def __init__(
    self, source: Sequence[dict[str, Any]], channels: int, limit: int = 0
  ):
    """Reads nothing yet.

    Args:
      source: encoded examples.
      channels: channels of the images (c).
      limit: bytes that all of them may take to be kept.
    """
    self.source, self.channels = source, channels
    self._limit = limit
    self._forget()

  def _forget(self) -> None:
    self._kept: dict[int, tuple[transforms.Pixels, Any]] = {}
    self._bytes = 0

  def __getstate__(self) -> dict[str, Any]:
    # A worker process keeps its own.
    return self.__dict__ | {"_kept": {}, "_bytes": 0}

  def __len__(self) -> int:
    return len(self.source)

  def read(
    self, index: int
  ) -> tuple[transforms.Picture | transforms.Pixels, Any]:
    """Reads an example: its picture, which may be unreadable, and its label."""
    kept = self._kept.get(index)
    if kept is not None:
      return kept
    example = self.source[index]
    picture = transforms.Picture(example["image"], self.channels)
    if self._limit:
      try:
        image = picture.cut()
      except ValueError:
        return picture, example["label"]
      self._keep(index, image, example["label"])
      picture = transforms.Pixels(image)
    return picture, example["label"]

  def fill(self, threads: int) -> list[int]:
    """Decodes all images, for as long as they are kept.

    Args:
      threads: number of threads that decode.

    Returns:
      Indices of those that cannot be read, sorted.
    """

    def find_unreadable(indices: Sequence[int]) -> list[int]:
      return [i for i in indices if self._limit and self._is_unreadable(i)]

    found: list[int] = []
    for start in range(0, len(self), threads * CHUNK):
      if not self._limit:
        break
      stop = min(start + threads * CHUNK, len(self))
      parts = [
        range(i, min(i + CHUNK, stop)) for i in range(start, stop, CHUNK)
      ]
      run = map if threads == 1 else get_pool(threads).map
      found += itertools.chain(*run(find_unreadable, parts))
    return found

  def _is_unreadable(self, index: int) -> bool:
    """Decodes an image that is to be kept; tells if that is impossible."""
    try:
      self.read(index)[0].cut(copy=False)
    except ValueError:
      return True
    return False

  def _keep(self, index: int, image: np.ndarray, label: Any) -> None:
    """Keeps an image, unless all would take more than the limit."""
    self._kept[index] = transforms.Pixels(image), label
    self._bytes += image.nbytes
    # Threads may lose one another's bytes; of small images, few matter.
    mean = self._bytes / max(1, len(self._kept))
    if mean * len(self.source) > self._limit:
      self._limit = 0
      self._forget()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows(abc.ABC):
  """Examples that are written into the rows of a batch.

  Attributes:
    size: height and width (H, W).
    channels: channels of the images (c).
    resize: how they are resized, see `resize`.
    slots: largest number of labels (s); None is one label an image.
    masks: whether labels are masks.
  """

  size: tuple[int, int]
  channels: int
  resize: Resize
  slots: int | None = None
  masks: bool = False

  def make_batch(self, count: int) -> dict[str, np.ndarray]:
    """Makes a batch whose rows are to be written."""
    labels = (count,) if self.slots is None else (count, self.slots)
    batch: dict[str, np.ndarray] = dict(
      image=make_aligned((count, *self.size, self.channels)),
      label=np.empty(labels, np.int32),
      mask=np.ones(count, np.bool_),
      unreadable=np.full(count, -1, np.int64),
    )
    if self.masks:
      shape = (count, *self.size)
      batch["segmentation"] = np.full(shape, UNLABELLED, np.uint8)
    return batch

  def write_label(
    self,
    label: Any,
    batch: Mapping[str, np.ndarray],
    row: int,
    box: Box | None = None,
  ) -> None:
    """Writes a label; of a mask the box that is cut out of its image."""
    if isinstance(label, Mask):
      cut_mask(label.decode(), box, batch["segmentation"][row])
      label = -1
    batch["label"][row] = pad_labels(label, self.slots)

  @abc.abstractmethod
  def write(
    self, position: int, batch: Mapping[str, np.ndarray], row: int
  ) -> None:
    """Writes the example at a position into a row of a batch; in any thread."""

  def __getitem__(self, position: int) -> dict[str, np.ndarray]:
    batch = self.make_batch(1)
    self.write(position, batch, 0)
    return {name: x[0] for name, x in batch.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRows(Rows):
  """Crops, at random, of examples in random order, without end.

  An unreadable image is replaced by the next of its source: the same one on
  every machine and after every restart.

  Attributes:
    parts: the sources.
    order: which example is where.
    crop: a name in `crops`, or "none".
    crop_area: range of the crop's share of the image's area.
    views: the views of an image.
  """

  parts: Sequence[Pictures]
  order: Order
  crop: str
  crop_area: tuple[float, float]
  views: Views = ONE

  def make_batch(self, count: int) -> dict[str, np.ndarray]:
    """Makes a batch as `Rows`, with all views."""
    shapes = self.views.get_shapes(self.size, self.channels)
    del shapes["image"]  # It is there.
    return super().make_batch(count) | {
      name: make_aligned((count, *shape)) for name, shape in shapes.items()
    }

  def fill(self, threads: int) -> list[int]:
    """Decodes the images that are kept, as `Pictures`; for all sources."""
    found, start = [], 0
    for pictures in self.parts:
      found += [start + index for index in pictures.fill(threads)]
      start += len(pictures)
    return found

  def _find_rows(
    self, batch: Mapping[str, np.ndarray], row: int
  ) -> list[np.ndarray]:
    """Finds where the views of an example are written."""
    more = [batch[name][row] for name in VIEWS if name in batch]
    return [batch["image"][row], *itertools.chain(*more)]

  def sample_boxes(
    self, shape: tuple[int, int], position: int
  ) -> list[Box | None]:
    """Samples the boxes of an example's views; None is the whole image.

    Args:
      shape: (H, W) of the upright image.
      position: of the example.
    """
    count = self.views.count
    if self.crop == "none":
      return [None] * count
    rng, sample = self.order.get_rng(position), CROPS[self.crop]
    areas = [self.crop_area] * count
    areas += [self.views.local_area] * self.views.local
    return [sample(*shape, rng, area) for area in areas]

  def write(
    self, position: int, batch: Mapping[str, np.ndarray], row: int
  ) -> None:
    """Writes a crop, as `Rows`.

    Raises:
      DataError: if nothing can be read.
    """
    index, start = self.order.find(position), 0
    for pictures in self.parts:
      if index < start + len(pictures):
        break
      start += len(pictures)
    size = len(pictures)
    for tried in range(min(size, TRIES)):
      place = (index - start + tried) % size
      picture, label = pictures.read(place)
      try:
        boxes = self.sample_boxes(picture.shape, position)
        images = cut_each(picture, boxes)
      except ValueError as error:
        reason = error
        continue
      for image, out in zip(images, self._find_rows(batch, row), strict=True):
        resize_into(image, out, self.resize)
      self.write_label(label, batch, row, boxes[0])
      if tried:
        batch["unreadable"][row] = index
      return
    example = pictures.source[place]
    raise DataError(
      f"{min(size, TRIES):,} images in a row cannot be read; the last, "
      f"{describe_example(example, place)}: {reason}"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalRows(Rows):
  """Every example of a source once, and then padding, which is masked.

  An unreadable image is replaced by black, so that every example counts once.

  Attributes:
    pictures: the source.
    crop: share of a central crop; None is the whole image.
    squash, rounding: as of `Preprocess`.
  """

  pictures: Pictures
  crop: float | None
  squash: bool = False
  rounding: Rounding = "big_vision"

  def write(
    self, position: int, batch: Mapping[str, np.ndarray], row: int
  ) -> None:
    """Writes an image or padding, as `Rows`."""
    out = batch["image"][row]
    if position >= len(self.pictures):
      out[...] = 0
      self.write_label(-1, batch, row)
      batch["mask"][row] = False
      return
    picture, label = self.pictures.read(position)
    self.write_label(label, batch, row)
    try:
      image = picture.cut(copy=False)
    except ValueError:
      out[...] = 0
      batch["unreadable"][row] = position
      return
    if self.crop is None:
      resize_into(image, out, self.resize)
    else:
      out[...] = frame(
        image,
        self.size,
        self.crop,
        self.resize,
        squash=self.squash,
        rounding=self.rounding,
      )


@functools.cache
def get_pool(threads: int) -> futures.ThreadPoolExecutor:
  """Returns the threads of this process that read and decode, cached."""
  return futures.ThreadPoolExecutor(threads, thread_name_prefix="decode")


@dataclasses.dataclass(frozen=True)
class Batches:
  """One process's rows of every batch, by step.

  Attributes:
    rows: what is in the rows of all batches, by position.
    length: number of all batches.
    batch_size: global batch size (B).
    local: this process's rows of a batch, sorted.
    threads: number of threads that read and decode.
    start_step: number of batches to skip.
  """

  rows: Rows
  length: int
  batch_size: int
  local: Sequence[int]
  threads: int
  start_step: int = 0

  def __len__(self) -> int:
    return self.length - self.start_step

  def __getitem__(self, step: int) -> dict[str, np.ndarray]:
    first = (self.start_step + step) * self.batch_size
    batch = self.rows.make_batch(len(self.local))

    def write(numbers: Sequence[int]) -> None:
      for number in numbers:
        self.rows.write(first + self.local[number], batch, number)

    numbers = range(len(self.local))
    if self.threads == 1:  # That of `read`, or of a caller.
      write(numbers)
      return batch
    # Several at a time, for handing one to a thread takes as long as reading a
    # small image; but not so many that a thread is idle.
    size = min(CHUNK, -(-len(numbers) // self.threads))
    parts = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    list(get_pool(self.threads).map(write, parts))  # Raises what they raise.
    return batch
