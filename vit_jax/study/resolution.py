# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `resolution`: fine-tuning at higher sizes, positions interpolated
or made anew (ViT paper, section 3.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_lines
from vit_jax.study.lines import compare_lines
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

# Percent of the images to pre-train on, and pixels to fine-tune at, of which
# the first are pre-trained at.
PARTS = {"digits": 90, "laptop": 96, "card": 98, "pod": 99}
SIZES = {
  "digits": (16, 24, 32),
  "laptop": (24, 32, 48),
  "card": (224, 384, 512),
  "pod": (224, 384, 512),
}
WAYS = {"interpolated": "align_corners_bilinear", "anew": "none"}
BEFORE = "pretrained"
# Parameters at every scale; those of the recipe of ImageNet are not.
LEARNED = "--config.model.position=learned_1d"


def make_points(scale: str) -> list[Point]:
  """One model, fine-tuned at each size in both ways."""
  part = {"part": PARTS[scale]}
  made = [Point(name=BEFORE, arguments=part, flags=(LEARNED,))]
  first, *_ = SIZES[scale]
  for size in SIZES[scale]:
    for way, kernel in WAYS.items():
      flags = [LEARNED, f"--config.data.size={size}"]
      if kernel == "none" and size == first:
        continue  # There is nothing to interpolate.
      if kernel == "none":
        flags.append("--config.transfer.resample=none")
      made.append(
        Point(
          name=f"{size}_px-{way}",
          arguments={"phase": "finetune"},
          flags=flags,
          fields={"pixels": size, "positions": way},
          after=BEFORE,
        )
      )
  return made


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a line a way, over pixels; both begin where they are the same.

  Unless that failed: then each begins at its own.
  """
  pairs = {(x["fields"]["pixels"], x["fields"]["positions"]) for x in rows}
  least = min(pixels for pixels, _ in pairs)
  first = [
    {**row, "fields": {**row["fields"], "positions": "anew"}}
    for row in rows
    if row["fields"]["pixels"] == least and (least, "anew") not in pairs
  ]
  return draw_lines(
    [*rows, *first],
    metric,
    x="pixels",
    line="positions",
  )


STUDY = PaperStudy(
  name="resolution",
  source="section 3.2",
  asks="Fine-tuning at a higher resolution",
  found="it is often beneficial to fine-tune at a higher resolution than "
  "pre-training's, and as the embeddings of positions may no longer mean "
  "anything in a longer sequence, they are interpolated. It has no numbers of "
  "what that brings.",
  columns=("pixels", "positions"),
  make_points=make_points,
  draw=draw,
  compare=compare_lines("positions", "pixels"),
)
