# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The very step that training runs, compiled for TPUs that are not there."""

import dataclasses
import re
import time
from typing import Any

import jax

from vit_jax.chips import GIB
from vit_jax.config import ConfigError
from vit_jax.experiment import Experiment
from vit_jax.flops import count_jaxpr
from vit_jax.plan.paper import Cost, get_cost
from vit_jax.plan.program import Program, read_program
from vit_jax.plan.topology import Topology
from vit_jax.sharding import count_bytes

UNITS = {"K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
HOUR, DAY = 3600, 86_400


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of a chip's main memory, by kind.

  Attributes:
    parameters: as float32.
    optimizer: what it keeps.
    average: of the parameters, or 0.
    teacher: of a distilled run, or 0.
    batch: of images and labels, and what tiles of all these pad.
    activations: and gradients: all that lives within a step. None if the
      compiler does not say how much it wanted.
    program: the compiled code.
    available: what a program may use.
  """

  parameters: int
  optimizer: int
  average: int
  teacher: int
  batch: int
  activations: int | None
  program: int
  available: int

  @property
  def arguments(self) -> int:
    """What a step is given."""
    state = self.parameters + self.optimizer + self.average
    return state + self.teacher + self.batch

  @property
  def total(self) -> int | None:
    """All that is used."""
    if self.activations is None:
      return None
    return self.arguments + self.activations + self.program

  @property
  def head_room(self) -> int | None:
    """What is left; negative if it does not fit."""
    return None if self.total is None else self.available - self.total


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What a step takes at least, each in seconds, were all else hidden behind.

  Attributes:
    products: FLOPs, recomputation among them, at the peak of bfloat16.
    fusions: the cycles that the compiler estimates, at the chip's clock; an
      estimate, where the others are counts.
    memory: bytes from and to main memory at its bandwidth.
    links: bytes from chips of the same slice at the rate of all links.
    network: bytes from other slices at the rate of the network.
  """

  products: float
  fusions: float
  memory: float
  links: float
  network: float

  @property
  def bound_by(self) -> str:
    """The name of the largest."""
    return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]

  @property
  def step(self) -> float:
    """The largest."""
    return getattr(self, self.bound_by)


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a run needs on some TPUs.

  Attributes:
    model, parameters: of the config.
    topology, slices, kind, chips: the TPUs.
    mesh: axis -> size.
    batch_size, accumulate, remat, steps: of the config.
    compile_seconds: here, on this machine's CPU.
    memory: a chip.
    model_flops: of a step on all chips, without recomputation.
    program_flops: with it.
    program: a step of a chip; None if it does not fit.
    bounds: the same.
    peak_flops: of a chip.
    cores: of a chip.
    paper: what the authors paid for this pre-training, if they say.
  """

  model: str
  parameters: int
  topology: str
  slices: int
  kind: str
  chips: int
  mesh: dict[str, int]
  batch_size: int
  accumulate: int
  remat: str | None
  steps: int
  compile_seconds: float
  memory: Memory
  model_flops: int
  program_flops: int
  program: Program | None
  bounds: Bounds | None
  peak_flops: float
  cores: int
  paper: Cost | None

  @property
  def fits(self) -> bool:
    """Whether the compiler found room for it."""
    return self.program is not None

  @property
  def mfu(self) -> float:
    """At most: model FLOPs over what the chips could do in a step's time."""
    peak = self.chips * self.peak_flops * self.bounds.step
    return self.model_flops / peak

  @property
  def images_per_second(self) -> float:
    """At most, on all chips."""
    return self.batch_size / self.bounds.step

  @property
  def hours(self) -> float:
    """At least, of the whole run without evaluation."""
    return self.steps * self.bounds.step / HOUR

  @property
  def chip_hours(self) -> float:
    """At least, of the whole run."""
    return self.chips * self.hours

  @property
  def core_days(self) -> float:
    """At least, of the whole run, as the paper counts its own."""
    return self.chip_hours * self.cores * HOUR / DAY

  @property
  def exaflops(self) -> float:
    """Of the whole run, as table 6 of the paper counts them."""
    return self.model_flops * self.steps / 1e18

  def to_json(self) -> dict[str, Any]:
    """For programs: every figure, with the bounds that follow from them."""
    found = dataclasses.asdict(self) | {
      "fits": self.fits,
      "exaflops": self.exaflops,
      "paper": self.paper and self.paper._asdict(),
    }
    for name in ("total", "head_room"):
      found["memory"][name] = getattr(self.memory, name)
    if not self.fits:
      return found
    at_least = ("hours", "chip_hours", "core_days")
    at_most = ("mfu", "images_per_second")
    return found | {
      "bound_by": self.bounds.bound_by,
      "at_least": {"step_seconds": self.bounds.step}
      | {name: getattr(self, name) for name in at_least},
      "at_most": {name: getattr(self, name) for name in at_most},
    }


