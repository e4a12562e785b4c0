# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `data_scale`: accuracy by the number of training images."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_lines
from vit_jax.study.lines import compare_lines
from vit_jax.study.paper_study import IMAGES, PaperStudy
from vit_jax.study.points import Point

# Percent of the training images, beside those that are fine-tuned on.
PARTS = {
  "digits": (5, 15, 40, 90),
  "laptop": (1, 10, 96),
  "card": (1, 3, 10, 30, 98),
  "pod": (3, 10, 30, 99),
}
NAMES = {"vit": "ViT", "resnet": "ResNet (BiT)"}


def make_points(scale: str) -> list[Point]:
  """Both architectures on each part, all for as many steps, then fine-tuned."""
  made = []
  for family, part in itertools.product(NAMES, PARTS[scale]):
    name = f"{family}-{part}_percent"
    fields = {"model": NAMES[family], "percent of the images": part}
    before = {"family": family, "part": part}
    tuned = {"family": family, "phase": "finetune"}
    made += [
      Point(name=name, arguments=before, fields=fields),
      Point(
        name=f"{name}-tuned", arguments=tuned, after=name, metric="fine-tuned"
      ),
    ]
  return made


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a line an architecture, over the part of the images."""
  return draw_lines(rows, metric, x="percent of the images", line="model")


STUDY = PaperStudy(
  name="data_scale",
  source="section 4.3, figures 3 and 4",
  asks="How much data a ViT needs",
  found="pre-trained on 9M images of JFT the ResNets are better, on 90M and "
  "more the ViTs: what convolutions assume helps with few images; with many "
  "it is better learned.",
  columns=("model", "percent of the images", IMAGES),
  make_points=make_points,
  draw=draw,
  compare=compare_lines("model", "percent of the images"),
)
