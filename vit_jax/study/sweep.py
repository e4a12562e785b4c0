# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sweep: choose a recipe's arguments on held-out images, then train on all.

The recipe's file has, beside `get_config`, a function of the same arguments
that says what is tried:

  def get_sweep(text=""):
    return dict(grid={"lr": (0.003, 0.01, 0.03)}, dev={"dev": 1})

`grid` has the values of each argument that is chosen, and every combination is
tried; `dev` the arguments that train on a part of the images and evaluate on
the rest of them, which only the runs for the choice are given.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.command_line import load_config, load_recipe
from vit_jax.config import ConfigError
from vit_jax.sections import resolve
from vit_jax.study import seeds as final
from vit_jax.study.runs import format_rows, train

SEEDS = (0, 1, 2)

FORM = 'dict(grid={"lr": (0.003, 0.01)}, dev={"dev": 1})'


def join(arguments: Mapping[str, Any]) -> str:
  """key=value,key=value, as a recipe takes them."""
  return ",".join(f"{key}={value}" for key, value in arguments.items())


def add(recipe: str, arguments: Mapping[str, Any]) -> str:
  """A recipe with more arguments."""
  return f"{recipe}{',' if ':' in recipe else ':'}{join(arguments)}"


def load_sweep(recipe: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  """The combinations that a recipe wants tried, and its `dev` arguments.

  Raises:
    ConfigError: if it has none, or one of another form, or is given what is
      swept.
  """
  module, text = load_recipe(recipe)
  if not hasattr(module, "get_sweep"):
    raise ConfigError(
      f"--config={recipe} has no get_sweep(text), which says what is tried, as "
      f"{FORM}"
    )
  try:
    found = module.get_sweep(*([text] if text else []))
  except (TypeError, ValueError) as error:
    raise ConfigError(f"--config={recipe}: {error}") from error
  form = isinstance(found, Mapping) and found.keys() == {"grid", "dev"}
  if not form or not found["dev"] or not all(found["grid"].values()):
    raise ConfigError(
      f"--config={recipe}: get_sweep gives {found!r}, which is not of the form "
      f"{FORM}"
    )
  grid, dev = found["grid"], found["dev"]
  given = {part.partition("=")[0] for part in text.split(",")}
  for key in given & {*grid, *dev}:
    raise ConfigError(
      f"--config={recipe}: {key} is what the sweep sets, leave it out"
    )
  combinations = itertools.product(*grid.values())
  return [dict(zip(grid, x, strict=True)) for x in combinations], dev


def get_splits(config: Mapping[str, Any]) -> dict[str, str]:
  """What a run trains on, and what each of its evaluations is of."""
  evals = {name: x["split"] for name, x in config["evals"].items()}
  return evals | {"data.train": config["data"]["train"]}


def check(
  recipe: str,
  flags: Sequence[str],
  points: Sequence[Mapping[str, Any]],
  dev: Mapping[str, Any],
) -> None:
  """Raises ConfigError for runs that can not start, or are the same."""
  overrides = [flag for flag in flags if flag.startswith("--config.")]
  names = {}
  for point in points:
    held_out = add(recipe, point | dev)
    splits, wanted = (
      get_splits(resolve(load_config(held_out, given)))
      for given in (overrides, ())
    )
    if splits != wanted:
      raise ConfigError(
        f"--config={recipe}: a flag sets data.train or the split of an "
        f"evaluation, which keep the images of the choice apart: leave it out"
      )
    for arguments in (point, point | dev):
      config = resolve(load_config(add(recipe, arguments), overrides))
      same = names.setdefault(repr(config), join(arguments))
      if same != join(arguments):
        raise ConfigError(
          f"--config={recipe}: {same} and {join(arguments)} are the same run: "
          f"does a flag set what the sweep sets?"
        )


def choose(tried: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """The arguments of the highest accuracy, of equals of the lowest loss."""
  best = max(tried, key=lambda row: (row["accuracy"], -row["loss"]))
  return best["arguments"]


def run(
  recipe: str, workdir: epath.Path, flags: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
  """Tries every combination once, then trains the best once a seed.

  Args:
    recipe: FILE[:key=value,...], without what is swept.
    workdir: of the study; each run has a directory in it.
    flags: of vit_jax.main, for every run.
    seeds: of the runs with the best; the others have the recipe's.

  Returns:
    What `seeds.run` does, of the best; `dev`, the arguments and result.json of
    each combination; and `choice`, the arguments of the best.

  Raises:
    ConfigError: before anything is trained, as `load_sweep` and `check`.
  """
  points, dev = load_sweep(recipe)
  check(recipe, flags, points, dev)
  tried = []
  for point in points:
    name = join(point)
    held_out = add(recipe, point | dev)
    result = train(name, held_out, workdir / "dev" / name, flags)
    tried.append({"arguments": point, **result})
  choice = choose(tried)
  summary = final.run(add(recipe, choice), workdir / "final", flags, seeds)
  return {"dev": tried, "choice": choice} | summary


def format_table(summary: dict[str, Any]) -> str:
  """The study for people."""
  tried = [(join(row["arguments"]), row) for row in summary["dev"]]
  return "\n".join(
    [
      *format_rows("held out", tried),
      f"chosen: {join(summary['choice'])}",
      "",
      final.format_table(summary),
    ]
  )
