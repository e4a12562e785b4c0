# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes batches on the mesh from a source, through Grain.

The order of examples is a function of (seed, epoch, index), and a batch is a
function of (order, step). Each process reads the rows that its devices hold. So
there is no iterator state to save, and a run resumes exactly on any number of
hosts.
"""

import bisect
import collections
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Annotated, Any, Literal

import grain
import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh

from vit_jax.config import Count, Interval, Natural, Share
from vit_jax.data import sources
from vit_jax.data.augment import Augment
from vit_jax.data.examples import Decoded, EvalExamples, TrainTransform
from vit_jax.data.mixture import Mixture
from vit_jax.data.unreadable import Unreadable
from vit_jax.data.workers import start_worker, watch
from vit_jax.sharding import get_batch_sharding
from vit_jax.train_state import Batch

# Batches that are read in parallel on the host, and that wait on the device. At
# two, the last images of one overlap with the first of the next; more take
# memory.
AHEAD = 2

# Images that a thread takes at a time, at most.
CHUNK = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """The data section of a config.

  Attributes:
    source: "tfds:NAME", "folder:DIR", "vtab:TASK", "synthetic:CLASSES", or a
      mixture, "mix:WEIGHT*SOURCE,WEIGHT*SOURCE".
    dir: where prepared sets are stored; None is TFDS's directory
      (~/tensorflow_datasets, or $TFDS_DATA_DIR).
    train: the split to train on, as "train" or "train[:90%]".
    num_classes: number of classes of the head (Y); None is that of the set.
    label_slots: largest number of labels of an image (s), where it may have
      several; None is that of the set.
    size: height and width (H, W) that images are resized to, without keeping
      the aspect ratio; one number is a square.
    crop: "inception" trains on random boxes of an image (Szegedy et al., 2015),
      "none" on the whole image.
    crop_area: range of the box's share of the image's area.
    eval_crop: None evaluates on the whole image, resized without keeping the
      aspect ratio, as the ViT authors fine-tune. A share resizes the small side
      to size / share and cuts out the middle, as they do for few-shot
      evaluation: at 224 px, 0.875 is 256 px and a crop of 224. The manifest
      records it.
    augment: augmentation on the device.
    workers: number of processes that read and decode; 0 uses threads of this
      process.
    threads: number of threads that read and decode in each process; None is one
      a core.
    max_unreadable: largest share of a split's images that may be unreadable, in
      a process since it started. Each is logged and replaced by the next; above
      the share the run stops. 0 stops at the first.
  """

  source: str
  dir: str | None = None
  train: str = "train"
  num_classes: Count | None = None
  label_slots: Count | None = None
  size: Count | tuple[Count, Count] = 224
  crop: Literal["inception", "none"] = "inception"
  crop_area: tuple[Share, Share] = (0.05, 1.0)
  eval_crop: Share | None = None
  augment: Augment = Augment()
  workers: Natural = 0
  threads: Count | None = None
  max_unreadable: Annotated[float, Interval("[0, 1]")] = 0.001

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of the images (H, W)."""
    if isinstance(self.size, int):
      return self.size, self.size
    return self.size

  def count_threads(self) -> int:
    """Computes the number of threads of each process that decodes."""
    return self.threads or max(1, count_cores() // max(1, self.workers))


def count_cores() -> int:
  """Counts the cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


@functools.cache
def get_pool(threads: int) -> futures.ThreadPoolExecutor:
  """Returns the threads of this process that read and decode, cached."""
  return futures.ThreadPoolExecutor(threads, thread_name_prefix="decode")


@dataclasses.dataclass(frozen=True)
class Batches(Sequence[dict[str, np.ndarray]]):
  """One process's rows of every batch, by step.

  Attributes:
    examples: examples of all batches, by index.
    batch_size: global batch size (B).
    rows: this process's rows of a batch, sorted.
    threads: number of threads that read and decode.
    start_step: number of batches to skip.
  """

  examples: Any
  batch_size: int
  rows: Sequence[int]
  threads: int
  start_step: int = 0

  def __len__(self) -> int:
    return len(self.examples) // self.batch_size - self.start_step

  def __getitem__(self, step: int) -> dict[str, np.ndarray]:
    first = (self.start_step + step) * self.batch_size
    indices = [first + row for row in self.rows]
    # Several at a time, for handing one to a thread takes as long as reading a
    # small image; but not so many that a thread is idle.
    size = min(CHUNK, -(-len(indices) // self.threads))
    parts = [indices[i : i + size] for i in range(0, len(indices), size)]
    examples = get_pool(self.threads).map(self._read, parts)
    return stack(list(itertools.chain.from_iterable(examples)))

  def _read(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
    return [self.examples[index] for index in indices]


def stack(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """Stacks examples to a batch."""
  return {
    name: np.stack([example[name] for example in examples])
    for name in examples[0]
  }


def make_train_examples(
  data: Data, channels: int, source: Sequence[dict[str, Any]], seed: int
) -> grain.MapDataset:
  """Makes the shuffled and cropped examples of all epochs, by index.

  Args:
    data: the config's section.
    channels: channels of the images (c).
    source: encoded examples.
    seed: seed of the order and of the crops.
  """
  parts, weights = [source], [1.0]
  if isinstance(source, Mixture):
    parts, weights = source.parts, source.weights
  streams, start = [], 0
  for number, part in enumerate(parts):
    decoded = Decoded(part, channels, data.label_slots, start)
    stream = grain.MapDataset.source(decoded).seed((seed + number) % 2**32)
    # The largest number of epochs that Grain can count.
    streams.append(stream.shuffle().repeat(2**62 // len(part)))
    start += len(part)
  examples = streams[0]
  if len(streams) > 1:
    examples = grain.MapDataset.mix(streams, weights)
  return examples.random_map(
    TrainTransform(data.shape, data.crop, data.crop_area)
  )


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
  """Makes one process's rows of each batch, from `start_step` on, endless.

  Args:
    data: the config's section.
    channels: channels of the images (c).
    source: encoded examples.
    batch_size: global batch size (B).
    rows: rows of a batch that this process reads, sorted.
    seed: seed of the order and of the crops.
    start_step: number of batches that are done.
  """
  examples = make_train_examples(data, channels, source, seed)
  threads = data.count_threads()
  return grain.MapDataset.source(
    Batches(examples, batch_size, rows, threads, start_step)
  )


def make_eval_dataset(
  data: Data,
  channels: int,
  source: Sequence[dict[str, Any]],
  *,
  batch_size: int,
  rows: Sequence[int],
) -> grain.MapDataset:
  """Makes one process's rows of each example once, the last batch padded."""
  padded = -(-len(source) // batch_size) * batch_size
  examples = EvalExamples(
    source, padded, data.shape, channels, data.label_slots, data.eval_crop
  )
  return grain.MapDataset.source(
    Batches(examples, batch_size, rows, data.count_threads())
  )


def read(
  dataset: grain.MapDataset, data: Data
) -> Iterator[dict[str, np.ndarray]]:
  """Reads batches ahead, in threads or in worker processes.

  Taking a batch raises DataError if the data are missing or a worker has died.
  """
  options = grain.ReadOptions(num_threads=AHEAD, prefetch_buffer_size=AHEAD)
  stream = dataset.to_iter_dataset(options)
  if data.workers:
    # Grain reads flags of absl, which are not parsed: use their defaults.
    flags.FLAGS.mark_as_parsed()
    stream = stream.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=data.workers), start_worker
    )
  batches = iter(stream)
  return watch(batches, data.workers) if data.workers else batches


