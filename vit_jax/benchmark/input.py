# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of the input pipeline and of its stages, one of which bounds it."""

import contextlib
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vit_jax.benchmark.rival import Rival
from vit_jax.data import (
  parallelism,
  pipeline,
  placing,
  sources,
  transforms,
)
from vit_jax.data.info import DataError
from vit_jax.data.order import Order
from vit_jax.data.rows import Pictures, TrainRows
from vit_jax.data.views import find_hull
from vit_jax.devices.machine import count_cores

# Stages that run in all threads; the others run one at a time.
THREADED = ("read", "decode", "crop")

ROUNDS = 5  # A time is the median of so many.


@dataclasses.dataclass(frozen=True)
class Report:
  """Measured times and speed.

  Attributes:
    source: data source.
    size: (H, W) of the images in a batch, in pixels.
    batch_size: global batch size (B).
    workers: number of processes that read; with 0 this process does.
    threads: number of threads in each of them.
    cores: number of cores that this process may use.
    stages: name -> seconds per image, in a single thread.
    images_per_second: speed of the whole input pipeline, the median.
    speeds: all speeds that were measured.
    kept: whether images stay decoded, so that reading and decoding cost nothing
      after the first epoch.
    reasons: why there are so many workers and threads.
    others: name -> speeds of others at the same work, measured in turns.
  """

  source: str
  size: tuple[int, int]
  batch_size: int
  workers: int
  threads: int
  cores: int
  stages: dict[str, float]
  images_per_second: float
  speeds: Sequence[float] = ()
  kept: bool = False
  reasons: Sequence[str] = ()
  others: Mapping[str, Sequence[float]] = dataclasses.field(
    default_factory=dict
  )

  @property
  def parallel(self) -> int:
    """The number of images that are processed at the same time."""
    return min(self.cores, self.threads * max(1, self.workers))

  @property
  def threaded(self) -> dict[str, float]:
    """The stages that run in all threads, of every epoch."""
    once = ("read", "decode") if self.kept else ()
    return {k: self.stages[k] for k in THREADED if k not in once}

  @property
  def limits(self) -> dict[str, float]:
    """Limit -> its images per second: the threads, and each other stage."""
    shared = sum(self.threaded.values())
    alone = {k: 1 / x for k, x in self.stages.items() if k not in THREADED}
    return {"threads": self.parallel / shared} | alone

  @property
  def bound(self) -> str:
    """The stage that bounds the speed of the input pipeline."""
    limits = self.limits
    slowest = min(limits, key=limits.__getitem__)
    if slowest != "threads":
      return slowest
    return max(self.threaded, key=self.stages.__getitem__)

  def to_json(self) -> dict[str, Any]:
    """The measurements and what follows from them, as JSON."""
    derived = {"limits": self.limits, "bound": self.bound}
    return dataclasses.asdict(self) | derived

  def __str__(self) -> str:
    height, width = self.size
    parallel = f"{self.threads} threads"
    if self.workers:
      parallel = f"{self.workers} workers of {parallel}"
    lines = [
      f"{self.source} at {height} x {width} px, batches of "
      f"{self.batch_size:,}, {parallel}, {self.cores} cores",
      *(f"  {reason}" for reason in self.reasons),
      "",
      "stage        ms per image   at most images/s",
    ]
    limits = self.limits
    for name in THREADED:
      once = "" if name in self.threaded else "   once, then kept"
      lines.append(f"{name:12} {1e3 * self.stages[name]:12.3f}{once}")
    rows = {"all of these": (sum(self.threaded.values()), limits["threads"])}
    for name, seconds in self.stages.items():
      if name not in THREADED:
        rows[name] = seconds, limits[name]
    lines += [
      f"{name:12} {1e3 * seconds:12.3f}   {limit:16,.0f}"
      for name, (seconds, limit) in rows.items()
    ]
    lines += [
      "",
      f"whole input, as training has it: {self.images_per_second:,.0f} "
      f"images/s{describe_spread(self.speeds)}",
      f"bound by: {self.bound}",
    ]
    for name, speeds in self.others.items():
      median = statistics.median(speeds)
      lines.append(
        f"{name}: {median:,.0f} images/s{describe_spread(speeds)}, in turns; "
        f"ratio {self.images_per_second / median:.2f}"
      )
    return "\n".join(lines)


