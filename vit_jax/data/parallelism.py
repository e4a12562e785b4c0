# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The number of processes and threads that read, where a config has "auto".

They change no batch. Threads of one process take turns at Python's lock, of
which an image takes a tenth of a millisecond; so many cores need processes,
which take seconds to start and hand their batches over in shared memory.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from vit_jax.config import Choice
from vit_jax.data import transforms
from vit_jax.data.resize import Resize, resize
from vit_jax.data.views import ONE, Views
from vit_jax.devices import machine as machines
from vit_jax.devices.machine import Machine

Data = TypeVar("Data", bound=Any)

SAMPLES = 8  # Images that are read to measure their cost,
SAMPLING = 0.2  # in no more seconds than this, after the first.

# From so many cores on, processes are faster than threads.
MIN_CORES = 4
# Seconds that a thread holds Python's lock for an image.
LOCK = 1e-4
# They take two to six seconds to start, longer than it takes to read less.
MIN_SECONDS = 30.0

# What a process takes, beside its batches: measured, most of it is libraries.
PROCESS_BYTES = 400 << 20
# A process has batches that it works on, that wait, and that are handed over.
PROCESS_BATCHES, SHARED_BATCHES = 5, 2
SHARE = 0.5  # of the free memory, and of the shared memory, are used at most.

# With less work than this on an image, more threads only wait for each other.
MIN_WORK = 50e-6
MEMORY_THREADS = 4  # And for more than these the lock is too busy.


class Cost(NamedTuple):
  """What an image of a source costs.

  Attributes:
    read: seconds to read and decode it.
    resize: seconds to resize it, to all its views.
    bytes: its size, decoded.
  """

  read: float
  resize: float
  bytes: float


def measure_cost(
  source: Sequence[Any],
  channels: int,
  size: tuple[int, int],
  method: Resize,
  views: Views = ONE,
) -> Cost | None:
  """Measures what an image costs; None if none of the first is readable.

  Args:
    source: encoded examples.
    channels: channels of the images (c).
    size: (H, W) that they are resized to.
    method: how.
    views: those that are made of it.
  """
  values = views.count_values(size, channels)
  many = values / ONE.count_values(size, channels)
  costs: list[Cost] = []
  clock, end = time.perf_counter, None
  for number in range(SAMPLES + 1):
    index = number * (len(source) - 1) // SAMPLES
    began = clock()
    example = source[index]
    try:
      image = transforms.decode(example["image"], channels)
    except ValueError:
      continue
    decoded = clock()
    resize(image, size, method)
    now = clock()
    costs.append(Cost(decoded - began, many * (now - decoded), image.nbytes))
    # The first one opens files and imports what is needed.
    end = end or now + SAMPLING
    if now > end:
      break
  if not costs:
    return None
  reading, resizing, sizes = zip(*(costs[1:] or costs), strict=True)
  return Cost(
    statistics.median(reading),
    statistics.median(resizing),
    statistics.mean(sizes),
  )


def choose_parallelism(
  data: Data,
  source: Sequence[Any],
  channels: int,
  *,
  rows: int,
  images: int | None = None,
  kept: int = 0,
  processes: int = 1,
  machine: Machine | None = None,
) -> tuple[Data, list[Choice]]:
  """Chooses data.workers and data.threads, where they are "auto".

  Args:
    data: the data section.
    source: encoded examples.
    channels: channels of the images (c).
    rows: number of a batch's rows that this process reads.
    images: number of images that it will read; None if that is unknown.
    kept: bytes that all images may take to be kept decoded; 0 if they are not.
    processes: number of processes of the run on this machine.
    machine: what there is; None looks.

  Returns:
    The section with numbers, and what was chosen.
  """
  if "auto" not in (data.workers, data.threads):
    return data, []
  machine = machine or machines.inspect(processes)
  cost = measure_cost(source, channels, data.shape, data.resize, data.views)
  choices = []
  if data.workers == "auto":
    value, reason = choose_workers(
      machine,
      cost,
      size=len(source),
      batch=rows * data.views.count_values(data.shape, channels),
      threads=1 if data.threads == "auto" else data.threads,
      images=images,
      kept=kept,
    )
    choices.append(Choice("data.workers", value, reason))
    data = dataclasses.replace(data, workers=value)
  if data.threads == "auto":
    value, reason = choose_threads(
      machine, cost, data.workers, size=len(source), rows=rows, kept=kept
    )
    choices.append(Choice("data.threads", value, reason))
    data = dataclasses.replace(data, threads=value)
  return data, choices


def is_kept(cost: Cost | None, size: int, kept: int) -> bool:
  """Whether all images of a source fit where they are kept decoded."""
  return cost is not None and cost.bytes * size <= kept


def choose_workers(
  machine: Machine,
  cost: Cost | None,
  *,
  size: int,
  batch: int,
  threads: int,
  images: int | None,
  kept: int,
) -> tuple[int, str]:
  """Chooses the number of processes.

  Args:
    machine: what there is.
    cost: what an image costs.
    size: number of examples.
    batch: bytes of a batch of this process.
    threads: number of threads that each has.
    images, kept: as of `choose_parallelism`.

  Returns:
    The number, and why.
  """
  cores = machine.cores
  if cost is not None and is_kept(cost, size, kept):
    return 0, (
      f"all {size:,} images stay decoded in memory, "
      f"{cost.bytes * size / 2**20:,.1f} MiB"
    )
  if cores < MIN_CORES:
    return 0, f"threads of one process keep up with {machine}"
  if cost is not None and images is not None:
    seconds = images * max((cost.read + cost.resize) / cores, LOCK)
    if seconds < MIN_SECONDS:
      return 0, (
        f"{images:,} images are read in {seconds:,.1f} s by threads; processes "
        f"take seconds to start"
      )
  most, reason = max(1, cores // threads), str(machine)
  for free, each, name in (
    (machine.memory, PROCESS_BYTES + PROCESS_BATCHES * batch, "memory"),
    (machine.shared, SHARED_BATCHES * batch, f"{machines.SHARED}"),
  ):
    if free is not None and SHARE * free // each < most:
      most = int(SHARE * free // each)
      reason = (
        f"{free / 2**30:,.1f} GiB free in {name}, of which each process takes "
        f"{each / 2**30:,.2f} GiB, are for no more; {machine}"
      )
  # One alone would not be faster than threads.
  return (most if most > 1 else 0), reason


def choose_threads(
  machine: Machine,
  cost: Cost | None,
  workers: int,
  *,
  size: int,
  rows: int,
  kept: int,
) -> tuple[int, str]:
  """Chooses the number of threads of each process; arguments as above."""
  if not workers and cost is not None and is_kept(cost, size, kept):
    if cost.resize < MIN_WORK:
      return 1, (
        f"resizing an image takes {1e6 * cost.resize:,.0f} us: more threads "
        f"would wait for one another"
      )
    number = min(machine.cores, rows, MEMORY_THREADS)
    return max(1, number), f"images are only resized; {machine}"
  number = max(1, machine.cores // max(1, workers))
  if rows < number:
    return max(1, rows), f"a batch has {rows} rows here"
  if workers:
    return number, f"{machine} for {workers} processes"
  return number, f"one for each of {machine}"
