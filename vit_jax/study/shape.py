# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `shape`: which dimension of a ViT to scale (paper, figure 8)."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.plots.studies import draw_lines
from vit_jax.study.paper_study import PaperStudy
from vit_jax.study.points import Point

# By scale: the model in the middle, and what each dimension is set to besides.
# The paper begins with 8 layers of width 1,024 and MLP 2,048, patches of 32.
SHAPES: dict[str, tuple[dict[str, Any], ...]] = {
  "digits": (
    dict(depth=4, width=64, mlp_dim=128, patch_size=4),
    dict(depth=(1, 2, 8), width=(16, 32, 128), mlp_dim=(32, 512)),
    dict(patch_size=(2, 8)),
  ),
  "laptop": (
    dict(depth=4, width=128, mlp_dim=512, patch_size=4),
    dict(depth=(1, 2, 8), width=(32, 64, 256), mlp_dim=(128, 2048)),
    dict(patch_size=(2, 8)),
  ),
}
LARGE = (
  dict(depth=8, width=1024, mlp_dim=2048, patch_size=32),
  dict(depth=(2, 4, 16, 32), width=(256, 512, 2048), mlp_dim=(512, 8192)),
  dict(patch_size=(16, 64)),
)
SHAPES |= {"card": LARGE, "pod": LARGE}
NAMES = dict(
  depth="depth", width="width", mlp_dim="MLP width", patch_size="patch"
)
MIDDLE = "(the middle)"
COMPUTE = "training FLOPs"


def make_points(scale: str) -> list[Point]:
  """The middle, and each dimension alone smaller and larger."""
  middle, *others = SHAPES[scale]
  made = [make_point(middle, MIDDLE)]
  for key, values in {k: x for part in others for k, x in part.items()}.items():
    made += [make_point(middle | {key: x}, NAMES[key]) for x in values]
  return made


def make_point(shape: Mapping[str, int], dimension: str) -> Point:
  """Makes the point of a shape that differs from the middle in `dimension`."""
  # The size of a head stays: a wider model has more of them.
  heads = max(
    1, shape["width"] // 16 if shape["width"] < 256 else shape["width"] // 64
  )
  flags = [f"--config.model.{key}={x}" for key, x in shape.items()]
  flags.append(f"--config.model.num_heads={heads}")
  fields = {NAMES[key]: x for key, x in shape.items()}
  name = "-".join(f"{key.partition('_')[0]}{x}" for key, x in shape.items())
  return Point(name=name, flags=flags, fields={"scaled": dimension} | fields)


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a line a dimension, each through the middle, over compute."""
  middle = [row for row in rows if row["fields"]["scaled"] == MIDDLE]
  drawn = []
  for name in NAMES.values():
    others = [row for row in rows if row["fields"]["scaled"] == name]
    for row in others and [*middle, *others]:
      drawn.append({**row, "fields": {**row["fields"], "scaled": name}})
  return draw_lines(drawn, metric, x=COMPUTE, line="scaled")


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
)