def describe_spread(speeds: Sequence[float]) -> str:
  """Describes the smallest and the largest of several speeds."""
  if len(speeds) < 2:
    return ""
  return f" ({min(speeds):,.0f} to {max(speeds):,.0f})"


def time_each(
  function: Callable[[Any], Any],
  inputs: Sequence[Any],
  clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, list[Any]]:
  """Seconds per call, the median of rounds after a first call, and the results.

  Args:
    function: what is timed.
    inputs: one for each call; each round has its share of them.
    clock: time.thread_time counts nothing of what else a machine does.
  """
  function(inputs[0])
  results, seconds = [], []
  for number in range(min(ROUNDS, len(inputs))):
    part = inputs[number::ROUNDS]
    began = clock()
    found = [function(x) for x in part]
    seconds.append((clock() - began) / len(part))
    results += found
  return statistics.median(seconds), results


class Repeated(Sequence[Any]):
  """A few examples, again and again: a source that is as long as another."""

  def __init__(self, examples: Sequence[Any], length: int):
    self._examples, self._length = examples, length

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, index: Any) -> Any:
    return self._examples[index % len(self._examples)]


def decode(data: bytes, channels: int, box: Any) -> None:
  """Decodes a box of an image, if that is possible."""
  with contextlib.suppress(ValueError):
    transforms.Picture(data, channels).cut(box, copy=False)


def measure_stages(
  data: pipeline.Data,
  mesh: Mesh,
  channels: int,
  *,
  batch_size: int,
  images: int,
) -> dict[str, float]:
  """Measures the seconds per image of each stage, in a single thread.

  Args:
    data: the data section.
    mesh: devices that batches are transferred to.
    channels: c.
    batch_size: global batch size (B).
    images: number of images to measure with, drawn from the whole split.

  Raises:
    DataError: if none of the images can be decoded.
  """
  source = sources.open_source(data.source, data.train, data.dir)
  rows = pipeline.make_train_rows(data, channels, source, seed=0)
  cpu = time.thread_time
  stages = {}
  indices = np.random.default_rng(0).integers(0, len(source), images).tolist()
  stages["read"], examples = time_each(source.__getitem__, indices)
  boxes = list(make_boxes(rows, examples, channels))
  if not boxes:
    raise DataError(
      f"{data.source}: none of {images} images can be decoded; check the source"
    )
  stages["decode"], _ = time_each(
    lambda x: decode(x[0]["image"], channels, x[1]), boxes, cpu
  )
  # Everything else that is done for an image: of pictures that are decoded.
  # They stand for the whole source, as to permute few is slower: 200 take 93 us
  # an image, 1,437 take 15, and 50,000 take 2.
  readable = Repeated([example for example, _ in boxes], len(source))
  decoded = dataclasses.replace(
    rows,
    parts=[Pictures(readable, channels, sys.maxsize)],
    order=Order([len(readable)], [1.0], seed=0),
  )
  numbers = range(len(boxes))
  batch = rows.make_batch(len(numbers))
  for number in numbers:
    decoded.write(number, batch, number)
  batch = rows.make_batch(len(numbers))  # New memory, as every batch is.
  stages["crop"], _ = time_each(
    lambda number: decoded.write(number, batch, number), numbers, cpu
  )
  local = placing.find_rows(mesh, batch_size)
  made = rows.make_batch(len(local))
  seconds, _ = time_each(
    lambda x: jax.block_until_ready(placing.place(x, mesh, batch_size)),
    [made] * ROUNDS,
  )
  stages["transfer"] = seconds / len(local)
  return stages


