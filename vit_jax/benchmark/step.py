# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training step of a recipe, timed on data that lie on the device."""

import contextlib
import functools
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.benchmark.peer import make_task
from vit_jax.benchmark.report import PARTS, describe_machine
from vit_jax.benchmark.timing import Schedule, time_groups
from vit_jax.benchmark.turns import OutOfMemoryError
from vit_jax.config import ConfigError
from vit_jax.devices.detection import start_backend
from vit_jax.devices.specs import DeviceSpec, get_device_spec
from vit_jax.experiment import Experiment
from vit_jax.models import get_row
from vit_jax.runtime.compilation_cache import timed_compilation
from vit_jax.runtime.fitting import compile_lowered, take_fitting
from vit_jax.runtime.flops import (
  compute_peak_images_per_second,
  count_flops_per_image,
)
from vit_jax.runtime.out_of_memory import is_out_of_memory
from vit_jax.runtime.preflight import find_excess
from vit_jax.runtime.start import start
from vit_jax.sections import resolve
from vit_jax.sharding import put
from vit_jax.train_step import trace

# Bytes of activations a value of the residual stream, measured with unrolled
# blocks and an attention kernel in bfloat16; see `choose_batch_size`.
BYTES_A_VALUE = 45
MEMORY_SHARE = 0.4
CPU_BATCH, OTHER_BATCH, MAX_BATCH = 16, 64, 256


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
  """Turns an accelerator's out-of-memory error into one message."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    line = str(error).partition("\n")[0]
    raise OutOfMemoryError(
      f"{what} does not fit into the memory of the device: {line}\n"
      f"  take a smaller --batch"
    ) from error


def choose_batch_size(
  section: Mapping[str, Any], size: Any, spec: DeviceSpec | None
) -> int:
  """A batch that keeps an accelerator busy and fits, for a model and a size.

  A power of two, at most 256, whose activations take two fifths of the memory
  when nothing is recomputed.

  Args:
    section: the model section of a config.
    size: data.size.
    spec: of the device; None if unknown.
  """
  row = get_row(section["variant"])[1] | dict(section)
  if spec is None or not {"width", "depth", "patch_size"} <= row.keys():
    return OTHER_BATCH
  height, width = (size, size) if isinstance(size, int) else size
  patch = row["patch_size"]
  values = row["depth"] * row["width"] * (height // patch) * (width // patch)
  most = MEMORY_SHARE * spec.memory / (BYTES_A_VALUE * values)
  return min(MAX_BATCH, 2 ** int(math.log2(max(1, most))))


def fill(config: dict[str, Any], devices: Sequence[Any]) -> dict[str, Any]:
  """Adds what suits the machine where the default config leaves it open.

  That is the batch size, and float32 on a CPU, which has no arithmetic of
  bfloat16.

  Args:
    config: sections, not resolved yet.
    devices: the devices.
  """
  model, train = dict(config["model"]), dict(config["train"])
  if devices[0].platform == "cpu":
    model.setdefault("dtype", "float32")
    batch = CPU_BATCH
  else:
    size, spec = config["data"].get("size", 224), get_device_spec(devices[0])
    batch = choose_batch_size(model, size, spec)
  train.setdefault("batch_size", batch * len(devices))
  return config | dict(model=model, train=train)


def open_experiment(
  config: dict[str, Any], *, is_recipe: bool, alone: bool = False
) -> Experiment:
  """Starts jax and builds the Experiment of a config.

  Args:
    config: sections, not resolved yet.
    is_recipe: whether the user chose it; else `fill` does the rest.
    alone: uses the first device only.

  Raises:
    ConfigError: for a bad config, or one that cannot fit into memory.
  """
  start()
  start_backend(keep=True)
  devices = jax.devices()[:1] if alone else jax.devices()
  if not is_recipe:
    config = fill(config, devices)
  exp = Experiment(resolve(config), devices)
  if excess := find_excess(exp, 1):
    raise ConfigError(excess)
  return exp


def make_batch(exp: Experiment) -> dict[str, jax.Array]:
  """Makes a batch of random images and labels, on the devices."""
  rng = np.random.default_rng(0)

  def make(name, leaf):
    if leaf.dtype == jnp.uint8:  # The image, and other views of it.
      return rng.integers(0, 256, leaf.shape, np.uint8)
    if name == "label":
      return rng.integers(0, exp.info.num_classes, leaf.shape, np.int32)
    return np.ones(leaf.shape, leaf.dtype)

  return {
    name: put(make(name, leaf), leaf)
    for name, leaf in exp.abstract_batch.items()
  }


def list_choices(exp: Experiment) -> list[dict[str, Any]]:
  """Lists how a step runs: what was chosen, and why, and what was given."""
  found = [dict(key=k, value=v, reason=r) for k, v, r in exp.choices]
  values = {
    f"model.{name}": getattr(exp.model, name)
    for name in ("attention", "unroll", "remat")
    if hasattr(exp.model, name)
  } | {"train.accumulate": exp.fit.accumulate}
  chosen = {x["key"] for x in found}
  return found + [
    dict(key=key, value=value, reason=None)
    for key, value in values.items()
    if key not in chosen
  ]


def read_memory(compiled: Any) -> dict[str, int | None]:
  """Reads what the compiler says about a program's memory, in bytes."""
  said = compiled.memory_analysis()
  found = {
    "arguments": said.argument_size_in_bytes,
    "temporaries": said.temp_size_in_bytes,
    "output": said.output_size_in_bytes,
    "in_place": said.alias_size_in_bytes,
    "code": said.generated_code_size_in_bytes,
  }
  used = found["arguments"] + found["temporaries"] + found["output"]
  return found | {
    "total": used - found["in_place"],
    # Of some platforms only, and on a CPU without the temporaries.
    "peak": getattr(said, "peak_memory_in_bytes", 0) or None,
  }


