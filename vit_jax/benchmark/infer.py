# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of inference: images a second by batch size, and latency."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vit_jax
from vit_jax import models
from vit_jax.benchmark.flags import DTYPES
from vit_jax.benchmark.report import (
  describe_machine,
  describe_schedule,
  format_machine,
  format_table,
)
from vit_jax.benchmark.step import explained
from vit_jax.benchmark.timing import (
  Schedule,
  Spread,
  make_spread,
  time_groups,
)
from vit_jax.config import ConfigError, raise_all
from vit_jax.convert.load import Model
from vit_jax.devices.auto import choose_attention, find_device_errors
from vit_jax.devices.fitting import format_bytes
from vit_jax.devices.machine import find_memory_limit
from vit_jax.devices.specs import get_device_spec
from vit_jax.models.flops import count_flops

BATCHES = (1, 8, 32, 128)
# Latency is measured with so many calls, or as many as these seconds bear.
CALLS, LATENCY_SECONDS = 200, 10.0


@dataclasses.dataclass(frozen=True)
class Speed:
  """The speed of a model in one dtype.

  Attributes:
    dtype: of its activations.
    seconds: batch size -> seconds a batch that lies on the device.
    latency: seconds of each call with one image, from an array of the host to
      logits on the host.
    compile_seconds: batch size -> seconds of the first call.
  """

  dtype: str
  seconds: dict[int, Spread]
  latency: Spread
  compile_seconds: dict[int, float]

  @property
  def p99(self) -> float:
    """The latency that 99 % of the calls do not exceed."""
    return float(np.percentile(self.latency.values, 99))

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON."""
    return {
      "dtype": self.dtype,
      "batches": {
        str(batch): {
          "seconds": spread.to_json(),
          "images_per_second": spread.invert(batch).to_json(),
          "first_call_seconds": self.compile_seconds[batch],
        }
        for batch, spread in self.seconds.items()
      },
      "latency": self.latency.to_json() | {"p99": self.p99},
    }


@dataclasses.dataclass(frozen=True)
class Report:
  """The speed of a model on this machine.

  Attributes:
    model: its name.
    parameters: number of its parameters.
    size: (H, W) of the images.
    flops: of one image.
    peak_flops: bfloat16 FLOP/s of a device; None if unknown.
    machine: of `describe_machine`.
    schedule: how often each batch was timed.
    speeds: by dtype.
  """

  model: str
  parameters: int
  size: tuple[int, int]
  flops: int
  peak_flops: float | None
  machine: dict[str, Any]
  schedule: Schedule
  speeds: Sequence[Speed]

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON."""
    fields = {x.name: getattr(self, x.name) for x in dataclasses.fields(self)}
    return fields | {
      "schedule": dataclasses.asdict(self.schedule),
      "speeds": [x.to_json() for x in self.speeds],
    }

  def __str__(self) -> str:
    header = ["dtype", "batch", "ms", "range", "images/s", "range", "MFU"]
    rows, latencies = [], []
    for speed in self.speeds:
      for batch, seconds in speed.seconds.items():
        found = seconds.invert(batch)
        mfu = "-"
        if self.peak_flops is not None:
          mfu = f"{found.median * self.flops / self.peak_flops:.1%}"
        form = ",.1f" if found.median < 100 else ",.0f"
        cells = [*seconds.times(1e3).format(",.2f"), *found.format(form), mfu]
        rows.append([speed.dtype, f"{batch:,}", *cells])
      latency = speed.latency.times(1e3)
      latencies.append(
        f"one image in {speed.dtype}, from the host and back: median "
        f"{latency.median:,.2f} ms, 99th percentile {1e3 * speed.p99:,.2f} ms "
        f"of {len(latency.values)} calls"
      )
    height, width = self.size
    return "\n".join(
      [
        f"inference with {self.model}: {self.parameters:,} parameters, "
        f"{height} x {width} px",
        format_machine(self.machine),
        describe_schedule(self.schedule, "batches"),
        "",
        *format_table(header, rows, "<>"),
        "",
        *latencies,
      ]
    )


