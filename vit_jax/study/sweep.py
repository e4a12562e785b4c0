# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `sweep`: chooses arguments on held-out images, then trains on all.

Beside `get_config`, the recipe's file has a function of the same arguments that
returns the values to try:

  def get_sweep(text=""):
    return dict(grid={"lr": (0.003, 0.01, 0.03)}, dev={"dev": 1})

Every combination of the values in `grid` is tried. `dev` has the arguments that
make a run train on a part of the training images and evaluate on the others;
only the runs among which the sweep chooses have them.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.recipe import load_config, load_recipe
from vit_jax.sections import resolve
from vit_jax.study import seeds as final
from vit_jax.study.earlier import check_begun
from vit_jax.study.runs import Run, train
from vit_jax.study.scores import (
  find_score,
  format_rows,
  is_lower_better,
  take_ranking,
)

SEEDS = (0, 1, 2)

FORM = 'dict(grid={"lr": (0.003, 0.01)}, dev={"dev": 1})'


def join(arguments: Mapping[str, Any]) -> str:
  """Joins arguments as a recipe takes them: key=value,key=value."""
  return ",".join(f"{key}={value}" for key, value in arguments.items())


def add(recipe: str, arguments: Mapping[str, Any]) -> str:
  """Adds arguments to those of a recipe."""
  return f"{recipe}{',' if ':' in recipe else ':'}{join(arguments)}"


def load_sweep(recipe: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  """Loads the combinations that a recipe's sweep tries, and `dev`.

  Raises:
    ConfigError: if the recipe has no get_sweep, or one that returns another
      form; if its arguments set a key that the sweep sets.
  """
  module, text = load_recipe(recipe)
  if not hasattr(module, "get_sweep"):
    raise ConfigError(
      f"--config={recipe} has no function get_sweep(text): add one that "
      f"returns the values to try, as {FORM}"
    )
  try:
    found = module.get_sweep(*([text] if text else []))
  except (TypeError, ValueError) as error:
    raise ConfigError(f"--config={recipe}: {error}") from error
  form = isinstance(found, Mapping) and found.keys() == {"grid", "dev"}
  if not form or not found["dev"] or not all(found["grid"].values()):
    raise ConfigError(
      f"--config={recipe}: get_sweep returns {found!r}, which must have the "
      f"form {FORM}"
    )
  grid, dev = found["grid"], found["dev"]
  given = {part.partition("=")[0] for part in text.split(",")}
  for key in given & {*grid, *dev}:
    raise ConfigError(
      f"--config={recipe}: the argument {key} is set by the sweep: leave it out"
    )
  combinations = itertools.product(*grid.values())
  return [dict(zip(grid, x, strict=True)) for x in combinations], dev


def list_splits(config: Mapping[str, Any]) -> dict[str, str]:
  """The splits of a run: key -> split, of training and of each evaluation."""
  evals = {name: x["split"] for name, x in config["evals"].items()}
  return evals | {"data.train": config["data"]["train"]}


def check(
  recipe: str,
  flags: Sequence[str],
  points: Sequence[Mapping[str, Any]],
  dev: Mapping[str, Any],
) -> str:
  """Checks that all runs of a sweep can start, and differ.

  Args:
    recipe: FILE[:key=value,...].
    flags: flags of vit_jax.main for every run.
    points: combinations of arguments to try.
    dev: arguments that hold out images.

  Returns:
    What its runs are compared by, as of `find_score`.

  Raises:
    ConfigError: for a bad config; for two equal runs; for runs without a score,
      or of several; for a flag that sets a split, by which held-out images
      could be trained on.
  """
  overrides = [flag for flag in flags if flag.startswith("--config.")]
  names: dict[str, str] = {}
  scores = set()
  for point in points:
    held_out = add(recipe, point | dev)
    splits, wanted = (
      list_splits(resolve(load_config(held_out, given)))
      for given in (overrides, ())
    )
    if splits != wanted:
      raise ConfigError(
        f"--config={recipe}: a flag sets data.train or the split of an "
        f"evaluation, by which the sweep holds out images: leave it out"
      )
    for arguments in (point, point | dev):
      config = resolve(load_config(add(recipe, arguments), overrides))
      scores.add(find_score(config, recipe))
      same = names.setdefault(repr(config), join(arguments))
      if same != join(arguments):
        raise ConfigError(
          f"--config={recipe}: {same} and {join(arguments)} are the same run: "
          f"leave out the flag that sets what the sweep sets"
        )
  if len(scores) > 1:
    raise ConfigError(
      f"--config={recipe}: runs of the sweep would be compared by "
      f"{' and '.join(sorted(scores))}: give them evaluations of one kind"
    )
  return scores.pop()


def choose(tried: Sequence[Mapping[str, Any]], score: str) -> dict[str, Any]:
  """The arguments with the best score, and of these the lowest loss."""
  sign = -1 if is_lower_better(score) else 1
  best = max(tried, key=lambda row: (sign * row[score], -row["loss"]))
  return best["arguments"]


def run(
  recipe: str, workdir: epath.Path, flags: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
  """Tries every combination once, then trains the best one once per seed.

  Args:
    recipe: FILE[:key=value,...], without arguments that the sweep sets.
    workdir: directory of the study; each run has a directory in it.
    flags: flags of vit_jax.main for every run.
    seeds: seeds of the runs with the best; the others have the recipe's.

  Returns:
    The result of `seeds.run` for the best; `dev`, the arguments and result.json
    of each combination; and `choice`, the arguments of the best.

  Raises:
    ConfigError: as `load_sweep` and `check`, and for another config than that
      of runs that are there, before anything is trained.
  """
  points, dev = load_sweep(recipe)
  score = check(recipe, flags, points, dev)
  runs = [
    Run(
      name=join(point),
      recipe=add(recipe, point | dev),
      workdir=workdir / "dev" / join(point),
      flags=flags,
    )
    for point in points
  ]
  check_begun(runs, flags)
  tried = [
    {"arguments": point, **train(run)}
    for point, run in zip(points, runs, strict=True)
  ]
  choice = choose(tried, take_ranking(score, tried))
  summary = final.run(add(recipe, choice), workdir / "final", flags, seeds)
  return summary | {"study": "sweep", "dev": tried, "choice": choice}


def format_table(summary: dict[str, Any]) -> str:
  """Formats the study for people."""
  tried = [(join(row["arguments"]), row) for row in summary["dev"]]
  return "\n".join(
    [
      *format_rows("held out", tried),
      f"chosen: {join(summary['choice'])}",
      "",
      final.format_table(summary),
    ]
  )
