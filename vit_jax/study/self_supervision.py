# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `self_supervision`: masked patch prediction (appendix B.1.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_points
from vit_jax.study import paper
from vit_jax.study.lines import describe_against
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point, describe_order

# Percent of the images to pre-train on.
PARTS = {"digits": 90, "laptop": 96, "card": 98, "pod": 99}
SCRATCH = "from_scratch"
# Target and rate: the one used, the other targets, fewer patches.
TASKS = (
  ("mean_colour", 0.5),
  ("downsized", 0.5),
  ("pixels", 0.5),
  ("mean_colour", 0.15),
)


def make_points(scale: str) -> list[Point]:
  """Fine-tuning after labels, after nothing, and after each task."""
  tuned = {"phase": "finetune"}
  made = [
    Point(name="labels", arguments={"part": PARTS[scale]}),
    Point(
      name="labels-tuned",
      arguments=tuned,
      fields={"pre-training": "labels", "corrupted": "-"},
      paper=paper.PRETRAINED["labels"],
      after="labels",
    ),
    Point(
      name=SCRATCH,
      arguments=tuned,
      flags=("--config.transfer.head=auto",),
      fields={"pre-training": "none", "corrupted": "-"},
      paper=paper.PRETRAINED["nothing"],
    ),
  ]
  for target, rate in TASKS:
    name = f"{target}-{rate:g}"
    best = (target, rate) == TASKS[0]
    made += [
      Point(
        name=name,
        arguments={"phase": "masked", "part": PARTS[scale]},
        flags=(
          f"--config.objective.target={target}",
          f"--config.objective.rate={rate:g}",
        ),
      ),
      Point(
        name=f"{name}-tuned",
        arguments=tuned,
        fields={"pre-training": target.replace("_", " "), "corrupted": rate},
        paper=paper.PRETRAINED["mean_colour"] if best else None,
        after=name,
      ),
    ]
  return made


def compare(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
  """Says what each brings over training from scratch, then the order."""
  texts = [describe_against(rows, metric, SCRATCH)]
  return " ".join([*filter(None, texts), describe_order(rows, metric)])


STUDY = PaperStudy(
  name="self_supervision",
  source="appendix B.1.2; B/16, fine-tuned on ImageNet after JFT",
  asks="Pre-training by masked patch prediction",
  found="with it 79.9 %, 2 % above training from scratch and 4 % below "
  "pre-training with labels; of the targets mean colour is the best and pixels "
  "slightly worse, and corrupting 15 % of the patches is slightly worse than "
  "50 %.",
  columns=("pre-training", "corrupted"),
  make_points=make_points,
  draw=draw_points,
  compare=compare,
)
