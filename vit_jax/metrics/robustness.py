# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of accuracy on changed images: as JSON, as CSV, and for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from vit_jax.config.errors import counted
from vit_jax.metrics.classification import compute_wilson
from vit_jax.metrics.progress import escape
from vit_jax.storage.files import write_csv

# What an evaluation writes: the points, a PNG a curve, and one of all.
FILE, FOLDER, SHEET = "robustness.csv", "robustness", "robustness.png"
COLUMNS = (
  *("evaluation", "curve", "model", "x", "axis"),
  *("accuracy", "low", "high", "correct", "total"),
)


def describe_curve(
  evaluation: str, model: str, curve: Any, examples: int
) -> dict[str, Any]:
  """Describes a curve as evaluation.json does.

  Args:
    evaluation: name of the evaluation.
    model: path of the run or weights.
    curve: from an evaluator, an `evaluators.robustness.Curve`.
    examples: number of images; a curve that is a mean over corruptions counts
      each several times, and its interval is that of the images.
  """
  points = []
  for x, correct in zip(curve.x, curve.correct, strict=True):
    share = correct / curve.total
    # Of one image several versions are no independent examples.
    low, high = compute_wilson(round(share * examples), examples)
    points.append(
      {
        "x": x,
        "accuracy": share,
        "interval": [low, high],
        "correct": correct,
        "total": curve.total,
      }
    )
  return {
    "evaluation": evaluation,
    "curve": curve.name,
    "model": model,
    "axis": curve.axis,
    "points": points,
  }


def write_curves(
  directory: epath.Path, curves: Iterable[Mapping[str, Any]]
) -> None:
  """Writes robustness.csv: a row a point of a curve."""

  def make_rows() -> Iterator[Sequence[Any]]:
    yield COLUMNS
    for curve in curves:
      names = (curve[x] for x in ("evaluation", "curve", "model"))
      start = list(names)
      for point in curve["points"]:
        row = [*start, f"{point['x']:g}", curve["axis"]]
        values = point["accuracy"], *point["interval"]
        row += [f"{value:.6f}" for value in values]
        yield [*row, point["correct"], point["total"]]

  write_csv(directory / FILE, make_rows())


def format_curves(found: Mapping[str, Any]) -> Iterator[str]:
  """Formats the part of an evaluation's result that is about robustness."""
  several = len({x["model"] for x in found["curves"]}) > 1
  of = found["of"]
  some = "" if found["images"] == of else f" of {of:,}, evenly from all"
  yield f"robustness           {counted(found['images'], 'image')}{some}"
  if "saliency" in found:
    yield f"  saliency of patches is by the {found['saliency']}"
  groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
  for curve in found["curves"]:
    groups.setdefault((curve["evaluation"], curve["curve"]), []).append(curve)
  for (evaluation, name), curves in groups.items():
    yield f"{evaluation} {name}: {curves[0]['axis']}"
    points = [curve["points"] for curve in curves]
    xs = sorted({point["x"] for part in points for point in part})
    yield "  " + "".join(f"{x:9.4g}" for x in xs)
    for curve, part in zip(curves, points, strict=True):
      by_x = {point["x"]: f"{point['accuracy']:.2%}" for point in part}
      row = "".join(f"{by_x.get(x, ''):>9}" for x in xs)
      yield f"  {row}" + f"  {escape(curve['model'])}" * several
