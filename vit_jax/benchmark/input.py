# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast the input is: what each stage costs, and which of them bounds it."""

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

# Stages that threads share; the others are one thing at a time.
THREADED = ("read", "decode", "crop", "order")


@dataclasses.dataclass(frozen=True)
class Report:
  """What was measured.

  Attributes:
    source: of the data.
    size: (H, W) of the images that come out.
    batch_size: B.
    workers: processes that read; 0 is this one.
    threads: in each of them.
    cores: that this process may use.
    stages: name -> seconds an image, of one thread that does nothing else.
    images_per_second: of the whole input, as training has it.
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
    """How many images can be worked on at once."""
    return min(self.cores, self.threads * max(1, self.workers))

  @property
  def limits(self) -> dict[str, float]:
    """What could not be faster, with its images per second."""
    shared = sum(self.stages[name] for name in THREADED)
    alone = {k: 1 / x for k, x in self.stages.items() if k not in THREADED}
    return {"threads": self.parallel / shared} | alone

  @property
  def bound(self) -> str:
    """What bounds the input: a stage."""
    limits = self.limits
    slowest = min(limits, key=limits.get)
    if slowest != "threads":
      return slowest
    return max(THREADED, key=self.stages.get)

  def to_json(self) -> dict[str, Any]:
    """For programs."""
    derived = {"limits": self.limits, "bound": self.bound}
    return dataclasses.asdict(self) | derived

  def __str__(self) -> str:
    height, width = self.size
    what = f"{self.threads} threads"
    if self.workers:
      what = f"{self.workers} workers of {what}"
    lines = [
      f"{self.source} at {height} x {width} px, batches of "
      f"{self.batch_size:,}, {what}, {self.cores} cores",
      "",
      "stage      ms an image   at most images/s",
    ]
    shared = sum(self.stages[name] for name in THREADED)
    limits = self.limits
    for name in THREADED:
      lines.append(f"{name:10} {1e3 * self.stages[name]:11.3f}")
    rows = {"together": (shared, limits["threads"])}
    for name, seconds in self.stages.items():
      if name not in THREADED:
        rows[name] = seconds, limits[name]
    lines += [
      f"{name:10} {1e3 * seconds:11.3f}   {limit:16,.0f}"
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
  """Seconds a call, after a first one, and what the calls gave."""
  function(inputs[0])
  began = time.perf_counter()
  results = [function(x) for x in inputs]
  return (time.perf_counter() - began) / len(inputs), results


def decode(data: bytes, channels: int) -> np.ndarray | None:
  """uint8 [H W c], or None if it can not be read."""
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
  """Seconds an image that one thread spends in each stage.

  Args:
    data: the config's section.
    mesh: where batches go.
    channels: c.
    batch_size: B.
    images: to measure with, drawn from all of the split.
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
    raise DataError(f"none of {images} images of {data.source} can be read")
  stages["crop"], cropped = time_each(lambda x: transform(x, rng), decoded)
  # What Grain takes for which example comes when, and a generator for each.
  ordered = pipeline.make_train_examples(data, channels, source, seed=0)
  whole, _ = time_each(ordered.__getitem__, range(images))
  stages["order"] = max(0.0, whole - sum(stages.values()))
  # Of one batch, whose images come again and again.
  rows = pipeline.get_rows(mesh, batch_size)
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
  """Images per second of the whole input, when nobody keeps it waiting."""
  batches = pipeline.make_train_batches(
    data, mesh, channels, batch_size=batch_size, seed=0, start_step=0
  )
  for _ in range(1 + pipeline.AHEAD):  # What was begun before the clock.
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
  """Measures the input of a config; arguments as of the two parts."""
  stages = measure_stages(
    data, mesh, channels, batch_size=batch_size, images=images
  )
  return Report(
    source=data.source,
    size=data.shape,
    batch_size=batch_size,
    workers=data.workers,
    threads=data.get_threads(),
    cores=pipeline.get_cores(),
    stages=stages,
    images_per_second=measure_whole(
      data, mesh, channels, batch_size=batch_size, seconds=seconds
    ),
  )
