# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What runs will take, estimated before any begins."""

import concurrent.futures.process
import dataclasses
import math
import multiprocessing
import sys
import time
from collections.abc import Sequence
from typing import Any

from vit_jax.config import ConfigError, RunError
from vit_jax.config.errors import counted
from vit_jax.config.frozen import FrozenDict
from vit_jax.data.workers import follow_parent, quiet_tracker, shielding
from vit_jax.metrics.progress import format_duration

# Of the peak of an accelerator, or of a product of matrices on a CPU, that a
# training step reaches; and the seconds of a process beside its steps.
SHARE = {"cpu": 0.25, "gpu": 0.35, "tpu": 0.4}
OVERHEAD = {"cpu": 20.0, "gpu": 60.0, "tpu": 90.0}

ASK_FROM = 3600.0  # Seconds.


def measure_flops() -> float:
  """Measures FLOPs a second of float32 products on this machine's CPU."""
  import jax.numpy as jnp

  side = 768
  x = jnp.ones((side, side), jnp.float32)
  (x @ x).block_until_ready()
  rounds, start = 0, time.perf_counter()
  while (seconds := time.perf_counter() - start) < 0.3:
    (x @ x).block_until_ready()
    rounds += 1
  return 2 * side**3 * rounds / seconds


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a run takes.

  Attributes:
    flops: of its training steps.
    seconds: on the devices of this machine, as estimated.
    parameters: of what is trained.
    images: in an epoch.
  """

  flops: float
  seconds: float
  parameters: int
  images: int


def estimate(
  configs: Sequence[FrozenDict], allow_cpu: bool = True
) -> list[Cost]:
  """Estimates the costs of runs, from the FLOPs of steps and evaluations.

  Nothing is compiled. Waiting for data counts for nothing. Devices other than
  CPUs are asked for in a process of its own, as who has asked holds them, and
  the runs need them.

  Args:
    configs: resolved configs.
    allow_cpu: whether a CPU may train them.

  Raises:
    ConfigError: if the keys of a config do not fit together, or there is only
      a CPU.
    RunError: if that process is killed.
  """
  import jax

  text = f"estimating the time of {counted(len(configs), 'setting')} ..."
  print(text, file=sys.stderr, flush=True)
  options: Any = jax.config
  if options.jax_platforms == "cpu":
    return estimate_here(configs, allow_cpu)
  quiet_tracker()
  spawn = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(
    1, mp_context=spawn, initializer=follow_parent
  ) as pool:
    try:
      with shielding():
        found = pool.submit(estimate_here, configs, allow_cpu)
      return found.result()
    except concurrent.futures.process.BrokenProcessPool:
      raise RunError(
        "the process that estimates what the study takes was killed, as is "
        "done where memory runs out: end what else runs here"
      ) from None


def estimate_here(configs: Sequence[FrozenDict], allow_cpu: bool) -> list[Cost]:
  """Estimates, as `estimate`, in this process."""
  import jax

  from vit_jax.devices.specs import get_device_spec
  from vit_jax.experiment import Experiment
  from vit_jax.runtime.flops import count_flops_per_image
  from vit_jax.runtime.preflight import check_platform

  check_platform(allow_cpu)
  device = jax.devices()[0]
  spec = get_device_spec(device)
  kind = device.platform if device.platform in SHARE else "gpu"
  if spec is None:
    speed = measure_flops() * SHARE["cpu"]
  else:
    speed = spec.peak_flops * SHARE[kind] * jax.device_count()
  found, known = [], {}
  for config in configs:
    exp = Experiment(without_fitting(config))
    # Few of many configs differ in what decides this.
    model = {x: config[x] for x in ("model", "objective", "mesh")}
    key = repr((model, exp.image_shape, exp.num_classes, exp.optim.multipliers))
    if key not in known:
      known[key] = count_flops_per_image(exp)
    flops = known[key] * exp.train.batch_size * exp.steps
    looked = known[key] / 3 * count_evaluated(exp)
    parameters = sum(x.size for x in jax.tree.leaves(exp.abstract_state.params))
    seconds = (flops + looked) / speed + OVERHEAD[kind]
    images = exp.info.count(config["data"]["train"])
    found.append(Cost(flops, seconds, parameters, images))
  return found


def without_fitting(config: FrozenDict) -> FrozenDict:
  """Gives how a step fits into memory, as to find it out traces the model."""
  given: dict[str, dict[str, Any]] = {
    "train": {"accumulate": 1},
    "model": {"remat": "none"},
  }
  auto = {
    name: FrozenDict({**config[name], **keys})
    for name, keys in given.items()
    if all(config[name].get(key) == "auto" for key in keys)
  }
  return FrozenDict({**config, **auto})


def count_evaluated(exp: Any) -> int:
  """Counts the images that the evaluations of a run look at, all together."""
  total = 0
  for section in exp.config["evals"].values():
    splits = {section["split"], section.get("train_split", section["split"])}
    times = math.ceil(exp.steps / section["every"]) if section["every"] else 1
    total += times * sum(map(exp.info.count, splits))
  return total


def confirm(seconds: float, count: int, yes: bool) -> None:
  """Says what a study will take, and asks if that is long.

  Args:
    seconds: of all runs together, as estimated.
    count: number of runs.
    yes: whether the user has agreed already.

  Raises:
    ConfigError: if it is long and nobody agrees.
  """
  about = format_duration(seconds)
  text = f"{counted(count, 'run')}, about {about} on this machine alone"
  print(text, file=sys.stderr, flush=True)
  if seconds <= ASK_FROM or yes:
    return
  if sys.stdin is None or not sys.stdin.isatty():
    raise ConfigError(f"{text}: add --yes to begin")
  # Not by `input`, whose question goes where the table does, maybe to a file.
  print("begin? [y/N] ", end="", file=sys.stderr, flush=True)
  if sys.stdin.readline().strip().lower() not in ("y", "yes"):
    raise ConfigError("nothing was begun")
