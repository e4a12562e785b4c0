# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `data_scale`: accuracy by the number of training images."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_lines
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

# Percent of the training images.
PARTS = {
  "digits": (5, 15, 40, 99),
  "laptop": (1, 3, 10, 30, 99),
  "card": (1, 3, 10, 30, 98),
  "pod": (3, 10, 30, 99),
}
NAMES = {"vit": "ViT", "resnet": "ResNet (BiT)"}


def make_points(scale: str) -> list[Point]:
  """Both architectures on each part, all for as many steps.

  The first percent is left out: the larger scales hold it out, and so every
  part begins after it.
  """
  return [
    Point(
      name=f"{family}-{part}_percent",
      arguments={"family": family},
      flags=(f"--config.data.train=train[1%:{part + 1}%]",),
      fields={"model": NAMES[family], "percent of the images": part},
    )
    for family in NAMES
    for part in PARTS[scale]
  ]


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
  columns=("model", "percent of the images"),
  make_points=make_points,
  draw=draw,
)
