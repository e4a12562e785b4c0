# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A profile of a few steps, and the kernels in it that cost most."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from vit_jax.benchmark.report import format_table
from vit_jax.benchmark.step import Step
from vit_jax.config import ConfigError
from vit_jax.runtime.profile import check_profiler, make_options
from vit_jax.storage.paths import check_directory, is_local, locate

STEPS = 3
SHOWN = 16
# An instruction of compiled HLO that has a name of the program's source.
SOURCE = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"')
# What jax puts between the names of modules.
NOISE = re.compile(
  r"jit\(\w+\)|while|body|cond|closed_call|checkpoint|remat\w*|custom_\w+"
  r"|shard_map|branch_\d+_fun"
)
NUMBER = re.compile(r"(?:[._]\d+)+$")
FORWARD, BACKWARD = "forward", "backward"
UNNAMED = "what has no name"


@dataclasses.dataclass
class Kernel:
  """All runs of like kernels in a trace.

  Attributes:
    name: name of the kernel, without its number.
    phase: "forward" or "backward" in the model; "" elsewhere.
    scope: modules and operation that it computes, by its last instruction.
    runs: number of runs.
    seconds: time of all runs, without that of kernels within them.
  """

  name: str
  phase: str
  scope: str
  runs: int = 0
  seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Trace:
  """The kernels of a few steps, those that took longest first.

  Attributes:
    directory: where the profile is kept.
    steps: number of steps in it.
    kernels: all kernels.
  """

  directory: str
  steps: int
  kernels: list[Kernel]

  @property
  def seconds(self) -> float:
    """Time of all kernels in a step."""
    return sum(x.seconds for x in self.kernels) / self.steps

  @property
  def parts(self) -> list[tuple[str, str, float]]:
    """(part of the program, phase, seconds a step), the longest first."""
    found: dict[tuple[str, str], float] = collections.defaultdict(float)
    for kernel in self.kernels:
      found[find_part(kernel.scope), kernel.phase] += kernel.seconds
    rows = [(part, phase, x / self.steps) for (part, phase), x in found.items()]
    return sorted(rows, key=lambda row: -row[-1])

  def to_json(self) -> dict[str, Any]:
    """The kernels and the parts, as JSON."""
    return {
      "directory": self.directory,
      "steps": self.steps,
      "seconds": self.seconds,
      "parts": [
        dict(part=part, phase=phase, seconds=x) for part, phase, x in self.parts
      ],
      "kernels": [
        dataclasses.asdict(x)
        | {"runs": x.runs / self.steps, "seconds": x.seconds / self.steps}
        for x in self.kernels
      ],
    }

  def __str__(self) -> str:
    whole = self.seconds or 1.0
    parts = [
      [part, phase, f"{1e3 * x:,.2f}", f"{x / whole:.1%}"]
      for part, phase, x in self.parts[:SHOWN]
    ]
    kernels = [
      [
        shorten(x.name, 40),
        f"{1e3 * x.seconds / self.steps:,.2f}",
        f"{x.seconds / self.steps / whole:.1%}",
        f"{x.runs / self.steps:,.0f}",
        f"{x.phase} {x.scope}".strip(),
      ]
      for x in self.kernels[:SHOWN]
    ]
    runs = sum(x.runs for x in self.kernels) / self.steps
    return "\n".join(
      [
        f"{self.steps} traced steps: {runs:,.0f} kernels of "
        f"{1e3 * self.seconds:,.1f} ms in all a step; "
        f"tensorboard --logdir={self.directory} shows them",
        "",
        *format_table(["part", "", "ms a step", "share"], parts, "<<"),
        "",
        *format_table(
          ["kernel", "ms a step", "share", "runs", "of"], kernels, "<>>><"
        ),
      ]
    )


def shorten(text: str, length: int) -> str:
  """Cuts a text to a length, with dots for what is missing."""
  return text if len(text) <= length else f"{text[: length - 3]}..."


def find_part(scope: str) -> str:
  """The part of the program that a scope belongs to: a module or two."""
  names = scope.split("/")
  if "encoderblock" in names[:-1]:
    names = names[names.index("encoderblock") + 1 :]
    return f"block {names[0]}" if len(names) > 1 else "block, residuals"
  return names[0] if len(names) > 1 else UNNAMED


def parse_scope(source: str) -> tuple[str, str]:
  """Splits jax's name of an instruction into phase and scope.

  Args:
    source: as "jit(train_step)/transpose(jvp(ViT))/Transformer/.../mul".
  """
  phase, names = "", []
  for name in source.split("/"):
    if name.startswith("transpose(jvp("):
      phase = BACKWARD
    elif name.startswith("jvp("):
      phase = FORWARD
    elif not NOISE.fullmatch(name):
      names.append(name)
  return phase, "/".join(names)


