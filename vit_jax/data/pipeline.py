# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a source to batches on the mesh, through Grain.

The order of examples is a function of (seed, epoch, index), and a batch of
(order, step). A process reads the rows of it that its devices hold. There is no
iterator state to save, and a run goes on exactly on another number of hosts.
"""

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import grain
import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh

from vit_jax.config import Count, Natural, Share
from vit_jax.data import sources, transforms
from vit_jax.data.augment import Augment
from vit_jax.sharding import get_batch_sharding

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """What the data section of a config sets.

  Attributes:
    source: "tfds:NAME".
    dir: where prepared sets lie; None is TFDS's directory
      (~/tensorflow_datasets, or $TFDS_DATA_DIR).
    train: the split to train on, as "train" or "train[:90%]".
    num_classes: rows of the head; None is what the set has.
    size: H and W that images are resized to, whatever their aspect: one number
      is a square, a pair is (height, width).
    crop: "inception" trains on random boxes of an image (Szegedy et al., 2015),
      "none" on the whole of it.
    crop_area: range of the box's share of the image.
    eval_crop: what evaluation is shown. None resizes the whole image, whatever
      its aspect, as the paper's authors fine-tune; a share resizes the small
      side to size / share and cuts out the middle, as they do for few shots:
      at 224 px, 0.875 is 256 px and a crop of 224. The manifest has it too.
    augment: what the device does.
    workers: processes that read and decode; 0 is threads of this one.
    threads: how many batches each process reads and decodes at a time.
  """

  source: str
  dir: str | None = None
  train: str = "train"
  num_classes: Count | None = None
  size: Count | tuple[Count, Count] = 224
  crop: Literal["inception", "none"] = "inception"
  crop_area: tuple[Share, Share] = (0.05, 1.0)
  eval_crop: Share | None = None
  augment: Augment = Augment()
  workers: Natural = 0
  threads: Count = 16

  @property
  def shape(self) -> tuple[int, int]:
    """(H, W) of the images, whichever way `size` says it."""
    if isinstance(self.size, int):
      return self.size, self.size
    return self.size


@dataclasses.dataclass(frozen=True)
class TrainTransform:
  """Example -> image uint8 [H W c], label, mask; random by index."""

  size: tuple[int, int]
  channels: int
  crop: str
  crop_area: tuple[float, float]

  def __call__(
    self, example: dict[str, Any], rng: np.random.Generator
  ) -> dict[str, np.ndarray]:
    image = transforms.decode(example["image"], self.channels)
    if self.crop == "inception":
      image = transforms.inception_crop(image, self.size, rng, self.crop_area)
    else:
      image = transforms.resize(image, self.size)
    return make_example(image, example["label"], True)


@dataclasses.dataclass(frozen=True)
class EvalSource:
  """A source, decoded and resized, and padded with masked examples.

  Attributes:
    source: what to evaluate on.
    length: examples with padding.
    size: (H, W).
    channels: c.
    crop: the share of a central crop; None is the whole image.
  """

  source: Sequence[dict[str, Any]]
  length: int
  size: tuple[int, int]
  channels: int
  crop: float | None

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if index >= len(self.source):
      shape = (*self.size, self.channels)
      return make_example(np.zeros(shape, np.uint8), -1, False)
    example = self.source[index]
    image = transforms.decode(example["image"], self.channels)
    image = transforms.fit(image, self.size, self.crop)
    return make_example(image, example["label"], True)


def make_example(
  image: np.ndarray, label: int, mask: bool
) -> dict[str, np.ndarray]:
  """An example as batches hold it."""
  return dict(image=image, label=np.int32(label), mask=np.bool_(mask))


@dataclasses.dataclass(frozen=True)
class Rows:
  """The rows of every batch that a process holds, one after another.

  Attributes:
    examples: of all batches, by index.
    batch_size: B.
    rows: which of each batch, sorted.
  """

  examples: Any
  batch_size: int
  rows: Sequence[int]

  def __len__(self) -> int:
    return len(self.examples) // self.batch_size * len(self.rows)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    step, row = divmod(index, len(self.rows))
    return self.examples[step * self.batch_size + self.rows[row]]


def make_train_dataset(
  data: Data,
  channels: int,
  source: Sequence[dict[str, Any]],
  *,
  batch_size: int,
  rows: Sequence[int],
  seed: int,
  start_step: int = 0,
) -> grain.MapDataset:
  """One process's rows of each batch from `start_step` on, without end.

  Args:
    data: the config's section.
    channels: c.
    source: examples by index.
    batch_size: B, of all processes together.
    rows: which of each batch this process reads, sorted.
    seed: of the order and of the crops.
    start_step: how many batches are done.
  """
  transform = TrainTransform(data.shape, channels, data.crop, data.crop_area)
  # As many epochs as Grain can count.
  epochs = 2**62 // len(source)
  examples = grain.MapDataset.source(source).seed(seed).shuffle()
  examples = examples.repeat(epochs).random_map(transform)
  mine = grain.MapDataset.source(Rows(examples, batch_size, rows))
  return mine.batch(len(rows))[start_step:]


def make_eval_dataset(
  data: Data,
  channels: int,
  source: Sequence[dict[str, Any]],
  *,
  batch_size: int,
  rows: Sequence[int],
) -> grain.MapDataset:
  """One process's rows of every example once, the last batch padded."""
  padded = -(-len(source) // batch_size) * batch_size
  examples = EvalSource(source, padded, data.shape, channels, data.eval_crop)
  mine = grain.MapDataset.source(Rows(examples, batch_size, rows))
  return mine.batch(len(rows))


def read(dataset: grain.MapDataset, data: Data) -> grain.IterDataset:
  """Reads ahead, in threads or in worker processes."""
  options = grain.ReadOptions(
    num_threads=data.threads, prefetch_buffer_size=data.threads
  )
  stream = dataset.to_iter_dataset(options)
  if data.workers:
    # Grain reads absl's flags, which are at their defaults.
    flags.FLAGS.mark_as_parsed()
    stream = stream.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=data.workers)
    )
  return stream


