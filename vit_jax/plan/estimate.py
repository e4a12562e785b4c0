# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: its training step compiled for TPUs that are not there."""

import dataclasses
import functools
import time
from typing import Any

import jax

from vit_jax.config import ConfigError
from vit_jax.devices.fitting import format_bytes
from vit_jax.devices.topology import Topology
from vit_jax.experiment import Experiment
from vit_jax.models.flops import count_jaxpr
from vit_jax.optim import make_trained_mask
from vit_jax.plan.paper import Cost, get_cost
from vit_jax.plan.program import Program, read_program
from vit_jax.runtime.fitting import compile_lowered, take_fitting
from vit_jax.runtime.flops import count_flops_per_image
from vit_jax.runtime.out_of_memory import is_out_of_memory, parse_asked
from vit_jax.sharding import count_bytes, count_state_bytes
from vit_jax.train_step import trace

HOUR, DAY = 3600, 86_400
MAX_EXCESS = 16  # Times a chip's memory, by what a plan may miss it.


@dataclasses.dataclass(frozen=True)
class Memory:
  """A training step's use of a chip's main memory, in bytes.

  Attributes:
    parameters: float32 parameters.
    optimizer: optimizer state.
    average: moving average of the parameters, and the objective's `aux`.
    teacher: frozen inputs of the step, as a teacher.
    batch: images and labels, and the padding of the arguments to tiles.
    activations: activations, gradients and all else that lives within a step;
      None if the compiler ran out of memory and did not say.
    program: compiled code.
    available: memory that a program may use.
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
    """Bytes of a step's arguments."""
    state = self.parameters + self.optimizer + self.average
    return state + self.teacher + self.batch

  @property
  def total(self) -> int | None:
    """Bytes used in all."""
    if self.activations is None:
      return None
    return self.arguments + self.activations + self.program

  @property
  def head_room(self) -> int | None:
    """Bytes left over; negative if the step does not fit."""
    return None if self.total is None else self.available - self.total


@dataclasses.dataclass(frozen=True)
class Bounds:
  """Lower bounds of a step's time in seconds, one for each resource.

  Each is the time of a step in which all other work is hidden behind it.

  Attributes:
    products: matrix products, with recomputation, at the bfloat16 peak.
    fusions: cycles of all fusions at the chip's clock; the compiler's estimate,
      where the others are counts.
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
    """The name of the largest bound."""
    return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]

  @property
  def step(self) -> float:
    """The largest bound."""
    return getattr(self, self.bound_by)


@dataclasses.dataclass(frozen=True)
class Plan:
  """The memory and the time that a run needs on some TPUs.

  Attributes:
    model: name of the model.
    parameters: number of its parameters.
    topology: TPUs of a slice, as "v5e:16x16".
    slices: number of slices.
    kind: jax's name for the chips.
    chips: number of chips in all.
    mesh: axis -> size.
    batch_size, accumulate, remat, steps: keys of the config.
    compile_seconds: time to compile the step on this machine.
    memory: a step's use of a chip's memory.
    model_flops: FLOPs of a step on all chips, without recomputation.
    program_flops: the same with recomputation.
    program: cost of a step on a chip; None if it does not fit.
    bounds: lower bounds of a step's time; None if it does not fit.
    peak_flops: bfloat16 FLOP/s of a chip.
    cores: number of TensorCores of a chip.
    paper: cost of this pre-training in the ViT paper, where it is given.
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
    """Returns whether the step fits into a chip's memory."""
    return self.program is not None

  @property
  def mfu(self) -> float:
    """Upper bound of the share of the chips' peak FLOP/s that is used (MFU)."""
    peak = self.chips * self.peak_flops * self.bounds.step
    return self.model_flops / peak

  @property
  def images_per_second(self) -> float:
    """Upper bound of the speed, on all chips."""
    return self.batch_size / self.bounds.step

  @property
  def hours(self) -> float:
    """Lower bound of the whole run's hours, without evaluation."""
    return self.steps * self.bounds.step / HOUR

  @property
  def chip_hours(self) -> float:
    """Lower bound of the whole run's chip-hours."""
    return self.chips * self.hours

  @property
  def core_days(self) -> float:
    """Lower bound of the whole run's core-days, the paper's unit."""
    return self.chip_hours * self.cores * HOUR / DAY

  @property
  def exaflops(self) -> float:
    """exaFLOPs of the whole run, as table 6 of the paper counts them."""
    return self.model_flops * self.steps / 1e18

  def to_json(self) -> dict[str, Any]:
    """All figures and the bounds that follow from them, as JSON."""
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


