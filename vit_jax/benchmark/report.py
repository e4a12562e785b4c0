# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks say alike: the machine, and tables."""

import dataclasses
import platform
from collections.abc import Sequence
from typing import Any

from vit_jax.benchmark.timing import Schedule
from vit_jax.devices.fitting import format_bytes
from vit_jax.runtime.workdir import collect_versions

PARTS = ("trace", "lower", "compile")
# Of the versions, those that a table names by platform; JSON has all of them.
NAMED = ("jax", "flax", "torch", "timm")
PLUGIN = {"tpu": "libtpu"}


def describe_machine(devices: Sequence[Any] | None = None) -> dict[str, Any]:
  """Describes the devices and versions that a figure belongs to, as JSON.

  Args:
    devices: jax's devices that are measured; None is all.
  """
  import jax

  from vit_jax.devices.machine import count_cores

  devices = jax.devices() if devices is None else devices
  return {
    "platform": devices[0].platform,
    "device": devices[0].device_kind,
    "devices": len(devices),
    "cores": count_cores(),
    "processor": platform.machine(),
    "versions": collect_versions(),
  }


def format_machine(machine: dict[str, Any]) -> str:
  """Formats what `describe_machine` found in one line."""
  cores = f"{machine['cores']} cores ({machine['processor']})"
  found = f"{machine['devices']} x {machine['device']}, {cores}"
  if machine["platform"] == "cpu":
    found = f"CPU, {cores}"
  versions = machine["versions"]
  names = (*NAMED, PLUGIN.get(machine["platform"]))
  named = [f"{name} {versions[name]}" for name in names if name in versions]
  return ", ".join([found, *named])


@dataclasses.dataclass(frozen=True)
class Headed:
  """A report with the machine that its figures belong to.

  Attributes:
    report: with `to_json`; its text begins with a line on what was measured.
    machine: of `describe_machine`.
  """

  report: Any
  machine: dict[str, Any]

  def to_json(self) -> dict[str, Any]:
    """The report and the machine as JSON."""
    return self.report.to_json() | {"machine": self.machine}

  def __str__(self) -> str:
    first, _, rest = str(self.report).partition("\n")
    return "\n".join([first, format_machine(self.machine), rest])


def format_table(
  header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "<"
) -> list[str]:
  """Lines of a table.

  Args:
    header: names of the columns.
    rows: cells.
    align: "<" or ">" for each column; those beyond it are ">".
  """
  table = [header, *rows]
  widths = [max(map(len, column)) for column in zip(*table, strict=True)]
  signs = align.ljust(len(widths), ">")

  def format_row(cells):
    columns = zip(cells, signs, widths, strict=True)
    text = [f"{cell:{sign}{width}}" for cell, sign, width in columns]
    return "  ".join(text).rstrip()

  return [format_row(row) for row in table]


def describe_compilation(found: dict[str, Any]) -> str:
  """Describes the time of a compilation in one line."""
  parts = {name: found[f"{name}_seconds"] for name in PARTS}
  text = ", ".join(f"{name} {x:.1f}" for name, x in parts.items())
  cached = ", from the compilation cache" if found["cached"] else ""
  return f"compiled in {sum(parts.values()):.1f} s ({text}){cached}"


def describe_memory(found: dict[str, Any]) -> str:
  """Describes a program's memory in one line."""
  names = ("arguments", "temporaries", "output")
  text = ", ".join(f"{name} {format_bytes(found[name])}" for name in names)
  line = (
    f"memory of a device by XLA: {format_bytes(found['total'])} ({text}, of it "
    f"{format_bytes(found['in_place'])} in place of arguments)"
  )
  if found.get("device_peak"):
    line += f"; the device says {format_bytes(found['device_peak'])} at most"
  return line


def describe_schedule(schedule: Schedule, what: str) -> str:
  """Describes how often something was timed.

  Args:
    schedule: how often.
    what: the runs of a group, as "steps".
  """
  return (
    f"{schedule.repeats} timed groups of {what}, after {schedule.warmup} for "
    f"warm-up"
  )