def compile_step(exp: Experiment, cost: dict[str, Any]) -> jax.stages.Compiled:
  """Compiles the training step of an Experiment.

  Args:
    exp: the Experiment.
    cost: gets the seconds of each part, also where the step does not fit.

  Raises:
    OutOfMemoryError: if the compiler finds that it does not fit.
  """
  what = f"a batch of {exp.train.batch_size:,}"
  platform = exp.mesh.devices.flat[0].platform
  step = None
  with explained(what), timed_compilation() as found:
    try:
      while step is None:
        ticks = [time.perf_counter()]
        traced = trace(exp.train_step, exp.mesh, *exp.abstract_inputs)
        ticks.append(time.perf_counter())
        lowered = traced.lower()
        ticks.append(time.perf_counter())
        step = take_fitting(
          exp, functools.partial(compile_lowered, lowered, platform)
        )
      return step
    finally:
      ticks.append(time.perf_counter())
      pairs = zip(PARTS, itertools.pairwise(ticks), strict=False)
      cost |= {f"{part}_seconds": b - a for part, (a, b) in pairs}
      cost["cached"] = found.cached


class Step:
  """The compiled step of an Experiment, with its state and a batch.

  Attributes:
    exp: the Experiment.
    facts: what is timed and what it took to compile, as JSON.
    compiled: the step.
    state, batch, frozen: its arguments.
    metrics: of the last step.
  """

  def __init__(self, exp: Experiment, schedule: Schedule):
    """Compiles the step, and makes its arguments.

    Raises:
      OutOfMemoryError: if they do not fit.
    """
    self.exp, self._schedule = exp, schedule
    cost: dict[str, Any] = {}
    self.compiled = compile_step(exp, cost)
    self.facts = describe_step(exp) | {
      "compile": cost,
      "memory": read_memory(self.compiled),
    }
    with explained(f"the state of {exp.config['model']['variant']}"):
      self.state = exp.make_state()
      self.frozen = exp.load_frozen()
      self.batch = make_batch(exp)
      jax.block_until_ready((self.state, self.batch))
    self.run(1)

  def run(self, steps: int) -> None:
    """Runs steps and waits for them; the state goes round."""
    with explained(f"a batch of {self.exp.train.batch_size:,}"):
      for _ in range(steps):
        self.state, self.metrics = self.compiled(
          self.state, self.batch, *self.frozen
        )
      jax.block_until_ready((self.state, self.metrics))

  def time(self) -> list[float]:
    """Seconds a step, for each group of the schedule."""
    found = time_groups(self.run, self._schedule)
    device = self.exp.mesh.devices.flat[0]
    # None on a CPU. The most since the process began.
    stats = device.memory_stats() or {}
    self.facts["memory"]["device_peak"] = stats.get("peak_bytes_in_use")
    return found


def describe_step(exp: Experiment) -> dict[str, Any]:
  """Describes what a training step computes, and where, as JSON."""
  return {
    "model": exp.config["model"]["variant"],
    "parameters": sum(
      x.size for x in jax.tree.leaves(exp.abstract_state.params)
    ),
    "size": list(exp.data.shape),
    "classes": exp.num_classes,
    "batch_size": exp.train.batch_size,
    "dtype": exp.model.dtype,
    "optimizer": exp.optim.name,
    "machine": describe_machine(list(exp.mesh.devices.flat)),
    "mesh": dict(exp.mesh.shape),
    "choices": list_choices(exp),
    "flops_per_image": count_flops_per_image(exp),
    "peak_images_per_second": compute_peak_images_per_second(exp),
  }


def make_step(
  config: dict[str, Any], schedule: Schedule, is_recipe: bool
) -> Step:
  """Makes the step of a config on one device, for turns with timm's."""
  exp = open_experiment(config, is_recipe=is_recipe, alone=True)
  task = make_task(exp)  # Before anything is compiled: it may be refused.
  step = Step(exp, schedule)
  step.facts["task"] = task
  return step