def get_rows(mesh: Mesh, batch_size: int) -> list[int]:
  """Which rows of a batch the devices of this process hold, sorted."""
  places = get_batch_sharding(mesh).addressable_devices_indices_map(
    (batch_size,)
  )
  rows = set()
  for (part,) in places.values():
    rows.update(range(*part.indices(batch_size)))
  return sorted(rows)


def to_device(
  batches: Iterator[dict[str, np.ndarray]],
  mesh: Mesh,
  batch_size: int,
  ahead: int = 2,
) -> Iterator[Batch]:
  """Puts this process's rows where the mesh wants them, `ahead` in advance."""
  sharding = get_batch_sharding(mesh)
  rows = get_rows(mesh, batch_size)

  def place(local: np.ndarray) -> jax.Array:
    def get_shard(index):
      start, stop, _ = index[0].indices(batch_size)
      first = bisect.bisect_left(rows, start)
      return local[first : first + stop - start]

    shape = (batch_size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, get_shard)

  queue = collections.deque()
  batches = iter(batches)
  while True:
    for batch in itertools.islice(batches, ahead - len(queue)):
      queue.append({name: place(x) for name, x in batch.items()})
    if not queue:
      return
    yield queue.popleft()


def make_train_batches(
  data: Data,
  mesh: Mesh,
  channels: int,
  *,
  batch_size: int,
  seed: int,
  start_step: int,
) -> Iterator[Batch]:
  """Batches for training from `start_step` on, without end, on the mesh."""
  dataset = make_train_dataset(
    data,
    channels,
    sources.open_source(data.source, data.train, data.dir),
    batch_size=batch_size,
    rows=get_rows(mesh, batch_size),
    seed=seed,
    start_step=start_step,
  )
  return to_device(iter(read(dataset, data)), mesh, batch_size)


def make_eval_batches(
  data: Data, mesh: Mesh, channels: int, *, split: str, batch_size: int
) -> tuple[Iterator[Batch], int]:
  """Batches that hold every example of a split once, and their number."""
  source = sources.open_source(data.source, split, data.dir)
  rows = get_rows(mesh, batch_size)
  dataset = make_eval_dataset(
    data, channels, source, batch_size=batch_size, rows=rows
  )
  batches = to_device(iter(read(dataset, data)), mesh, batch_size)
  return batches, len(source)
