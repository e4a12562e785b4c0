# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `optimizer`: Adam or SGD for a ResNet (ViT paper, table 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_lines
from vit_jax.study.lines import compare_lines
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

# Adam's decay is times the learning rate, and so is that of momentum here: a
# rate of SGD that is 50 times as large has a decay of a fiftieth.
RATES = {
  "adam": (5e-4, 1e-3, 2e-3, 4e-3),
  "sgd": (0.025, 0.05, 0.1, 0.2),
}
NAMES = {"adam": "Adam", "sgd": "SGD"}
DECAY = {"adam": 0.1, "sgd": 0.002}


def make_points(scale: str) -> list[Point]:
  """Both, at each of their learning rates, the same at every scale."""
  del scale
  return [
    Point(
      name=f"{NAMES[name]}-{rate:g}",
      arguments={"family": "resnet", "optimizer": name},
      flags=(
        f"--config.optim.lr={rate:g}",
        f"--config.optim.weight_decay={DECAY[name]:g}",
      ),
      fields={"optimizer": NAMES[name], "learning rate": rate},
    )
    for name, rates in RATES.items()
    for rate in rates
  ]


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a line an optimizer, over learning rates."""
  return draw_lines(rows, metric, x="learning rate", line="optimizer")


STUDY = PaperStudy(
  name="optimizer",
  source="appendix D.1, table 7",
  asks="Adam or SGD to pre-train a ResNet",
  found="pre-trained on JFT with Adam, ResNets did better on most data sets "
  "than with SGD, which is what they are usually trained with.",
  columns=("optimizer", "learning rate"),
  make_points=make_points,
  draw=draw,
  compare=compare_lines("optimizer", "learning rate"),
)
