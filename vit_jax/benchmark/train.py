# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of a recipe's training step, alone or in turns with timm's."""

import dataclasses
from collections.abc import Callable
from typing import Any

from vit_jax.benchmark import turns
from vit_jax.benchmark.loop import measure_loop
from vit_jax.benchmark.report import (
  describe_compilation,
  describe_memory,
  describe_schedule,
  format_machine,
  format_table,
)
from vit_jax.benchmark.step import Step, make_step, open_experiment
from vit_jax.benchmark.timing import Schedule, Spread, make_spread
from vit_jax.benchmark.trace import Trace, check_place, profile
from vit_jax.benchmark.turns import OURS, Comparison

LOOP = "whole loop"


@dataclasses.dataclass(frozen=True)
class Report:
  """Measured speed of a training step.

  Attributes:
    facts: what was timed, and where.
    schedule: how often.
    seconds: program -> seconds a step.
    turns: the comparison with another program, or None.
    trace: the kernels of a step, or None.
    data_wait: share of the loop's time in which no batch was ready, or None.
  """

  facts: dict[str, Any]
  schedule: Schedule
  seconds: dict[str, Spread]
  turns: Comparison | None = None
  trace: Trace | None = None
  data_wait: Spread | None = None

  def to_json(self) -> dict[str, Any]:
    """The measurements and what follows from them, as JSON."""
    found = {
      **self.facts,
      "schedule": dataclasses.asdict(self.schedule),
      "programs": {x: self._describe(x) for x in self.seconds},
    }
    if self.data_wait is not None:
      found["data_wait"] = self.data_wait.to_json()
    if self.trace is not None:
      found["trace"] = self.trace.to_json()
    if self.turns is not None:
      found |= self.turns.to_json()
    return found

  def _describe(self, name: str) -> dict[str, Any]:
    """The speed of a program, as JSON."""
    seconds = self.seconds[name]
    speed = seconds.invert(self.facts["batch_size"])
    peak = self.facts["peak_images_per_second"]
    return {
      "seconds": seconds.to_json(),
      "images_per_second": speed.to_json(),
      "mfu": None if peak is None else speed.median / peak,
    }

  def __str__(self) -> str:
    facts, rows = self.facts, []
    for name, seconds in self.seconds.items():
      speed = seconds.invert(facts["batch_size"])
      mfu = self._describe(name)["mfu"]
      rows.append(
        [
          name,
          *seconds.times(1e3).format(),
          *speed.format(",.1f" if speed.median < 100 else ",.0f"),
          "-" if mfu is None else f"{mfu:.1%}",
        ]
      )
    header = ["", "ms a step", "range", "images/s", "range", "MFU"]
    size = " x ".join(map(str, facts["size"]))
    groups = describe_schedule(self.schedule, "steps")
    if self.turns is not None:
      groups = f"{self.turns.rounds} turns of each, in each {groups}"
    lines = [
      f"training step of {facts['model']} with {facts['optimizer']}: "
      f"{facts['parameters']:,} parameters, {size} px, {facts['classes']:,} "
      f"classes, batch {facts['batch_size']:,}, {facts['dtype']}",
      format_machine(facts["machine"]),
      groups,
      "",
      *format_table(header, rows),
      "",
    ]
    if self.turns is not None:
      lines += self.turns.describe()
    if self.data_wait is not None:
      median, spread = self.data_wait.format(".1%")
      reached = self.seconds[OURS].median / self.seconds[LOOP].median
      lines.append(
        f"the loop reaches {reached:.1%} of the step's speed; {median} of its "
        f"time no batch was ready ({spread})"
      )
    lines += describe_choices(facts["choices"])
    lines.append(describe_compilation(facts["compile"]))
    lines.append(describe_memory(facts["memory"]))
    if self.trace is not None:
      lines += ["", str(self.trace)]
    return "\n".join(lines)


def describe_choices(choices: list[dict[str, Any]]) -> list[str]:
  """Lines that say what was chosen, and why where that is known."""
  plain = [f"{x['key']}={x['value']}" for x in choices if not x["reason"]]
  lines = [
    f"{x['key']}={x['value']}: {x['reason']}" for x in choices if x["reason"]
  ]
  return [", ".join(plain), *lines] if plain else lines


def measure(
  config: dict[str, Any],
  schedule: Schedule,
  *,
  is_recipe: bool,
  trace: str | None = None,
  loop: bool = False,
) -> Report:
  """Times the training step of a config on all devices.

  Args:
    config: sections, not resolved yet.
    schedule: how often.
    is_recipe: see `open_experiment`.
    trace: directory that a profile is kept in, or None.
    loop: times the whole loop too.
  """
  exp = open_experiment(config, is_recipe=is_recipe)
  if trace is not None:
    check_place(trace)  # Before anything is compiled.
  step = Step(exp, schedule)
  seconds = make_spread(step.time())
  found = Report(step.facts, schedule, {OURS: seconds})
  if trace is not None:
    found = dataclasses.replace(found, trace=profile(step, trace))
  if loop:
    del step  # Its state and batch would stay in the device's memory.
    times, waits = measure_loop(config, schedule, is_recipe=is_recipe)
    found = dataclasses.replace(
      found, seconds=found.seconds | {LOOP: times}, data_wait=waits
    )
  return found


def compare(
  config: dict[str, Any],
  schedule: Schedule,
  say: Callable[[str], None],
  *,
  is_recipe: bool,
  rounds: int,
) -> Report:
  """Times the training step of a config and timm's in turns, on one device.

  Args:
    config, schedule, is_recipe: as of `measure`.
    say: gets lines of progress.
    rounds: number of turns of each.
  """
  found = turns.compare(
    (make_step, (config, schedule, is_recipe)),
    (make_timm_step, (schedule,)),
    rounds,
    say,
  )
  return Report(found.facts, schedule, found.seconds, found)


def make_timm_step(schedule: Schedule, facts: dict[str, Any]) -> Any:
  """Makes timm's step of the task among our facts; imports timm and torch."""
  from vit_jax.benchmark.timm_step import TimmStep

  return TimmStep(facts["task"], schedule)
