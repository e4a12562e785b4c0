# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `shape`: which dimension of a ViT to scale (paper, figure 8)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vit_jax.plots.studies import draw_lines
from vit_jax.study.lines import Rows, join_lines
from vit_jax.study.paper_study import COMPUTE, PaperStudy
from vit_jax.study.points import Point, describe_order, format_value


class Shapes(NamedTuple):
  """Shapes of a scale.

  Attributes:
    head: size of a head, which stays: a wider model has more of them.
    middle: the model in the middle.
    others: what each of its dimensions is set to besides.
  """

  head: int
  middle: Mapping[str, int]
  others: Mapping[str, Sequence[int]]


# The paper begins with 8 layers of width 1,024 and MLP 2,048, patches of 32.
LARGE = Shapes(
  64,
  dict(depth=8, width=1024, mlp_dim=2048, patch_size=32),
  dict(
    depth=(2, 4, 16, 32),
    width=(256, 512, 2048),
    mlp_dim=(512, 8192),
    patch_size=(16, 56),
  ),
)
SMALL = Shapes(
  16,
  dict(depth=4, width=64, mlp_dim=128, patch_size=4),
  dict(
    depth=(1, 2, 8), width=(16, 32, 128), mlp_dim=(32, 512), patch_size=(2, 8)
  ),
)
SHAPES = {
  "digits": SMALL,
  "laptop": SMALL,
  "card": LARGE,
  "pod": LARGE,
}
NAMES = dict(
  depth="depth", width="width", mlp_dim="MLP width", patch_size="patch"
)
MIDDLE = "(the middle)"


def make_points(scale: str) -> list[Point]:
  """The middle, and each dimension alone smaller and larger."""
  head, middle, others = SHAPES[scale]
  made = [make_point(middle, head, MIDDLE)]
  for key, values in others.items():
    made += [make_point({**middle, key: x}, head, NAMES[key]) for x in values]
  return made


def make_point(shape: Mapping[str, int], head: int, dimension: str) -> Point:
  """Makes the point of a shape that differs from the middle in `dimension`."""
  flags = [f"--config.model.{key}={x}" for key, x in shape.items()]
  flags.append(f"--config.model.num_heads={shape['width'] // head}")
  fields = {NAMES[key]: x for key, x in shape.items()}
  name = "-".join(f"{key.partition('_')[0]}{x}" for key, x in shape.items())
  return Point(name=name, flags=flags, fields={"scaled": dimension} | fields)


def make_lines(rows: Rows) -> list[dict[str, Any]]:
  """Makes the rows of a line a dimension, each through the middle."""
  middle = [row for row in rows if row["fields"]["scaled"] == MIDDLE]
  made = []
  for name in NAMES.values():
    others = [row for row in rows if row["fields"]["scaled"] == name]
    for row in others and [*middle, *others]:
      made.append({**row, "fields": {**row["fields"], "scaled": name}})
  return made


def compare(rows: Rows, metric: str) -> str:
  """Says what each dimension alone brings, then the order of all."""
  texts = []
  for name, line in join_lines(make_lines(rows), metric, "scaled").items():
    cheapest = min(line, key=lambda row: row["fields"][COMPUTE])
    best = max(line, key=lambda row: row["values"][metric]["mean"])
    first, last = (
      f"{format_value(row['values'][metric])} at {row['fields'][name]}"
      for row in (cheapest, best)
    )
    texts.append(
      f"{name} {first}, which is its best"
      if best is cheapest
      else f"{name} {first} to {last}"
    )
  told = "Each alone, from its cheapest to its best: " + ", ".join(texts) + ". "
  return (told if texts else "") + describe_order(rows, metric)


def draw(rows: Rows, metric: str) -> bytes:
  """Draws a line a dimension, each through the middle, over compute."""
  return draw_lines(make_lines(rows), metric, x=COMPUTE, line="scaled")


STUDY = PaperStudy(
  name="shape",
  source="appendix D.2, figure 8",
  asks="Which dimension of a ViT to scale",
  found="depth brings most, with little beyond 16 layers; width least; smaller "
  "patches, which cost no parameters, bring robust improvements. Compute says "
  "more about the result than the number of parameters.",
  columns=("scaled", *NAMES.values(), COMPUTE),
  make_points=make_points,
  draw=draw,
  compare=compare,
)
