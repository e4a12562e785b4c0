# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What all runs of a study need, checked once before any begins."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config
from vit_jax.convert.inherit import check_source
from vit_jax.data import sources
from vit_jax.study.runs import Run


def check_recipe(recipe: str, arguments: str, study: str, own: str) -> None:
  """Checks that a recipe takes the arguments that a study sets.

  Args:
    recipe: FILE.
    arguments: KEY=VALUE,... of every run.
    study: name of the study.
    own: its own recipe.

  Raises:
    ConfigError: if it does not.
  """
  try:
    load_config(f"{recipe}:{arguments}", ())
  except ConfigError as error:
    raise ConfigError(
      f"--config={recipe}: the study {study} needs a recipe that takes scale= "
      f"and dataset=, as configs/{own}.py: leave --config out, or give one\n"
      f"  {error}"
    ) from error


def check_flags(
  study: str, runs: Sequence[Run], phases: Sequence[Any], flags: Sequence[str]
) -> None:
  """Refuses a flag of a key that differs between runs of one phase.

  It would train points alike, under their names.

  Args:
    study: name of the study.
    runs: a run of each point, without these flags.
    phases: of each.
    flags: flags of vit_jax.main for every run.
  """
  configs = [run.load_config() for run in runs]
  for flag in flags:
    path = flag.removeprefix("--config.").partition("=")[0]
    values: dict[Any, Any] = {}
    for phase, config in zip(phases, configs, strict=True):
      value: Any = config
      for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
      if values.setdefault(phase, value) != value:
        raise ConfigError(
          f"--config.{path} is what the study {study} varies: leave it out"
        )


def check_sources(
  runs: Sequence[Run], configs: Sequence[Mapping[str, Any]]
) -> None:
  """Checks that there are the data of runs, and what they start from.

  An embedded data set is written where it is missing, as the first run would.

  Args:
    runs: runs that are not finished.
    configs: resolved config of each.

  Raises:
    ConfigError: what is missing, as the run would say.
  """
  opened = set()
  for run, config in zip(runs, configs, strict=True):
    if run.after is None:
      check_source(config, str(run.workdir))
    data = config["data"]
    wanted = data["source"], data["train"], data["dir"]
    if wanted in opened:
      continue
    opened.add(wanted)
    source, split, data_dir = wanted
    sources.prepare_embedded(
      source, data_dir, lambda text: print(text, file=sys.stderr, flush=True)
    )
    sources.open_source(source, split, data_dir)
