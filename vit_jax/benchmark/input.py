# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of the input pipeline and of its stages, one of which bounds it."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from vit_jax.data import pipeline, sources, transforms
from vit_jax.data.examples import TrainTransform, make_example, pad_labels
from vit_jax.data.info import DataError

# Stages that run in all threads; the others run one at a time.
THREADED = ("read", "decode", "crop", "order")


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
    images_per_second: speed of the whole input pipeline.
  """

  source: str
  size: tuple[int, int]
  batch_size: int
  workers: int
  threads: int
  cores: int
  stages: dict[str, float]
  images_per_second: float

  @property
  def parallel(self) -> int:
    """The number of images that are processed at the same time."""
    return min(self.cores, self.threads * max(1, self.workers))

  @property
  def limits(self) -> dict[str, float]:
    """Limit -> its images per second: the threads, and each other stage."""
    shared = sum(self.stages[name] for name in THREADED)
    alone = {k: 1 / x for k, x in self.stages.items() if k not in THREADED}
    return {"threads": self.parallel / shared} | alone

  @property
  def bound(self) -> str:
    """The stage that bounds the speed of the input pipeline."""
    limits = self.limits
    slowest = min(limits, key=limits.get)
    if slowest != "threads":
      return slowest
    return max(THREADED, key=self.stages.get)

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
      "",
      "stage        ms per image   at most images/s",
    ]
    shared = sum(self.stages[name] for name in THREADED)
    limits = self.limits
    for name in THREADED:
      lines.append(f"{name:12} {1e3 * self.stages[name]:12.3f}")
    rows = {"all of these": (shared, limits["threads"])}
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
      f"images/s",
      f"bound by: {self.bound}",
    ]
    return "\n".join(lines)


def time_each(
  function: Callable[[Any], Any], inputs: Sequence[Any]
) -> tuple[float, list[Any]]:
  """Seconds per call after a first one, and the results of the calls."""
  function(inputs[0])
  began = time.perf_counter()
  results = [function(x) for x in inputs]
  return (time.perf_counter() - began) / len(inputs), results


def decode(data: bytes, channels: int) -> np.ndarray | None:
  """Decodes an image to uint8 [H W c]; None if it cannot be decoded."""
  try:
    return transforms.decode(data, channels)
  except ValueError:
    return None


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
  rng = np.random.default_rng(0)
  indices = rng.integers(0, len(source), images).tolist()
  transform = TrainTransform(data.shape, data.crop, data.crop_area)
  stages = {}
  stages["read"], examples = time_each(source.__getitem__, indices)
  stages["decode"], decoded = time_each(
    lambda x: decode(x["image"], channels), examples
  )
  label = pad_labels(0, data.label_slots)
  decoded = [
    make_example(image, label, True) for image in decoded if image is not None
  ]
  if not decoded:
    raise DataError(
      f"{data.source}: none of {images} images can be decoded; check the source"
    )
  stages["crop"], cropped = time_each(lambda x: transform(x, rng), decoded)
  # Grain's own cost: the order of the examples, and a generator for each.
  ordered = pipeline.make_train_examples(data, channels, source, seed=0)
  whole, _ = time_each(ordered.__getitem__, range(images))
  stages["order"] = max(0.0, whole - sum(stages.values()))
  # One batch, which repeats the images that were cropped.
  rows = pipeline.find_rows(mesh, batch_size)
  some = [cropped[row % len(cropped)] for row in rows]
  stack = pipeline.stack
  seconds, (batch, *_) = time_each(stack, [some] * 3)
  stages["batch"] = seconds / len(rows)
  seconds, _ = time_each(
    lambda x: jax.block_until_ready(pipeline.place(x, mesh, batch_size)),
    [{"image": batch["image"]}] * 3,
  )
  stages["transfer"] = seconds / len(rows)
  return stages


def measure_whole(
  data: pipeline.Data,
  mesh: Mesh,
  channels: int,
  *,
  batch_size: int,
  seconds: float,
) -> float:
  """Measures the images per second of the whole input pipeline."""
  batches = pipeline.make_train_batches(
    data, mesh, channels, batch_size=batch_size, seed=0, start_step=0
  )
  for _ in range(1 + pipeline.AHEAD):  # Those that were begun ahead.
    jax.block_until_ready(next(batches))
  began, count = time.perf_counter(), 0
  while (passed := time.perf_counter() - began) < seconds or count < 2:
    jax.block_until_ready(next(batches))
    count += 1
  return count * batch_size / passed


def measure(
  data: pipeline.Data,
  mesh: Mesh,
  channels: int,
  *,
  batch_size: int,
  images: int = 200,
  seconds: float = 10.0,
) -> Report:
  """Measures the input pipeline of a config.

  Args:
    data, mesh, channels, batch_size, images: as of `measure_stages`.
    seconds: time that the whole pipeline is measured for.
  """
  stages = measure_stages(
    data, mesh, channels, batch_size=batch_size, images=images
  )
  return Report(
    source=data.source,
    size=data.shape,
    batch_size=batch_size,
    workers=data.workers,
    threads=data.count_threads(),
    cores=pipeline.count_cores(),
    stages=stages,
    images_per_second=measure_whole(
      data, mesh, channels, batch_size=batch_size, seconds=seconds
    ),
  )
