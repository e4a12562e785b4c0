# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Seeds: a recipe once a seed; mean, spread and worst."""

import statistics
from collections.abc import Sequence
from typing import Any

from etils import epath

from vit_jax.study.runs import format_rows, train

SEEDS = (0, 1, 2, 3, 4)


def run(
  recipe: str, workdir: epath.Path, flags: Sequence[str], seeds: Sequence[int]
) -> dict[str, Any]:
  """Trains once a seed.

  Args:
    recipe: FILE[:key=value,...].
    workdir: of the study; each run has a directory in it.
    flags: of vit_jax.main, for every run.
    seeds: of the runs.

  Returns:
    Seed -> result.json as `runs`; of their accuracies `mean`, `stdev` (of a
    sample; of one run 0) and `worst`.
  """
  runs = {
    seed: train(
      f"seed {seed}",
      recipe,
      workdir / f"seed_{seed}",
      [*flags, f"--config.train.seed={seed}"],
    )
    for seed in seeds
  }
  accuracies = [result["accuracy"] for result in runs.values()]
  return {
    "runs": runs,
    "mean": statistics.mean(accuracies),
    "stdev": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
    "worst": min(accuracies),
  }


def format_table(summary: dict[str, Any]) -> str:
  """The study for people."""
  return "\n".join(
    [
      *format_rows("seed", summary["runs"].items()),
      f"mean {summary['mean']:.2%}, standard deviation "
      f"{summary['stdev']:.2%}, worst {summary['worst']:.2%}",
    ]
  )
