# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `without_labels`: does an encoder learn from images alone?"""

import math
import statistics
from collections.abc import Mapping
from typing import Any, NamedTuple

from vit_jax.plots.studies import draw_points
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

RANDOM = "none"
ENCODERS = {
  "masked_patch": "masked patch prediction",
  "mae": "MAE",
  "moco": "MoCo v3",
  "dino": "DINO",
  RANDOM: "at random",
}
CONFIDENCE = 0.95


class Difference(NamedTuple):
  """A mean of differences, each of two runs of one seed, and its interval."""

  mean: float
  low: float
  high: float


def make_points(scale: str) -> list[Point]:
  """Each objective, and what it is fine-tuned to; at random that is scratch."""
  del scale
  made = []
  for name, label in ENCODERS.items():
    before = {"objective": name}
    made += [
      Point(name=name, arguments=before, fields={"encoder": label}),
      Point(
        name=f"{name}-tuned",
        arguments=before | {"phase": "finetune"},
        after=name,
        metric="fine-tuned",
      ),
    ]
  return made


def compare(
  values: Mapping[str, float], others: Mapping[str, float]
) -> Difference | None:
  """The mean of `values` less `others` over the seeds that both have.

  Its interval is Student's, of 95 %: what is the same of a seed's data and
  drawings is in both values, so that the differences vary less than they do.

  Args:
    values: seed -> value.
    others: likewise.

  Returns:
    None for fewer than two seeds.
  """
  # One function of a package that is slow to import.
  from scipy.special import stdtrit

  found = [values[seed] - others[seed] for seed in values if seed in others]
  if len(found) < 2:
    return None
  mean = statistics.mean(found)
  error = statistics.stdev(found) / math.sqrt(len(found))
  half = float(stdtrit(len(found) - 1, (1 + CONFIDENCE) / 2)) * error
  return Difference(mean, mean - half, mean + half)


class WithoutLabels(PaperStudy):
  """Differences from the encoder at random, seed by seed."""

  def explain(self, summary: Mapping[str, Any]) -> list[str]:
    """Says of each objective whether it is better than none."""
    rows = {row["name"]: row for row in summary["points"]}
    texts = [
      f"{self.found} Here, {summary['config']}: each less the encoder at "
      f"random of the same seed, in percentage points, with an interval of "
      f"95 % (Student's, of paired differences)."
    ]
    texts += [
      f"By {metric}: {text}."
      for metric in summary["metrics"]
      if (text := describe(rows, metric))
    ]
    return texts + self.explain_failures(summary)


def describe(rows: Mapping[str, Mapping[str, Any]], metric: str) -> str:
  """Lists the differences from the encoder at random, by one metric."""
  by_seed = {
    name: row["values"][metric]["by_seed"]
    for name, row in rows.items()
    if metric in row["values"]
  }
  found = []
  for name, values in by_seed.items():
    if name == RANDOM or RANDOM not in by_seed:
      continue
    if difference := compare(values, by_seed[RANDOM]):
      mean, low, high = (100 * x for x in difference)
      sure = "better" if low > 0 else "worse" if high < 0 else "not told apart"
      found.append(
        f"{ENCODERS[name]} {mean:+.2f} [{low:+.2f}, {high:+.2f}], {sure}"
      )
  return "; ".join(found)


STUDY = WithoutLabels(
  name="without_labels",
  source="section 4.6",
  asks="What is learned without labels",
  found="The few-shot probe of 5 images a class on the encoder, and the "
  "accuracy after all of it was fine-tuned on few labelled images, where an "
  "encoder at random is training from scratch.",
  columns=("encoder",),
  make_points=make_points,
  draw=draw_points,
  SEEDS=(0, 1, 2, 3, 4),
  RECIPE="without_labels",
)
