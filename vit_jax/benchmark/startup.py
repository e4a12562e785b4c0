# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The time from the start of a process to its first finished step.

Whole processes run the command that users run. Their lines on standard error
tell when a stage ends, and Python's own -X importtime what imports take. The
files of the packages are in the system's cache.
"""

import collections
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from vit_jax.benchmark.report import format_machine, format_table
from vit_jax.benchmark.timing import Spread, make_spread
from vit_jax.config import ConfigError, RunError
from vit_jax.config.errors import BAD_CONFIG
from vit_jax.sections import resolve
from vit_jax.storage.paths import locate

# Stage -> what the line says that ends it, in the order of a run.
ENDS = {
  "config, data, model": re.compile(r".*: [\d,]+ parameters, on "),
  "workdir and trace": re.compile(r"compiling the training step"),
  "state and compilation": re.compile(r"compiled in "),
  "first step": re.compile(r"step +1/1 "),
}
IMPORT = re.compile(r"import time: +(\d+) \| +\d+ \| +([\w.]+)")
IMPORTS, SAVE = "imports", "save and end"
STAGES = (IMPORTS, *ENDS)
WHOLE = "to the first step"
SHOWN = 8
COLD, WARM = "cold", "warm"
MACHINE = """
import json, sys
from vit_jax.devices.detection import start_backend
start_backend()
from vit_jax.benchmark.report import describe_machine
json.dump(describe_machine(), sys.stdout)
"""


@dataclasses.dataclass(frozen=True)
class Report:
  """Measured times of a start.

  Attributes:
    model, batch_size, dtype: of the recipe.
    repeats: number of processes of each kind.
    machine: of `describe_machine`.
    package: seconds of a process that imports vit_jax and nothing else.
    imports: package -> seconds that its own modules took, without those that
      they import; of all processes.
    seconds: "cold" and "warm", by the compilation cache -> stage -> seconds.
  """

  model: str
  batch_size: int
  dtype: str | None
  repeats: int
  machine: dict[str, Any]
  package: Spread
  imports: Mapping[str, Spread]
  seconds: Mapping[str, Mapping[str, Spread]]

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON."""
    fields = {x.name: getattr(self, x.name) for x in dataclasses.fields(self)}
    return fields | {
      "package": self.package.to_json(),
      "imports": {name: x.to_json() for name, x in self.imports.items()},
      "seconds": {
        kind: {stage: x.to_json() for stage, x in found.items()}
        for kind, found in self.seconds.items()
      },
    }

  def __str__(self) -> str:
    rows = []
    for stage in (*STAGES, WHOLE, SAVE):
      row = [stage]
      for kind in (COLD, WARM):
        row += self.seconds[kind][stage].format(",.2f")
      rows.append(row)
    header = ["seconds", "cold", "range", "warm", "range"]
    median, spread = self.package.format(",.2f")
    dtype = self.dtype or "the default dtype"
    most = sorted(self.imports.items(), key=lambda item: -item[1].median)
    named = [f"{name} {x.median:.2f}" for name, x in most[:SHOWN]]
    return "\n".join(
      [
        f"start of a run of {self.model}, batch {self.batch_size:,}, {dtype}: "
        f"{self.repeats} processes with an empty compilation cache, "
        f"{self.repeats} with a filled one",
        format_machine(self.machine),
        "",
        *format_table(header, rows),
        "",
        f"imports by package, without what they import: {', '.join(named)}",
        f"a process that imports vit_jax alone: {median} s ({spread})",
      ]
    )


