# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The study `compute`: accuracy by the FLOPs of pre-training (figure 5)."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vit_jax.plots.studies import draw_lines
from vit_jax.study import paper
from vit_jax.study.paper_study import COMPUTE, PaperStudy
from vit_jax.study.points import (
  Point,
  describe_order,
  find_frontier,
  format_value,
)

Models = Mapping[str, Mapping[str, Mapping[str, Any]]]


class Sizes(NamedTuple):
  """Models and lengths of a scale.

  Attributes:
    models: family -> name of a model -> keys of its model section.
    unit: of the lengths, epochs or steps.
    lengths: how long each is trained.
  """

  models: Models
  unit: str
  lengths: Sequence[int]


def make_widths(family: str) -> dict[str, dict[str, int]]:
  """Models of three widths, with heads of 16."""
  return {
    f"{family}-{width}": dict(
      width=width, mlp_dim=2 * width, num_heads=width // 16
    )
    for width in (32, 64, 128)
  }


def name(*variants: str) -> dict[str, dict[str, str]]:
  """Models of the tables."""
  return {x.replace("/", "_"): {"variant": x} for x in variants}


SMALL: Models = {
  "ViT": make_widths("ViT"),
  "hybrid": make_widths("hybrid"),
  "ResNet": {
    "ResNet-1": dict(stages="(1,)"),
    "ResNet-1-1": dict(stages="(1,1)"),
  },
}
SCALES = {
  "digits": Sizes(SMALL, "steps", (150, 300)),
  "laptop": Sizes(SMALL, "steps", (200, 400)),
  "card": Sizes(
    {
      "ViT": name("S/32", "S/16", "B/32"),
      "hybrid": name("R+Ti/16", "R26+S/32"),
      "ResNet": name("R50x1", "R101x1"),
    },
    "epochs",
    (30, 90),
  ),
  "pod": Sizes(
    {
      "ViT": name("B/32", "B/16", "L/32", "L/16"),
      "hybrid": name("R50+B/32", "R50+B/16", "R50+L/32"),
      "ResNet": name("R50x1", "R50x2", "R101x1", "R152x1", "R152x2"),
    },
    "epochs",
    (7, 30),
  ),
}


def make_points(scale: str) -> list[Point]:
  """Every model of a scale, for each of its lengths."""
  models, unit, lengths = SCALES[scale]
  made = []
  for family, rows in models.items():
    for (model, keys), length in itertools.product(rows.items(), lengths):
      flags = [f"--config.model.{key}={x}" for key, x in keys.items()]
      flags.append(f"--config.train.{unit}={length}")
      if unit == "steps":
        flags.append(f"--config.optim.warmup_steps={length // 10}")
      made.append(
        Point(
          name=f"{model}-{length}_{unit}",
          arguments={"family": family.lower()},
          flags=flags,
          fields={
            "family": family,
            "model": model,
            "length": f"{length} {unit}",
          },
        )
      )
  return made


def find_frontiers(
  rows: Sequence[Mapping[str, Any]], metric: str
) -> dict[str, list[Mapping[str, Any]]]:
  """Finds what nothing cheaper of its family beats.

  Args:
    rows: as of `summarize`.
    metric: name of the metric.

  Returns:
    Family -> rows, by compute.
  """
  families: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    if metric in row["values"]:
      families.setdefault(row["fields"]["family"], []).append(row)
  found = {}
  for family, members in families.items():
    pairs = [(x["fields"][COMPUTE], get_mean(x, metric)) for x in members]
    found[family] = [members[i] for i in find_frontier(pairs)]
  return found


def get_mean(row: Mapping[str, Any], metric: str) -> float:
  """Mean of a metric over the seeds."""
  return row["values"][metric]["mean"]


def compare(rows: Sequence[Mapping[str, Any]], metric: str) -> str:
  """Says what the same accuracy costs each family."""
  frontiers = find_frontiers(rows, metric)
  if not frontiers:
    return describe_order(rows, metric)
  reached = {
    name: get_mean(found[-1], metric) for name, found in frontiers.items()
  }
  last = min(reached, key=reached.__getitem__)
  texts = []
  for found in frontiers.values():
    row = next(x for x in found if get_mean(x, metric) >= reached[last])
    texts.append(
      f"{row['name']} {row['fields'][COMPUTE]:.2e} "
      f"({format_value(row['values'][metric])})"
    )
  return (
    f"The least training FLOPs of each family for the {reached[last]:.2%} of "
    f"the best {last}: {', '.join(texts)}. {describe_order(rows, metric)}"
  )


def draw(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws points over compute; lines join what nothing cheaper beats."""
  frontiers = find_frontiers(rows, metric).values()
  joined = {row["name"] for found in frontiers for row in found}
  return draw_lines(rows, metric, x=COMPUTE, line="family", joined=joined)


STUDY = PaperStudy(
  name="compute",
  source="section 4.4, figure 5, table 6",
  asks="What a model makes of the compute of its pre-training",
  found="for the same accuracy ViTs need 2 to 4 times less compute than "
  "ResNets; hybrids are a little better than ViTs where little is spent, and "
  "no more where much is. Its exaFLOPs (table 6): "
  + ", ".join(f"{model} {flops}" for model, flops in paper.EXAFLOPS.items())
  + ".",
  columns=("family", "model", "length", COMPUTE),
  make_points=make_points,
  draw=draw,
  compare=compare,
)
