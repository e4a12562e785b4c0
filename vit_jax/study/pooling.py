# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `pooling`: class token or average pooling (paper, figure 9)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_lines
from vit_jax.study.lines import compare_lines
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

RATES = {
  "digits": (1e-3, 2e-3, 4e-3, 8e-3),
  "laptop": (1e-3, 2e-3, 4e-3, 8e-3),
  "card": (3e-4, 1e-3, 3e-3),
  "pod": (3e-4, 8e-4, 3e-3),
}


def make_points(scale: str) -> list[Point]:
  """Both, at each learning rate of a scale."""
  return [
    Point(
      name=f"{pool}-{rate:g}",
      flags=(f"--config.model.pool={pool}", f"--config.optim.lr={rate:g}"),
      fields={"pooling": pool, "learning rate": rate},
    )
    for pool in ("token", "gap")
    for rate in RATES[scale]
  ]


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a line a pooling, over learning rates."""
  return draw_lines(rows, metric, x="learning rate", line="pooling")


STUDY = PaperStudy(
  name="pooling",
  source="appendix D.3, figure 9",
  asks="Class token or global average pooling",
  found="both work alike, but need other learning rates: with the rate of the "
  "class token average pooling performed far worse, which had been taken for "
  "a fault of its own.",
  columns=("pooling", "learning rate"),
  make_points=make_points,
  draw=draw,
  compare=compare_lines("pooling", "learning rate"),
)
