# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Makes batches on the mesh from a source, through Grain.

The order of examples is a function of (seed, epoch, index), and a batch is a
function of (order, step). Each process reads the rows that its devices hold. So
there is no iterator state to save, and a run resumes exactly on any number of
hosts.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from absl import flags
from jax.sharding import Mesh

from vit_jax.config import (
  Choice,
  Count,
  Interval,
  Parallel,
  Part,
  Share,
  raise_all,
)
from vit_jax.data import sources
from vit_jax.data.augment import Augment, find_view_errors, normalize
from vit_jax.data.crops import Crop
from vit_jax.data.examples import thin
from vit_jax.data.framing import Rounding
from vit_jax.data.mixture import Mixture
from vit_jax.data.order import ENDLESS, Order
from vit_jax.data.parallelism import choose_parallelism
from vit_jax.data.placing import AHEAD, find_rows, to_device
from vit_jax.data.preprocess import Preprocess
from vit_jax.data.resize import Resize
from vit_jax.data.rows import Batches, EvalRows, Pictures, Rows, TrainRows
from vit_jax.data.unreadable import Unreadable
from vit_jax.data.views import ONE, Views
from vit_jax.data.workers import follow_parent, quiet_tracker, watch
from vit_jax.train_state import Batch

# Images that take no more bytes than this, all of a split together, are kept
# decoded while a run trains on them.
KEEP_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """The data section of a config.

  Attributes:
    source: "tfds:NAME", "folder:DIR", "vtab:TASK", "synthetic:CLASSES", or a
      mixture, "mix:WEIGHT*SOURCE,WEIGHT*SOURCE"; "segmentation:DIR", images and
      masks; or "images:DIR", without classes.
    dir: where prepared sets are stored; None is TFDS's directory
      (~/tensorflow_datasets, or $TFDS_DATA_DIR).
    train: the split to train on, as "train" or "train[:90%]".
    num_classes: number of classes of the head (Y); None is that of the set.
    label_slots: largest number of labels of an image (s), where it may have
      several; None is that of the set.
    size: height and width (H, W) that images are resized to, without keeping
      the aspect ratio; one number is a square.
    crop: "distorted_box" trains on random boxes of an image as the ViT authors,
      AugReg and big_vision do with TensorFlow: the aspect is uniform, then the
      height. "random_resized" draws the area uniformly, as torchvision and timm
      do, so its boxes are larger. "none" trains on the whole image.
    crop_area: range of the box's share of the image's area.
    resize: how an image or a box becomes one of `size`: "bilinear", without
      antialiasing, as those authors train; "area", averages, as big_vision
      evaluates; or Pillow's, which timm, torchvision and Hugging Face use:
      "bilinear_antialias", "bicubic" or "lanczos".
    eval_resize: the same in evaluation; None is as in training. The manifest
      records it.
    eval_crop: None evaluates on the whole image, resized without keeping the
      aspect ratio, as the ViT authors fine-tune. A share resizes the small side
      to size / share and cuts out the middle, as they do for few-shot
      evaluation: at 224 px, 0.875 is 256 px and a crop of 224. The manifest
      records it.
    eval_rounding: whose rule rounds the sides and the corner of eval_crop:
      "big_vision", "timm" or "transformers". With that of the program that will
      read an export, both crop the same pixels. The manifest records it.
    augment: augmentation on the device.
    views: several views of an image, for objectives that compare them.
    workers: number of processes that read and decode; 0 uses threads of this
      process. "auto" chooses by the cores, the memory and the cost of an image.
    threads: number of threads that read and decode in each process; "auto"
      likewise.
    max_unreadable: largest share of a split's images that may be unreadable, in
      a process since it started; one image at least. Each is logged and
      replaced by the next; above the share the run stops. 0 stops at the first.
  """

  source: str
  dir: str | None = None
  train: str = "train"
  num_classes: Count | None = None
  label_slots: Count | None = None
  size: Count | tuple[Count, Count] = 224
  crop: Crop = "distorted_box"
  crop_area: tuple[Share, Share] = (0.05, 1.0)
  resize: Resize = "bilinear"
  eval_resize: Resize | None = None
  eval_crop: Share | None = None
  eval_rounding: Rounding = "big_vision"
  augment: Augment = Augment()
  views: Views = ONE
  workers: Literal["auto"] | Parallel = "auto"
  threads: Literal["auto"] | Annotated[int, Interval("[1, 1024]")] = "auto"
  max_unreadable: Part = 0.001

  def __post_init__(self):
    raise_all(find_view_errors(self.views, self.augment, self.crop))

  @property
  def shape(self) -> tuple[int, int]:
    """Height and width of the images (H, W)."""
    if isinstance(self.size, int):
      return self.size, self.size
    return self.size

  @property
  def has_masks(self) -> bool:
    """Whether the labels of the source are masks."""
    return self.source.startswith("segmentation:")

  def get_eval_resize(self) -> Resize:
    """Returns how images are resized in evaluation."""
    return self.eval_resize or self.resize

  def make_preprocess(self, channels: int) -> Preprocess:
    """Makes the pre-processing of evaluation, for images with c channels."""
    height, width = self.shape
    return Preprocess(
      height=height,
      width=width,
      channels=channels,
      crop=self.eval_crop,
      resize=self.get_eval_resize(),
      rounding=self.eval_rounding,
    )

  def open(self, split: str) -> Sequence[dict[str, Any]]:
    """Opens a split for reading by index, see `sources.open_source`."""
    return sources.open_source(self.source, split, self.dir)

  def prepare(self, batch: Batch) -> Batch:
    """Makes the input of an evaluated model of a batch, on the device."""
    return normalize(batch)

  def count_workers(self) -> int:
    """Returns the number of processes that decode; none if not yet chosen."""
    return 0 if self.workers == "auto" else self.workers

  def count_threads(self) -> int:
    """Returns the number of threads of each; one if not yet chosen."""
    return 1 if self.threads == "auto" else self.threads


