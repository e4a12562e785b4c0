# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the runs of a recipe are compared by, and the table of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.study.table import format_text

# Kind of an evaluation -> what result.json has of it to compare runs by.
SCORES = {"classification": "accuracy", "segmentation": "miou", "loss": "loss"}
# Metric -> its name, and how it is formatted.
COLUMNS = {
  "map": ("mAP", ".2%"),
  "accuracy": ("accuracy", ".2%"),
  "miou": ("mean IoU", ".2%"),
  "pixel_accuracy": ("pixel accuracy", ".2%"),
  "loss": ("loss", ".4f"),
  "seconds": ("seconds", ".1f"),
}


def find_score(config: Mapping[str, Any], name: str) -> str:
  """Finds the metric of result.json that runs are compared by.

  It is of a classification, or else of the first evaluation that has one.

  Args:
    config: resolved config.
    name: of the recipe.

  Raises:
    ConfigError: if no evaluation has one.
  """
  kinds = [section["kind"] for section in config["evals"].values()]
  kinds.sort(key=lambda kind: kind != "classification")
  found = [SCORES[kind] for kind in kinds if kind in SCORES]
  if not found:
    raise ConfigError(
      f"--config={name} has evaluations of the kinds {', '.join(kinds)}, and "
      f"runs are compared by one of {', '.join(SCORES)}: add it to its section "
      f"evals"
    )
  return found[0]


def take_ranking(score: str, results: Iterable[Mapping[str, Any]]) -> str:
  """Takes "map" in place of "accuracy" for images with several labels.

  Their accuracy is of the likeliest class alone. Only results tell, as a set
  says so once it is read.

  Args:
    score: from `find_score`.
    results: result.json of each run.
  """
  ranked = all("map" in result for result in results)
  return "map" if score == "accuracy" and ranked else score


def is_lower_better(score: str) -> bool:
  """Whether the better run has the lower value."""
  return score == "loss"


def format_score(score: str, value: float) -> str:
  """Formats a value of a metric."""
  return format(value, COLUMNS[score][1])


def format_rows(
  title: str, rows: Iterable[tuple[Any, Mapping[str, Any]]]
) -> list[str]:
  """Formats runs, given as (name, result.json), as lines of a table."""
  rows = list(rows)
  names = [x for x in COLUMNS if all(x in result for _, result in rows)]
  made = [[title, *(COLUMNS[x][0] for x in names)]]
  for name, result in rows:
    cells = [format_score(x, result[x]) for x in names]
    made.append([str(name), *cells])
  if "accuracy" in names:
    counts = [f"{x['correct']}/{x['total']}" for _, x in rows]
    for row, cell in zip(made, ["correct/total", *counts], strict=True):
      row.insert(names.index("accuracy") + 2, cell)
  return format_text(made)