def measure(
  config: dict[str, Any],
  say: Callable[[str], None],
  *,
  is_recipe: bool,
  repeats: int,
) -> Report:
  """Starts runs of one step, and times their stages.

  Args:
    config: sections, not resolved yet.
    say: gets lines of progress.
    is_recipe: whether the user chose the config; else a CPU uses float32.
    repeats: number of processes of each kind.

  Raises:
    ConfigError: for a bad config.
    RunError: if a run fails.
  """
  # Here, where it is said at once; and jax does not start in this process.
  resolved = resolve(config)
  sections = resolved["data"]["dir"], resolved["objective"].get("teacher")
  for path in filter(None, (*sections, resolved["init"])):
    locate(path)
  machine = json.loads(run_python(MACHINE))
  model, train = dict(config["model"]), dict(config["train"])
  if machine["platform"] == "cpu" and not is_recipe:
    model.setdefault("dtype", "float32")
  train |= {"steps": 1, "log_every": 1, "profile": None}
  config = {**config, "model": model, "train": train, "evals": {}}
  package = time_processes("import vit_jax", repeats)
  say(f"import vit_jax: {package.median:.2f} s")
  imports: list[dict[str, float]] = []
  found: dict[str, list[dict[str, float]]] = {COLD: [], WARM: []}
  with tempfile.TemporaryDirectory(prefix="vit_jax_startup_") as name:
    directory = pathlib.Path(name)
    recipe = directory / "recipe.py"
    recipe.write_text(f"def get_config():\n  return {config!r}\n")
    for index in range(repeats):
      cache = directory / f"cache_{index}"
      for kind in (COLD, WARM):
        workdir = directory / f"{kind}_{index}"
        times, packages = time_run(recipe, workdir, cache)
        found[kind].append(times)
        imports.append(packages)
        say(f"{kind}: {times[WHOLE]:.2f} s to the first step")
  return Report(
    model=model["variant"],
    batch_size=train["batch_size"],
    dtype=model.get("dtype"),
    repeats=repeats,
    machine=machine,
    package=package,
    imports={
      name: make_spread([x.get(name, 0.0) for x in imports])
      for name in imports[0]
    },
    seconds={
      kind: {
        stage: make_spread([x[stage] for x in times])
        for stage in (*STAGES, WHOLE, SAVE)
      }
      for kind, times in found.items()
    },
  )


def time_processes(code: str, repeats: int) -> Spread:
  """Seconds of whole processes that run a line of Python."""

  def measure_one():
    began = time.perf_counter()
    run_python(code)
    return time.perf_counter() - began

  return make_spread([measure_one() for _ in range(repeats)])


def run_python(code: str) -> str:
  """Runs Python in a process of its own; returns what it prints.

  Raises:
    RunError: if it fails.
  """
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True
  )
  if done.returncode:
    raise RunError(f"a process to be timed failed:\n{done.stderr}")
  return done.stdout


def time_run(
  recipe: pathlib.Path, workdir: pathlib.Path, cache: pathlib.Path
) -> tuple[dict[str, float], dict[str, float]]:
  """Trains a recipe in a process of its own.

  Args:
    recipe: file of a config of one step.
    workdir: new directory.
    cache: directory of the compilation cache.

  Returns:
    Stage -> seconds, and package -> seconds of its imports.

  Raises:
    ConfigError: if it refuses its config.
    RunError: if the run fails.
  """
  command = [sys.executable, "-X", "importtime", "-m", "vit_jax.main"]
  command += ["--allow_cpu", f"--config={recipe}", f"--workdir={workdir}"]
  # Programs that compile in less than a second are kept too.
  environment = {
    "JAX_COMPILATION_CACHE_DIR": os.fspath(cache),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  times: dict[str, float] = {}
  packages: dict[str, float] = collections.defaultdict(float)
  start = began = time.perf_counter()
  with subprocess.Popen(
    command,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | environment,
  ) as process:
    lines = []
    assert process.stderr is not None
    for line in process.stderr:
      now = time.perf_counter()
      imported = IMPORT.match(line)
      if imported:
        package = imported[2].partition(".")[0]
        packages[package] += int(imported[1]) / 1e6
        continue
      lines.append(line)
      for stage, pattern in ENDS.items():
        if stage not in times and pattern.match(line):
          times[stage], began = now - began, now
          if IMPORTS not in times:  # Those before the first line.
            times[IMPORTS] = sum(packages.values())
            times[stage] -= times[IMPORTS]
  times |= {WHOLE: began - start, SAVE: time.perf_counter() - began}
  if process.returncode == BAD_CONFIG:
    text = "".join(lines).partition("error: ")[2]
    raise ConfigError(text.strip())
  if process.returncode or not times.keys() >= set(ENDS):
    raise RunError(f"a run to be timed failed:\n{''.join(lines)}")
  return times, dict(packages)