def check_size(exp: Experiment, topology: Topology) -> None:
  """Refuses what is so large that to compile it would only take time.

  Raises:
    ConfigError: what it takes and what there is.
  """
  memory = topology.generation.memory
  trained = make_trained_mask(exp.optim, exp.abstract_state.params)
  state = count_state_bytes(exp.abstract_state, trained)
  if state > MAX_EXCESS * memory:
    raise ConfigError(
      f"parameters, gradients and optimizer take {format_bytes(state)} a chip, "
      f"and one of {topology.name} has {format_bytes(memory)}: take a smaller "
      f"model, or more chips and mesh.fsdp"
    )


def read_text(compiled: Any) -> str:
  """Reads the compiled program.

  Raises:
    ConfigError: if libtpu is too new for jaxlib.
  """
  try:
    return compiled.as_text() or ""
  except jax.errors.JaxRuntimeError as error:
    raise ConfigError(
      f"jax {jax.__version__} cannot read what this libtpu compiles ({error}): "
      f"pip install 'jax[tpu]=={jax.__version__}' installs the one that it fits"
    ) from error


def make_plan(exp: Experiment, topology: Topology) -> Plan:
  """Compiles the training step of an experiment and reads its costs.

  Args:
    exp: experiment on the topology's devices.
    topology: the TPUs.

  Raises:
    ConfigError: if the compiler fails for another reason than memory.
  """
  tick = time.monotonic()
  compiled = needed = program = bounds = None
  try:
    while compiled is None:
      traced = trace(exp.train_step, exp.mesh, *exp.abstract_inputs)
      compiled = take_fitting(
        exp, functools.partial(compile_lowered, traced.lower(), "tpu")
      )
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise ConfigError(
        f"{topology.name}: libtpu cannot compile the training step: {error}\n"
        f"  try another mesh, topology or release of libtpu"
      ) from error
    needed = parse_asked(str(error))
  seconds = time.monotonic() - tick
  chips, generation = len(topology.devices), topology.generation
  program_flops = count_jaxpr(traced.jaxpr.jaxpr)
  if compiled is not None:
    program = read_program(read_text(compiled), chips)
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
    accumulate=exp.fit.accumulate,
    remat=exp.fit.remat,
    steps=exp.steps,
    compile_seconds=seconds,
    memory=compute_memory(exp, int(generation.memory), compiled, needed),
    model_flops=round(count_flops_per_image(exp) * batch),
    program_flops=program_flops,
    program=program,
    bounds=bounds,
    peak_flops=topology.peak_flops,
    cores=generation.cores,
    paper=get_cost(exp.config),
  )


def compute_memory(
  exp: Experiment, available: int, compiled: Any, needed: int | None
) -> Memory:
  """Computes a step's use of a chip's memory.

  Args:
    exp: experiment on the topology's devices.
    available: bytes that a program may use.
    compiled: the compiled step; None if it does not fit.
    needed: bytes that the step needs in all, if it does not fit.
  """
  state = exp.abstract_state
  found = Memory(
    parameters=count_bytes(state.params),
    optimizer=count_bytes(state.opt_state),
    average=count_bytes((state.ema, state.aux)),
    teacher=count_bytes(exp.abstract_frozen),
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