def find_rows(mesh: Mesh, batch_size: int) -> list[int]:
  """Finds the rows of a batch that this process's devices hold, sorted."""
  places = get_batch_sharding(mesh).addressable_devices_indices_map(
    (batch_size,)
  )
  rows = set()
  for (part,) in places.values():
    rows.update(range(*part.indices(batch_size)))
  return sorted(rows)


def place(batch: dict[str, np.ndarray], mesh: Mesh, batch_size: int) -> Batch:
  """Puts this process's rows of a batch on its devices of the mesh."""
  sharding = get_batch_sharding(mesh)
  rows = find_rows(mesh, batch_size)

  def put(local: np.ndarray) -> jax.Array:
    def get_shard(index):
      start, stop, _ = index[0].indices(batch_size)
      first = bisect.bisect_left(rows, start)
      return local[first : first + stop - start]

    shape = (batch_size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, get_shard)

  return {name: put(x) for name, x in batch.items()}


def to_device(
  batches: Iterator[dict[str, np.ndarray]],
  mesh: Mesh,
  batch_size: int,
  ahead: int = AHEAD,
) -> Iterator[Batch]:
  """Yields the batches on the mesh, transferring `ahead` of them in advance."""
  queue = collections.deque()
  batches = iter(batches)
  while True:
    for batch in itertools.islice(batches, ahead - len(queue)):
      queue.append(place(batch, mesh, batch_size))
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
  """Makes the training batches on the mesh, from `start_step` on, endless.

  Raises:
    DataError: if the data are missing; and when a batch is taken, if too many
      images are unreadable.
  """
  source = sources.open_source(data.source, data.train, data.dir)
  dataset = make_train_dataset(
    data,
    channels,
    source,
    batch_size=batch_size,
    rows=find_rows(mesh, batch_size),
    seed=seed,
    start_step=start_step,
  )
  unreadable = Unreadable(source, data.max_unreadable)
  batches = unreadable.watch(read(dataset, data))
  return to_device(batches, mesh, batch_size)


def make_eval_batches(
  data: Data, mesh: Mesh, channels: int, *, split: str, batch_size: int
) -> tuple[Iterator[Batch], int]:
  """Makes batches on the mesh that hold each example of a split once.

  Returns:
    The batches, and the number of examples.

  Raises:
    DataError: as `make_train_batches`.
  """
  source = sources.open_source(data.source, split, data.dir)
  rows = find_rows(mesh, batch_size)
  dataset = make_eval_dataset(
    data, channels, source, batch_size=batch_size, rows=rows
  )
  unreadable = Unreadable(source, data.max_unreadable, "shown as black")
  batches = unreadable.watch(read(dataset, data))
  return to_device(batches, mesh, batch_size), len(source)
