# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a source to batches on the mesh, through Grain.

The order of examples is a function of (seed, epoch, index), and the batch of a
process a function of (process, step): there is no iterator state to save, and a
run goes on exactly on another number of processes.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import grain
import jax
import numpy as np
from jax.sharding import Mesh

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
    size: H and W that images are resized to.
    crop: "inception" trains on random boxes of an image (Szegedy et al., 2015),
      "none" on the whole of it. Evaluation always takes the whole.
    crop_area: range of the box's share of the image.
    augment: what the device does.
    workers: processes that read and decode; 0 is threads of this one.
    threads: that read and decode, in each process.
    prefetch: batches that are ready before they are needed.
  """

  source: str
  dir: str | None = None
  train: str = "train"
  num_classes: int | None = None
  size: int = 224
  crop: Literal["inception", "none"] = "inception"
  crop_area: tuple[float, float] = (0.05, 1.0)
  augment: Augment = Augment()
  workers: int = 0
  threads: int = 16
  prefetch: int = 4


@dataclasses.dataclass(frozen=True)
class TrainTransform:
  """Example -> image uint8 [size size c], label, mask; random by index."""

  size: int
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
    size: H and W.
    channels: c.
  """

  source: Sequence[dict[str, Any]]
  length: int
  size: int
  channels: int

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if index >= len(self.source):
      shape = (self.size, self.size, self.channels)
      return make_example(np.zeros(shape, np.uint8), -1, False)
    example = self.source[index]
    image = transforms.decode(example["image"], self.channels)
    image = transforms.resize(image, self.size)
    return make_example(image, example["label"], True)


def make_example(
  image: np.ndarray, label: int, mask: bool
) -> dict[str, np.ndarray]:
  """An example as batches hold it."""
  return dict(image=image, label=np.int32(label), mask=np.bool_(mask))


def make_train_dataset(
  data: Data,
  channels: int,
  source: Sequence[dict[str, Any]],
  *,
  batch_size: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.MapDataset:
  """One process's batches from `start_step` on, without end.

  Args:
    data: the config's section.
    channels: c.
    source: examples by index.
    batch_size: B, of all processes together.
    seed: of the order and of the crops.
    start_step: how many batches are done.
    process_index: which share of each batch.
    process_count: number of shares.
  """
  transform = TrainTransform(data.size, channels, data.crop, data.crop_area)
  # Grain's own endless repeat is too long for it to cut into batches of one.
  epochs = 2**62 // len(source)
  dataset = grain.MapDataset.source(source).seed(seed).shuffle()
  dataset = dataset.repeat(epochs).random_map(transform)
  dataset = dataset.batch(batch_size // process_count)
  return dataset[process_index::process_count][start_step:]


def make_eval_dataset(
  data: Data,
  channels: int,
  source: Sequence[dict[str, Any]],
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.MapDataset:
  """One process's share of every example once, the last batch padded."""
  padded = -(-len(source) // batch_size) * batch_size
  examples = EvalSource(source, padded, data.size, channels)
  dataset = grain.MapDataset.source(examples)
  dataset = dataset.batch(batch_size // process_count)
  return dataset[process_index::process_count]


def read(dataset: grain.MapDataset, data: Data) -> grain.IterDataset:
  """Reads ahead, in threads or in worker processes."""
  options = grain.ReadOptions(
    num_threads=data.threads, prefetch_buffer_size=data.prefetch
  )
  stream = dataset.to_iter_dataset(options)
  if data.workers:
    stream = stream.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=data.workers)
    )
  return stream


def to_device(
  batches: Iterator[dict[str, np.ndarray]], mesh: Mesh, ahead: int = 2
) -> Iterator[Batch]:
  """Puts each process's rows where the mesh wants them, `ahead` in advance."""
  sharding = get_batch_sharding(mesh)
  place = jax.make_array_from_process_local_data
  queue = collections.deque()
  batches = iter(batches)
  while True:
    for batch in itertools.islice(batches, ahead - len(queue)):
      queue.append({name: place(sharding, x) for name, x in batch.items()})
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
    seed=seed,
    start_step=start_step,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return to_device(iter(read(dataset, data)), mesh)


def make_eval_batches(
  data: Data, mesh: Mesh, channels: int, *, split: str, batch_size: int
) -> tuple[Iterator[Batch], int]:
  """Batches that hold every example of a split once, and their number."""
  source = sources.open_source(data.source, split, data.dir)
  dataset = make_eval_dataset(
    data,
    channels,
    source,
    batch_size=batch_size,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return to_device(iter(read(dataset, data)), mesh), len(source)