def make_boxes(
  rows: TrainRows, examples: Sequence[dict[str, Any]], channels: int
) -> Iterator[tuple[dict[str, Any], Any]]:
  """Yields each readable example with the box of it that training decodes."""
  for position, example in enumerate(examples):
    try:
      image = transforms.Picture(example["image"], channels).cut(copy=False)
    except ValueError:
      continue
    boxes = rows.sample_boxes(image.shape[:2], position)
    whole = [box for box in boxes if box is not None]
    yield example, find_hull(whole) if whole else None


def measure_whole(
  data: pipeline.Data,
  mesh: Mesh,
  channels: int,
  *,
  batch_size: int,
  seconds: float,
  rival: Rival | None = None,
) -> dict[str, list[float]]:
  """Measures the images per second of the whole input pipeline, in rounds.

  Args:
    data, mesh, channels, batch_size: as of `measure_stages`.
    seconds: time of all rounds together.
    rival: measured in turns, if given.

  Returns:
    Name -> speeds; that of the pipeline is "input".
  """
  batches: Any = pipeline.make_train_batches(
    data, mesh, channels, batch_size=batch_size, seed=0, start_step=0
  )
  speeds: dict[str, list[float]] = {"input": []}
  # Batches that are begun before they are asked for.
  ahead = 2 * placing.AHEAD + 2 * data.count_workers()
  with contextlib.closing(batches):
    for _ in range(ROUNDS):
      for _ in range(ahead):
        jax.block_until_ready(next(batches))
      began, count = time.perf_counter(), 0
      while (
        passed := time.perf_counter() - began
      ) < seconds / ROUNDS or count < 2:
        jax.block_until_ready(next(batches))
        count += 1
      speeds["input"].append(count * batch_size / passed)
      if rival is None:
        continue
      # They are made now, not in the turn of the other.
      time.sleep(ahead * batch_size / speeds["input"][-1])
      for method in rival.methods:
        speed = rival.measure(method, seconds / ROUNDS)
        speeds.setdefault(f"tf.data, {method}", []).append(speed)
  return speeds


def measure(
  data: pipeline.Data,
  mesh: Mesh,
  channels: int,
  *,
  batch_size: int,
  images: int = 200,
  seconds: float = 10.0,
  against: str | None = None,
) -> Report:
  """Measures the input pipeline of a config.

  Args:
    data, mesh, channels, batch_size, images: as of `measure_stages`.
    seconds: time that the whole pipeline is measured for.
    against: "tf_data" measures it too, in turns.

  Raises:
    DataError: if there is nothing to measure with.
  """
  source = sources.open_source(data.source, data.train, data.dir)
  local = placing.find_rows(mesh, batch_size)
  data, choices = pipeline.choose_for_training(
    data, source, channels, rows=len(local)
  )
  with contextlib.ExitStack() as stack:
    rival = None
    if against is not None:
      rival = stack.enter_context(contextlib.closing(Rival(data, batch_size)))
    stages = measure_stages(
      data, mesh, channels, batch_size=batch_size, images=images
    )
    speeds = measure_whole(
      data,
      mesh,
      channels,
      batch_size=batch_size,
      seconds=seconds,
      rival=rival,
    )
  own = speeds.pop("input")
  cost = parallelism.measure_cost(
    source, channels, data.shape, data.resize, data.views
  )
  return Report(
    source=data.source,
    size=data.shape,
    batch_size=batch_size,
    workers=data.count_workers(),
    threads=data.count_threads(),
    cores=count_cores(),
    stages=stages,
    images_per_second=statistics.median(own),
    speeds=own,
    kept=parallelism.is_kept(cost, len(source), pipeline.KEEP_BYTES),
    reasons=[str(choice) for choice in choices],
    others=speeds,
  )
