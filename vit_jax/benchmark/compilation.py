# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The time to compile a recipe's training step, by how far it is unrolled."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from vit_jax.benchmark.report import (
  PARTS,
  describe_machine,
  format_machine,
  format_table,
)
from vit_jax.benchmark.step import (
  compile_step,
  fill,
  list_choices,
  read_memory,
)
from vit_jax.benchmark.timing import Spread, make_spread
from vit_jax.benchmark.turns import OutOfMemoryError
from vit_jax.devices.fitting import format_bytes
from vit_jax.experiment import Experiment
from vit_jax.sections import resolve

AS_IT_COMES = "as it comes"


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled step.

  Attributes:
    name: how far the blocks are unrolled, as the config says it.
    choices: what was chosen, as JSON.
    seconds: part of the compilation -> seconds.
    memory: by the compiler, in bytes; None if the step does not fit.
    error: why it does not, or None.
  """

  name: str
  choices: list[dict[str, Any]]
  seconds: dict[str, Spread]
  memory: dict[str, Any] | None = None
  error: str | None = None

  @property
  def unroll(self) -> Any:
    """Number of blocks in an iteration of the loop over them."""
    found = {x["key"]: x["value"] for x in self.choices}
    return found.get("model.unroll")


@dataclasses.dataclass(frozen=True)
class Report:
  """Compilation times of a recipe's step.

  Attributes:
    model, batch_size: of the recipe.
    repeats: number of compilations of each.
    machine: devices that it is compiled for.
    programs: by how far the blocks are unrolled.
  """

  model: str
  batch_size: int
  repeats: int
  machine: dict[str, Any]
  programs: Sequence[Program]

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON."""
    rows = [
      {
        "name": x.name,
        "choices": x.choices,
        "seconds": {part: y.to_json() for part, y in x.seconds.items()},
        "memory": x.memory,
        "error": x.error,
      }
      for x in self.programs
    ]
    return dataclasses.asdict(self) | {"programs": rows}

  def __str__(self) -> str:
    rows = []
    for x in self.programs:
      chosen = f"{x.unroll}, {x.name}" if x.name == AS_IT_COMES else x.name
      row = [chosen]
      row += [format(x.seconds[part].median, ",.1f") for part in PARTS]
      row.append(format(x.seconds["all"].median, ",.1f"))
      if x.memory is None:
        row += ["does not fit", "", ""]
      else:
        row += [
          format_bytes(x.memory[key])
          for key in ("temporaries", "total", "code")
        ]
      rows.append(row)
    header = [
      "unroll",
      *(f"{part} s" for part in PARTS),
      "all s",
      "temporaries",
      "memory",
      "code",
    ]
    repeated = f", {self.repeats} times each" if self.repeats > 1 else ""
    lines = [
      f"compiling the training step of {self.model}, batch "
      f"{self.batch_size:,}{repeated}",
      format_machine(self.machine),
      "",
      *format_table(header, rows),
    ]
    lines += [x.error for x in self.programs if x.error is not None]
    return "\n".join(lines)


def measure(
  config: dict[str, Any],
  say: Callable[[str], None],
  *,
  is_recipe: bool,
  repeats: int,
  devices: Sequence[Any],
) -> Report:
  """Compiles a config's step as it comes, as a loop, and unrolled.

  Args:
    config: sections, not resolved yet.
    say: gets lines of progress.
    is_recipe: see `open_experiment`.
    repeats: number of compilations of each.
    devices: what to compile for; they need not be there.
  """
  # A program that was compiled before would not be compiled.
  jax.config.update("jax_enable_compilation_cache", False)
  if not is_recipe:
    config = fill(config, devices)
  exp = Experiment(resolve(config), devices)
  programs = []
  say(f"compiling {exp.config['model']['variant']} as it comes")
  programs.append(compile_program(AS_IT_COMES, exp, repeats))
  unrolls = [1, exp.model.depth] if hasattr(exp.model, "unroll") else []
  for unroll in unrolls:
    if unroll == exp.model.unroll:
      continue
    say(f"compiling it with --config.model.unroll={unroll}")
    model = {**config["model"], "unroll": unroll}
    other = Experiment(resolve({**config, "model": model}), devices)
    programs.append(compile_program(str(unroll), other, repeats))
  return Report(
    model=exp.config["model"]["variant"],
    batch_size=exp.train.batch_size,
    repeats=repeats,
    machine=describe_machine(devices),
    programs=programs,
  )


def compile_program(name: str, exp: Experiment, repeats: int) -> Program:
  """Compiles the step of an Experiment a number of times."""
  parts: dict[str, list[float]] = {part: [] for part in (*PARTS, "all")}
  memory, error = None, None
  for _ in range(repeats):
    jax.clear_caches()
    found: dict[str, Any] = {}
    try:
      memory = read_memory(compile_step(exp, found))
    except OutOfMemoryError as problem:
      error = str(problem)
    seconds = [found[f"{part}_seconds"] for part in PARTS]
    for part, value in zip(parts, [*seconds, sum(seconds)], strict=True):
      parts[part].append(value)
  spreads = {part: make_spread(values) for part, values in parts.items()}
  return Program(name, list_choices(exp), spreads, memory, error)