def read_sources(hlo: str) -> dict[str, str]:
  """Reads name -> name in the source of every instruction of compiled HLO."""
  found = (SOURCE.match(line) for line in hlo.splitlines())
  return {x[1]: x[2] for x in found if x}


def check_place(directory: str) -> None:
  """Checks that a profile can be made, and kept in a directory.

  Raises:
    ConfigError: why it cannot.
  """
  given = f"--trace={directory}"
  if not is_local(directory):
    raise ConfigError(
      f"{given}: a profile is kept on a disk: give a path there"
    )
  check_directory(locate(directory), given)
  check_profiler()


def profile(step: Step, directory: str) -> Trace:
  """Keeps a profile of a few steps, and reads their kernels from it.

  Args:
    step: a step that has run.
    directory: passed `check_place`; TensorBoard's layout lies below it.
  """
  path = os.fspath(locate(directory))
  with jax.profiler.trace(path, profiler_options=make_options()):
    for number in range(STEPS):
      with jax.profiler.StepTraceAnnotation("train", step_num=number):
        step.run(1)
  sources = read_sources(step.compiled.as_text() or "")
  newest = find_profile(path)
  data = jax.profiler.ProfileData.from_file(os.fspath(newest))
  return Trace(directory, STEPS, collect_kernels(data, sources))


def find_profile(directory: str) -> pathlib.Path:
  """Finds the newest profile below a directory."""
  found = pathlib.Path(directory).glob("plugins/profile/*/*.xplane.pb")
  return max(found, key=lambda path: path.stat().st_mtime)


def collect_kernels(data: Any, sources: Mapping[str, str]) -> list[Kernel]:
  """Collects the kernels of a profile, those that took longest first.

  Args:
    data: a `jax.profiler.ProfileData`.
    sources: of `read_sources`.
  """
  found: dict[tuple[str, str, str], Kernel] = {}
  for plane in data.planes:
    for line in select_lines(plane):
      for name, operation, seconds in measure_alone(list_events(plane, line)):
        source = sources.get(operation) or sources.get(guess_operation(name))
        phase, scope = parse_scope(source or "")
        key = NUMBER.sub("", name), phase, scope
        kernel = found.setdefault(key, Kernel(*key))
        kernel.runs += 1
        kernel.seconds += seconds
  return sorted(found.values(), key=lambda kernel: -kernel.seconds)


def guess_operation(kernel: str) -> str:
  """The instruction of a fusion's kernel: add_fusion.1 of add_fusion_1."""
  return re.sub(r"_(\d+)$", r".\1", kernel)


def select_lines(plane: Any) -> Iterable[Any]:
  """The lines of a plane whose events are kernels.

  Those of a GPU are its streams, of a TPU "XLA Ops"; a CPU's are among the
  events of the host's threads.
  """
  lines = list(plane.lines)
  if plane.name == "/host:CPU":
    return lines
  if not plane.name.startswith("/device:"):
    return []
  streams = [line for line in lines if line.name.startswith("Stream")]
  return streams or [line for line in lines if line.name == "XLA Ops"]


def list_events(
  plane: Any, line: Any
) -> Iterator[tuple[float, float, str, str]]:
  """Yields (start, end, kernel, instruction) of a line, in nanoseconds."""
  for event in line.events:
    operation = ""
    for key, value in event.stats:
      if key == "hlo_op":
        operation = str(value)
    if plane.name == "/host:CPU":
      if not operation or event.name.startswith("end: "):
        continue
    # A TPU names an event by the whole instruction.
    name = event.name.removeprefix("%").partition(" = ")[0]
    yield event.start_ns, event.end_ns, name, operation or name


def measure_alone(
  events: Iterable[tuple[float, float, str, str]],
) -> Iterator[tuple[str, str, float]]:
  """Yields (kernel, instruction, seconds), without events that lie within.

  A loop's event, for one, contains those of its body.
  """
  open_ones: list[list[Any]] = []  # [end, name, operation, ns]

  def close(until):
    while open_ones and open_ones[-1][0] <= until:
      _, name, operation, ns = open_ones.pop()
      yield name, operation, max(0.0, ns) / 1e9

  for start, end, name, operation in sorted(
    events, key=lambda event: (event[0], -event[1])
  ):
    yield from close(start)
    if open_ones:
      open_ones[-1][-1] -= min(end, open_ones[-1][0]) - start
    open_ones.append([end, name, operation, end - start])
  yield from close(float("inf"))