def make_named_model(
  section: dict[str, Any], size: tuple[int, int], dtype: str
) -> Model:
  """Makes a model with random weights, as `vit_jax.load` gives one.

  Args:
    section: the model section of a config.
    size: (H, W).
    dtype: of its activations.

  Raises:
    ConfigError: if the model does not suit the size or this device.
  """
  height, width = size
  module = models.make_model(1000, **{**section, "dtype": dtype})
  raise_all(module.find_errors(height, width))
  device = jax.devices()[0]
  module, _ = choose_attention(module, device, height, width)
  raise_all(find_device_errors(module, device))
  shape = (1, height, width, 3)
  init = jax.jit(lambda: module.init(jax.random.key(0), jnp.zeros(shape)))
  manifest = {
    "class_names": [],
    "preprocess": {"height": height, "width": width, "channels": 3},
  }
  return Model(module=module, params=init()["params"], manifest=manifest)


def measure(
  section: dict[str, Any],
  size: tuple[int, int],
  schedule: Schedule,
  say: Callable[[str], None],
  *,
  weights: str | None = None,
  dtypes: Sequence[str] = DTYPES,
  batches: Sequence[int] = BATCHES,
) -> Report:
  """Measures a model in some dtypes and batch sizes.

  Args:
    section: the model section of a config, unless there are weights.
    size: (H, W) of the images, likewise.
    schedule: how often each batch is timed.
    say: gets lines of progress.
    weights: what `vit_jax.load` reads, or None for random weights.
    dtypes: of activations.
    batches: batch sizes.
  """
  speeds = []
  if weights is None:
    check_batch(max(batches), size)  # Before a model is made.
  for dtype in dtypes:
    if weights is None:
      name, model = section["variant"], make_named_model(section, size, dtype)
    else:
      name = weights
      model, preprocess = vit_jax.load(weights, dtype=dtype)
      size = preprocess.size
    channels = model.manifest["preprocess"]["channels"]
    speeds.append(
      measure_model(model, size, schedule, say, batches, dtype, channels)
    )
  image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
  plain = model.module
  if hasattr(plain, "attention"):  # Kernels hide their products.
    plain = plain.clone(attention="xla")
  spec = get_device_spec(jax.devices()[0])
  return Report(
    model=name,
    parameters=sum(x.size for x in jax.tree.leaves(model.params)),
    size=size,
    flops=count_flops(plain.apply, {"params": model.params}, image),
    peak_flops=None if spec is None else spec.peak_flops,
    machine=describe_machine(jax.devices()[:1]),
    schedule=schedule,
    speeds=speeds,
  )


def check_batch(batch: int, size: tuple[int, int], channels: int = 3) -> None:
  """Refuses a batch that this host cannot make.

  Raises:
    ConfigError: what it takes and what there is.
  """
  # NumPy draws 8 bytes a value, of which it makes 4.
  taken = 12 * batch * math.prod(size) * channels
  limit = find_memory_limit(pathlib.Path("/"))
  if limit is not None and taken > limit:
    raise ConfigError(
      f"a batch of {batch:,} images of {size[0]} x {size[1]} px takes "
      f"{format_bytes(taken)} of this host's {format_bytes(limit)}: take a "
      f"smaller --batches or --size"
    )


def measure_model(
  model: Callable[[Any], Any],
  size: tuple[int, int],
  schedule: Schedule,
  say: Callable[[str], None],
  batches: Sequence[int],
  dtype: str,
  channels: int = 3,
) -> Speed:
  """Measures a function images float32 [B H W c] -> logits.

  Args:
    model: the function.
    size: (H, W).
    schedule: how often each batch is timed.
    say: gets lines of progress.
    batches: batch sizes.
    dtype: what the model computes in, for the report.
    channels: c.
  """
  check_batch(max(batches), size, channels)
  rng = np.random.default_rng(0)
  seconds, firsts = {}, {}
  for batch in batches:
    say(f"{dtype}, batch {batch}")
    shape = (batch, *size, channels)
    images = jax.device_put(rng.uniform(-1, 1, shape).astype(np.float32))

    def run(count, images=images):
      for _ in range(count):
        logits = model(images)
      jax.block_until_ready(logits)

    with explained(f"a batch of {batch:,}"):
      began = time.perf_counter()
      run(1)
      firsts[batch] = time.perf_counter() - began
      seconds[batch] = make_spread(time_groups(run, schedule))
  image = rng.uniform(-1, 1, (1, *size, channels)).astype(np.float32)
  np.asarray(model(image))
  latency: list[float] = []
  while len(latency) < CALLS and sum(latency) < LATENCY_SECONDS:
    began = time.perf_counter()
    np.asarray(model(image))
    latency.append(time.perf_counter() - began)
  return Speed(dtype, seconds, make_spread(latency), firsts)
