# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A plan as text."""

from collections.abc import Iterable, Mapping

from vit_jax.config.errors import counted
from vit_jax.devices.specs import GIB
from vit_jax.plan.estimate import DAY, HOUR, Plan

# A bound -> its label in the table.
LABELS = {
  "products": "matrix products",
  "fusions": "estimated cycles",
  "memory": "main memory",
  "links": "links in a slice",
  "network": "between slices",
}

# Units of amounts, each the larger first, with their sizes.
FLOP = {"GFLOP": 1e9, "MFLOP": 1e6, "kFLOP": 1e3}
CYCLES = {"M cycles": 1e6, "k cycles": 1e3}
BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
MOVED = {"MB": 1e6, "kB": 1e3}
STEP = {"ms": 1e-3, "us": 1e-6}
MEMORY = {"GiB": GIB, "MiB": 1 << 20}
TIME = {"h": HOUR, "min": 60.0, "s": 1.0, "ms": 1e-3}
CHIP_TIME = {"chip-hours": HOUR, "chip-minutes": 60.0, "chip-seconds": 1.0}
CORE_TIME = {
  "core-days": DAY,
  "core-hours": HOUR,
  "core-minutes": 60.0,
  "core-seconds": 1.0,
}
WORK = {
  "exaFLOPs": 1e18,
  "petaFLOPs": 1e15,
  "teraFLOPs": 1e12,
  "gigaFLOPs": 1e9,
}

BOUNDS = (
  "These are bounds: counts, and the compiler's own estimate of cycles, over "
  "the data\nsheet's rates, as if all were hidden behind the slowest. Nothing "
  "was run."
)


def format_amount(amount: int | float) -> str:
  """A number with three significant digits, or all before the point."""
  return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def choose_unit(amount: int | float, units: Mapping[str, int | float]) -> str:
  """The first unit of which there is a tenth at least, or the last."""
  return next((x for x in units if amount >= units[x] / 10), [*units][-1])


def scale(amount: int | float, units: Mapping[str, int | float]) -> str:
  """An amount in a unit in which it can be read."""
  unit = choose_unit(amount, units)
  return f"{format_amount(amount / units[unit])} {unit}"


def format_plan(plan: Plan) -> str:
  """Formats a plan as paragraphs."""
  parts = [format_header(plan), format_memory(plan)]
  if plan.fits:
    parts += [format_step(plan), format_collectives(plan), format_run(plan)]
    parts.append(BOUNDS)
  return "\n\n".join(parts)


def format_header(plan: Plan) -> str:
  """Formats the model, the TPUs, the batch, and whether it fits."""
  axes = ", ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
  slices = f"{plan.slices} slices of " if plan.slices > 1 else ""
  pieces = [f"{plan.batch_size / plan.chips:,.4g} images a chip"]
  if plan.accumulate > 1:
    pieces.append(f"in {plan.accumulate} micro-batches")
  if plan.remat:
    pieces.append(f"remat {plan.remat}")
  lines = [
    f"{plan.model}: {plan.parameters:,} parameters, on {slices}"
    f"{plan.topology}, {plan.chips} x {plan.kind} ({axes})",
    f"{counted(plan.steps, 'step')} of {plan.batch_size:,}, "
    f"{', '.join(pieces)}",
    f"compiled in {plan.compile_seconds:.0f} s",
  ]
  if not plan.fits:
    lines.append(
      "It does not fit: try --sweep, a larger topology, a smaller "
      "train.batch_size,\ntrain.accumulate, model.remat=full or more of "
      "mesh.fsdp"
    )
  return "\n".join(lines)


def format_memory(plan: Plan) -> str:
  """Formats the use of a chip's memory as a table."""
  memory = plan.memory
  rows = [
    ("parameters", memory.parameters),
    ("optimizer", memory.optimizer),
    ("average", memory.average),
    ("teacher", memory.teacher),
    ("batch and padding", memory.batch),
    ("activations and gradients", memory.activations),
    ("program", memory.program),
    ("total", memory.total),
    ("available", memory.available),
    ("head-room", memory.head_room),
  ]
  unit = choose_unit(GIB if memory.total is None else memory.total, MEMORY)
  lines = [f"{'memory of a chip':28}{unit:>10}"]
  for name, size in rows:
    if name in ("average", "teacher") and not size:
      continue
    value = "unknown" if size is None else f"{size / MEMORY[unit]:,.3f}"
    lines.append(f"{name:28}{value:>10}")
  return "\n".join(lines)


def format_step(plan: Plan) -> str:
  """Formats the costs of a step on a chip and their lower bounds of time."""
  program = plan.program
  amounts = {
    "products": (plan.program_flops / plan.chips, FLOP),
    "fusions": (program.cycles, CYCLES),
    "memory": (program.traffic, BYTES),
    "links": (program.received, BYTES),
    "network": (program.slices.received, BYTES),
  }
  lines = [f"{'a step, on a chip':20}{'amount':>20}{'at least':>14}"]
  for name, (amount, units) in amounts.items():
    if name == "network" and plan.slices == 1:
      continue
    bound = getattr(plan.bounds, name)
    lines.append(
      f"{LABELS[name]:20}{scale(amount, units):>20}{scale(bound, STEP):>14}"
    )
  return "\n".join(lines)


def format_collectives(plan: Plan) -> str:
  """Formats the collectives of a step as a table."""
  lines = [f"{'collectives':20}{'times':>8}{'into a chip':>18}"]
  rows = list(plan.program.collectives.items())
  if plan.slices > 1:
    rows.append(("between slices", plan.program.slices))
  for name, found in sorted(rows, key=lambda row: -row[1].received):
    received = scale(found.received, MOVED)
    lines.append(f"{name:20}{found.times:>8,}{received:>18}")
  return "\n".join(lines) if rows else "no collectives"


def format_run(plan: Plan) -> str:
  """Formats the bounds of the whole run beside the paper's cost."""
  return "\n".join(f"{name:20}{text}" for name, text in make_run_rows(plan))


def make_run_rows(plan: Plan) -> Iterable[tuple[str, str]]:
  """Yields (name, value) of the whole run's lines."""
  bound = LABELS[plan.bounds.bound_by]
  yield (
    "step",
    f">= {scale(plan.bounds.step, STEP)}, bound by {bound}",
  )
  yield "images/s", f"<= {plan.images_per_second:,.0f}"
  yield "MFU", f"<= {format_amount(100 * plan.mfu)} %"
  yield (
    "whole run",
    f">= {scale(plan.hours * HOUR, TIME)}, "
    f"{scale(plan.chip_hours * HOUR, CHIP_TIME)}, "
    f"{scale(plan.core_days * DAY, CORE_TIME)}, for "
    f"{scale(plan.exaflops * 1e18, WORK)}",
  )
  if plan.paper is not None:
    known = [
      f"{plan.paper.core_days * DAY / HOUR / 2:,.0f} chip-hours, "
      f"{plan.paper.core_days:,} core-days of TPUv3 (table 2)"
      if plan.paper.core_days
      else None,
      f"{plan.paper.exaflops:,} exaFLOPs (table 6)"
      if plan.paper.exaflops
      else None,
    ]
    yield "the paper's", ", ".join(filter(None, known))
