# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `seeds`: one run per seed; mean, spread and worst of them."""

import statistics
from collections.abc import Sequence
from typing import Any

from etils import epath

from vit_jax.config.recipe import load_config
from vit_jax.sections import resolve
from vit_jax.study.earlier import check_begun
from vit_jax.study.runs import Run, train
from vit_jax.study.scores import (
  COLUMNS,
  find_score,
  format_rows,
  format_score,
  is_lower_better,
  take_ranking,
)

SEEDS = (0, 1, 2, 3, 4)


def run(
  recipe: str, workdir: epath.Path, flags: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
  """Trains a recipe once per seed.

  Args:
    recipe: FILE[:key=value,...].
    workdir: directory of the study; each run has a directory in it.
    flags: flags of vit_jax.main for every run.
    seeds: seeds of the runs.

  Returns:
    `study`, its name; `runs`, a dictionary seed -> result.json; `score`, the
    metric that they are compared by, as of `study.scores`; and `mean`, `stdev`
    (of a sample, 0 for one run) and `worst` of it.

  Raises:
    ConfigError: for a bad config, one without such a metric, or another one
      than runs that are there.
  """
  overrides = [flag for flag in flags if flag.startswith("--config.")]
  score = find_score(resolve(load_config(recipe, overrides)), recipe)
  runs = {
    seed: make_run(
      f"seed {seed}", recipe, workdir / f"seed_{seed}", flags, seed
    )
    for seed in seeds
  }
  check_begun([*runs.values()], flags)
  results = {seed: train(run) for seed, run in runs.items()}
  score = take_ranking(score, results.values())
  values = [result[score] for result in results.values()]
  return {
    "study": "seeds",
    "runs": results,
    "score": score,
    "mean": statistics.mean(values),
    "stdev": statistics.stdev(values) if len(values) > 1 else 0.0,
    "worst": max(values) if is_lower_better(score) else min(values),
  }


def make_run(
  name: str,
  recipe: str,
  workdir: epath.Path,
  flags: Sequence[str],
  seed: int,
) -> Run:
  """Makes the run of a seed; arguments as of `Run`."""
  flags = [*flags, f"--config.train.seed={seed}"]
  return Run(name=name, recipe=recipe, workdir=workdir, flags=flags)


def format_table(summary: dict[str, Any]) -> str:
  """Formats the study for people."""
  score = summary["score"]
  names = {"mean": "mean", "stdev": "standard deviation", "worst": "worst"}
  if len(summary["runs"]) == 1:
    del names["stdev"]
  found = [f"{x} {format_score(score, summary[k])}" for k, x in names.items()]
  what = "" if score == "accuracy" else f"{COLUMNS[score][0]}: "
  return "\n".join(
    [
      *format_rows("seed", summary["runs"].items()),
      f"{what}{', '.join(found)}",
    ]
  )
