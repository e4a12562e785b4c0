# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `without_labels`: does an encoder learn from images alone?"""

import argparse
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from vit_jax.config import ConfigError
from vit_jax.plots.studies import draw_points
from vit_jax.study.names import parse_names
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


def make_points(
  scale: str, objectives: Sequence[str] = tuple(ENCODERS), steps: int = 0
) -> list[Point]:
  """Each objective, and what it is fine-tuned to; at random that is scratch.

  Args:
    scale: of the study; the points are the same at each.
    objectives: names of ENCODERS, which come in its order.
    steps: of pre-training; 0 is the scale's own.
  """
  del scale
  made = []
  for name, label in ENCODERS.items():
    if name not in objectives:
      continue
    own = {"objective": name}
    longer = {"steps": steps} if steps and name != RANDOM else {}
    made += [
      Point(name=name, arguments=own | longer, fields={"encoder": label}),
      Point(
        name=f"{name}-tuned",
        arguments=own | {"phase": "finetune"},
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

  def add_flags(self, parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this study to those of all."""
    super().add_flags(parser)
    parser.add_argument(
      "--objectives",
      metavar="NAME,NAME",
      default=",".join(ENCODERS),
      help="these alone, and the encoder at random (default: %(default)s)",
    )
    parser.add_argument(
      "--steps",
      type=int,
      default=0,
      metavar="N",
      help="steps of pre-training (default: the scale's)",
    )

  def run(
    self,
    recipe: str,
    workdir: epath.Path,
    flags: Sequence[str],
    seeds: Sequence[int],
    *,
    objectives: str = ",".join(ENCODERS),
    steps: int = 0,
    **kwargs: Any,
  ) -> dict[str, Any]:
    """Trains as every study, some objectives or all, for some steps."""
    if steps < 0:
      raise ConfigError(f"--steps={steps} must be positive")
    if any(flag.startswith("--config.train.steps=") for flag in flags):
      raise ConfigError(
        "--config.train.steps would train the encoder at random, too: give "
        "--steps=N, which are those of pre-training"
      )
    names = parse_names("--objectives", objectives, ENCODERS)
    chosen = [*names, RANDOM]  # Which may be named, too.
    study = dataclasses.replace(
      self, make_points=lambda scale: make_points(scale, chosen, steps)
    )
    return super(WithoutLabels, study).run(
      recipe, workdir, flags, seeds, **kwargs
    )

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
    if len(texts) == 1:
      texts.append(
        "With one seed no difference can be told from chance."
        if RANDOM in rows
        else "There is no encoder at random, so that nothing can be compared."
      )
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


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a row an encoder, by the names of the table; see `draw_points`."""
  named = [{**row, "name": row["fields"]["encoder"]} for row in rows]
  return draw_points(named, metric)


STUDY = WithoutLabels(
  name="without_labels",
  source="section 4.6",
  asks="What is learned without labels",
  found="The few-shot probe of 5 images a class on the encoder, and the "
  "accuracy after all of it was fine-tuned on few labelled images, where an "
  "encoder at random is training from scratch.",
  columns=("encoder",),
  make_points=make_points,
  draw=draw,
  SEEDS=(0, 1, 2, 3, 4),
  RECIPE="without_labels",
)
