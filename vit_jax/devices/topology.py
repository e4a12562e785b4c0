# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Descriptions of TPUs, from libtpu's compiler and Google's data sheets."""

import math
import os
import re
import signal
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from vit_jax.config import ConfigError, nearest
from vit_jax.devices.detection import WITHOUT_TPU
from vit_jax.devices.specs import GIB, get_device_spec

MAX_CHIPS = 1 << 16  # More than any cluster; libtpu would take all memory.


class Generation(NamedTuple):
  """The limits of a kind of chip, beside its FLOP/s.

  Attributes:
    shape: shape of a slice, as an example.
    memory: bytes that the compiler lets a program use.
    bandwidth: bytes/s from and to main memory.
    links: bytes/s into a chip over all its links to others of its slice.
    network: bytes/s into a chip from other slices.
    clock: Hz.
    cores: number of TensorCores of a chip.
    options: options of libtpu's description of a topology.
  """

  shape: str
  memory: float
  bandwidth: float
  links: float
  network: float
  clock: float
  cores: int
  options: Mapping[str, Any] = {}


# From Google's documents of each generation. The memory is what libtpu 0.0.51
# names when it runs out; the clock is the peak FLOP/s over the FLOPs per cycle
# of the matrix units (four of 128 x 128 per core, of v6e 256 x 256).
GENERATIONS = {
  "v4": Generation(
    shape="4x4x4",
    memory=30.75 * GIB,
    bandwidth=1.228e12,
    links=300e9,
    network=6.25e9,
    clock=1.05e9,
    cores=2,
    options={"chip_config_name": "megacore"},
  ),
  "v5e": Generation(
    shape="16x16",
    memory=15.75 * GIB,
    bandwidth=819e9,
    links=200e9,
    network=3.125e9,
    clock=1.5e9,
    cores=1,
  ),
  "v5p": Generation(
    shape="4x4x4",
    memory=95.73 * GIB,
    bandwidth=2.765e12,
    links=600e9,
    network=6.25e9,
    clock=1.75e9,
    cores=2,
  ),
  "v6e": Generation(
    shape="16x16",
    memory=31.24 * GIB,
    bandwidth=1.64e12,
    links=448e9,
    network=12.5e9,
    clock=1.75e9,
    cores=1,
  ),
}


class Topology(NamedTuple):
  """Slices of TPUs.

  Attributes:
    name: kind and shape of a slice, as "v5e:16x16".
    slices: number of slices.
    devices: descriptions of all chips.
    generation: limits of a chip.
    peak_flops: bfloat16 FLOP/s of a chip.
  """

  name: str
  slices: int
  devices: list[jax.Device]
  generation: Generation
  peak_flops: float


def make_topology(name: str, slices: int = 1) -> Topology:
  """Makes descriptions of TPUs; jax itself stays on the CPU.

  In the main thread, as it puts back what handles SIGTERM.

  Args:
    name: GENERATION:SHAPE of a slice, as "v5e:16x16" or "v5p:4x4x8".
    slices: number of slices, joined by the data-centre network.

  Raises:
    ConfigError: for an unknown name, or if libtpu is not installed.
  """
  found = re.fullmatch(r"(\w+):(\d{1,6}(?:x\d{1,6})+)", name)
  kind = found[1] if found else name.partition(":")[0]
  if kind not in GENERATIONS:
    raise ConfigError(
      f"--topology={name}: unknown kind of TPU; {nearest(kind, GENERATIONS)}"
    )
  generation = GENERATIONS[kind]
  if found is None:
    raise ConfigError(
      f"--topology={name} has no shape: set it as --topology={kind}:"
      f"{generation.shape}"
    )
  if slices < 1:
    raise ConfigError(f"--slices={slices} must be at least 1")
  sides = [float(side) for side in found[2].split("x")]
  dimensions = generation.shape.count("x") + 1
  if len(sides) != dimensions:  # libtpu would plan for what nobody can have.
    raise ConfigError(
      f"--topology={name}: slices of {kind} have {dimensions} dimensions, as "
      f"{kind}:{generation.shape}"
    )
  if not 1 <= math.prod(sides) * slices <= MAX_CHIPS:
    raise ConfigError(
      f"--topology={name} with --slices={slices} must have 1 to {MAX_CHIPS:,} "
      f"chips"
    )
  jax.config.update("jax_platforms", "cpu")
  os.environ.update(WITHOUT_TPU)
  options = dict(generation.options)
  if slices > 1:
    options["num_slices"] = slices
  handler = signal.getsignal(signal.SIGTERM)
  try:
    devices = topologies.get_topology_desc(
      platform="tpu", topology_name=name, **options
    ).devices
  except ModuleNotFoundError:
    raise ConfigError(
      "libtpu, the compiler for TPUs, is not installed: pip install "
      "'vit_jax[plan]'; it needs no TPU"
    ) from None
  except (jax.errors.JaxRuntimeError, RuntimeError) as error:
    raise ConfigError(f"--topology={name}: {error}") from error
  # libtpu has installed one of its own, behind Python's back, which prints a
  # trace.
  signal.signal(signal.SIGTERM, handler)
  return Topology(
    name, slices, devices, generation, get_device_spec(devices[0]).peak_flops
  )
