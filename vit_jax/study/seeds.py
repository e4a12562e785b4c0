# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `seeds`: one run per seed; mean, spread and worst accuracy."""

import statistics
from collections.abc import Sequence
from typing import Any

from etils import epath

from vit_jax.study.runs import Run, format_rows, train

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
    `study`, its name; `runs`, a dictionary seed -> result.json; and `mean`,
    `stdev` (of a sample, 0 for one run) and `worst` of their accuracies.
  """
  runs = {
    seed: train(
      make_run(f"seed {seed}", recipe, workdir / f"seed_{seed}", flags, seed)
    )
    for seed in seeds
  }
  accuracies = [result["accuracy"] for result in runs.values()]
  return {
    "study": "seeds",
    "runs": runs,
    "mean": statistics.mean(accuracies),
    "stdev": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
    "worst": min(accuracies),
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
  spread = ""
  if len(summary["runs"]) > 1:
    spread = f"standard deviation {summary['stdev']:.2%}, "
  return "\n".join(
    [
      *format_rows("seed", summary["runs"].items()),
      f"mean {summary['mean']:.2%}, {spread}worst {summary['worst']:.2%}",
    ]
  )