def make_train_rows(
  data: Data, channels: int, source: Sequence[dict[str, Any]], seed: int
) -> TrainRows:
  """Makes the shuffled and cropped examples of all epochs, by position.

  Args:
    data: the config's section.
    channels: channels of the images (c).
    source: encoded examples.
    seed: seed of the order and of the crops.
  """
  parts, weights = [source], [1.0]
  if isinstance(source, Mixture):
    parts, weights = list(source.parts), list(source.weights)
  limit = KEEP_BYTES // len(parts)
  return TrainRows(
    parts=[Pictures(part, channels, limit) for part in parts],
    order=Order([len(part) for part in parts], weights, seed),
    size=data.shape,
    channels=channels,
    slots=data.label_slots,
    masks=data.has_masks,
    crop=data.crop,
    crop_area=data.crop_area,
    resize=data.resize,
    views=data.views,
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
) -> Any:
  """Makes one process's rows of each batch, from `start_step` on, endless.

  Args:
    data: the config's section; "auto" is one thread.
    channels: channels of the images (c).
    source: encoded examples.
    batch_size: global batch size (B).
    rows: rows of a batch that this process reads, sorted.
    seed: seed of the order and of the crops.
    start_step: number of batches that are done.
  """
  every = make_train_rows(data, channels, source, seed)
  length = ENDLESS // batch_size
  return _make_dataset(every, data, length, batch_size, rows, start_step)


def _make_dataset(
  every: Rows,
  data: Data,
  length: int,
  batch_size: int,
  rows: Sequence[int],
  start_step: int = 0,
) -> Any:
  """Makes a data set of Grain's of batches of rows, as `Batches`."""
  import grain  # Late: it imports Orbax.

  threads = data.count_threads()
  return grain.MapDataset.source(
    Batches(every, length, batch_size, rows, threads, start_step)
  )


def make_eval_dataset(
  data: Data,
  channels: int,
  source: Sequence[dict[str, Any]],
  *,
  batch_size: int,
  rows: Sequence[int],
) -> Any:
  """Makes one process's rows of each example once, the last batch padded."""
  how = data.make_preprocess(channels)
  every = EvalRows(
    pictures=Pictures(source, channels),
    size=how.size,
    channels=channels,
    slots=data.label_slots,
    masks=data.has_masks,
    crop=how.crop,
    resize=how.resize,
    squash=how.squash,
    rounding=how.rounding,
  )
  length = -(-len(source) // batch_size)
  return _make_dataset(every, data, length, batch_size, rows)


def read(dataset: Any, data: Data) -> Iterator[dict[str, np.ndarray]]:
  """Reads batches ahead, in threads or in worker processes.

  Taking a batch raises DataError if the data are missing or a worker has died.
  """
  import grain  # Late: it imports Orbax.

  ahead = 1 if data.count_threads() == 1 else AHEAD
  options = grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=AHEAD)
  stream = dataset.to_iter_dataset(options)
  workers = data.count_workers()
  if workers:
    # Grain reads flags of absl, which are not parsed: use their defaults.
    flags.FLAGS.mark_as_parsed()
    quiet_tracker()
    stream = stream.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=workers), follow_parent
    )
  batches = iter(stream)
  return watch(batches, workers) if workers else batches


def choose_for_training(
  data: Data,
  source: Sequence[dict[str, Any]],
  channels: int,
  *,
  rows: int,
  images: int | None = None,
  processes: int = 1,
) -> tuple[Data, list[Choice]]:
  """Chooses the workers and threads of training, where they are "auto".

  Args:
    data: the data section.
    source: encoded examples of the split to train on.
    channels: channels of the images (c).
    rows: number of a batch's rows that this process reads.
    images: number of images that it will read; None if that is unknown.
    processes: number of processes of the run on this machine.

  Returns:
    The section with numbers, and what was chosen.
  """
  return choose_parallelism(
    data,
    source,
    channels,
    rows=rows,
    images=images,
    kept=KEEP_BYTES,
    processes=processes,
  )


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
  rows = find_rows(mesh, batch_size)
  data, _ = choose_for_training(data, source, channels, rows=len(rows))
  every = make_train_rows(data, channels, source, seed)
  unreadable = Unreadable(source, data.max_unreadable)
  if not data.count_workers():  # Images that are kept are all met at once.
    unreadable.add(np.array(every.fill(data.count_threads()), np.int64))
  length = ENDLESS // batch_size
  dataset = _make_dataset(every, data, length, batch_size, rows, start_step)
  batches = unreadable.watch(read(dataset, data))
  return to_device(batches, mesh, batch_size)


def make_eval_batches(
  data: Data,
  mesh: Mesh,
  channels: int,
  *,
  split: str,
  batch_size: int,
  limit: int | None = None,
) -> tuple[Iterator[Batch], int]:
  """Makes batches on the mesh that hold each example of a split once.

  Or, with a limit, so many of them, evenly from all.

  Returns:
    The batches, and the number of examples.

  Raises:
    DataError: as `make_train_batches`.
  """
  source = thin(data.open(split), limit)
  rows = find_rows(mesh, batch_size)
  images = len(source) * len(rows) // batch_size
  data = dataclasses.replace(data, views=ONE)
  data, _ = choose_parallelism(
    data, source, channels, rows=len(rows), images=images
  )
  dataset = make_eval_dataset(
    data, channels, source, batch_size=batch_size, rows=rows
  )
  unreadable = Unreadable(source, data.max_unreadable, "shown as black")
  batches = unreadable.watch(read(dataset, data))
  return to_device(batches, mesh, batch_size), len(source)