def make_plan(exp: Experiment, topology: Topology) -> Plan:
  """Compiles a config's training step and reads what came out.

  Args:
    exp: built over the topology's devices.
    topology: the TPUs.

  Raises:
    ConfigError: if the compiler fails for another reason than memory.
  """
  tick = time.monotonic()
  traced = exp.trace_train_step()
  lowered = traced.lower()
  compiled = needed = program = bounds = None
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise ConfigError(
        f"the compiler of TPUs can not do this for {topology.name}: {error}\n"
        f"  another mesh or topology, or another release of libtpu, may do"
      ) from error
    needed = parse_needed(str(error))
  seconds = time.monotonic() - tick
  chips, generation = len(topology.devices), topology.generation
  program_flops = count_jaxpr(traced.jaxpr.jaxpr)
  if compiled is not None:
    program = read_program(compiled.as_text(), chips)
    bounds = Bounds(
      products=program_flops / chips / topology.peak_flops,
      fusions=program.cycles / generation.clock,
      memory=program.traffic / generation.bandwidth,
      links=program.received / generation.links,
      network=program.slices.received / generation.network,
    )
  batch = exp.train.batch_size
  return Plan(
    model=exp.config["model"]["variant"],
    parameters=sum(x.size for x in jax.tree.leaves(exp.abstract_state.params)),
    topology=topology.name,
    slices=topology.slices,
    kind=topology.devices[0].device_kind,
    chips=chips,
    mesh=dict(exp.mesh.shape),
    batch_size=batch,
    accumulate=exp.train.accumulate,
    remat=exp.config["model"].get("remat"),
    steps=exp.steps,
    compile_seconds=seconds,
    memory=get_memory(exp, int(generation.memory), compiled, needed),
    model_flops=round(exp.flops_per_image * batch),
    program_flops=program_flops,
    program=program,
    bounds=bounds,
    peak_flops=topology.peak_flops,
    cores=generation.cores,
    paper=get_cost(exp.config),
  )


def parse_needed(message: str) -> int | None:
  """Bytes that the compiler wanted in all, arguments among them."""
  found = re.search(r"(?:temporaries \(|Used )([\d.]+)([KMGT])", message)
  return int(float(found[1]) * UNITS[found[2]]) if found else None


def get_memory(
  exp: Experiment, available: int, compiled: Any, needed: int | None
) -> Memory:
  """What a step needs of a chip's memory.

  Args:
    exp: built over the topology's devices.
    available: bytes.
    compiled: the step; None if it does not fit.
    needed: what the compiler wanted in all then.
  """
  state = exp.abstract_state
  found = Memory(
    parameters=count_bytes(state.params),
    optimizer=count_bytes(state.opt_state),
    average=count_bytes((state.ema, state.aux)),
    teacher=count_bytes(exp.abstract_constants),
    batch=count_bytes(exp.abstract_batch),
    activations=None,
    program=0,
    available=available,
  )
  if compiled is None:
    if needed is None:
      return found
    return dataclasses.replace(found, activations=needed - found.arguments)
  said = compiled.memory_analysis()
  written = said.output_size_in_bytes - said.alias_size_in_bytes
  padding = said.argument_size_in_bytes - found.arguments
  return dataclasses.replace(
    found,
    batch=found.batch + padding,
    activations=said.temp_size_in_bytes + written,
    program=said.generated_code_size_in_bytes,
  )
