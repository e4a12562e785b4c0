# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of accuracy against how much images were changed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vit_jax.config.errors import counted
from vit_jax.metrics.robustness import FOLDER, SHEET
from vit_jax.plots.run_files import find_name
from vit_jax.plots.style import drawing, get_line, shorten

DOUBLED = 3.9  # From so many times the least x on, steps are by factors.
COLUMNS = 3  # Of a sheet.

Curve = Mapping[str, Any]  # As of evaluation.json.


def draw_all(found: Mapping[str, Any]) -> dict[str, bytes]:
  """Draws every curve, and a sheet of them: name of a file -> PNG.

  Of several corruptions the sheet has the mean.

  Args:
    found: what evaluation.json has of robustness.
  """
  names = list(dict.fromkeys(x["model"] for x in found["curves"]))
  panels: dict[tuple[str, str], list[Curve]] = {}
  for curve in found["curves"]:
    key = curve["evaluation"], curve["curve"]
    panels.setdefault(key, []).append(curve)
  pngs = {
    f"{FOLDER}/{evaluation}_{name}.png": draw_robustness(
      [curves], names, found["images"]
    )
    for (evaluation, name), curves in panels.items()
  }
  parts = [key for key in panels if key[0] == "corruptions"]
  sheet = [x for key, x in panels.items() if key not in parts[1:]]
  return pngs | {SHEET: draw_robustness(sheet, names, found["images"])}


def draw_robustness(
  panels: Sequence[Sequence[Curve]], names: Sequence[str], images: int
) -> bytes:
  """Draws curves, each with the same one of other models.

  Args:
    panels: of each, the curves of one name, a model each.
    names: of the models, in their order.
    images: number of images that each point is of.

  Returns:
    A PNG.
  """
  names = [find_name(name, names) for name in names]
  columns = min(COLUMNS, len(panels))
  rows = -(-len(panels) // columns)
  with drawing(4.4 * columns, 3.2 * rows, rows, columns) as drawn:
    places = drawn.axes.ravel()
    for axes, curves in zip(places, panels, strict=False):
      draw_panel(axes, curves, names)
    for axes in places[len(panels) :]:
      axes.set_visible(False)
    count = counted(images, "image")
    if len(panels) > 1:
      drawn.figure.suptitle(f"{count}; bands are 95 % intervals", fontsize=10)
    else:
      places[0].set_title(f"{places[0].get_title()} ({count})")
  return drawn.png


def draw_panel(
  axes: Any, curves: Sequence[Curve], names: Sequence[str]
) -> None:
  """Draws the curves of one name."""
  for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
    points = curve["points"]
    x = np.array([point["x"] for point in points])
    style = get_line(i) | {"marker": "os^Dv"[i % 5], "ms": 3.5}
    y = [100 * point["accuracy"] for point in points]
    axes.plot(x, y, **style, label=shorten(name, 40))
    low, high = 100 * np.array([point["interval"] for point in points]).T
    axes.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
  first = curves[0]
  xs = sorted({point["x"] for curve in curves for point in curve["points"]})
  if _is_doubling(xs):
    # Around an image as it is, which may be at zero.
    axes.set_xscale("symlog", base=2, linthresh=xs[1])
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.minorticks_off()
  elif len(xs) < 8:
    axes.set_xticks(xs, [f"{x:.3g}" for x in xs])
  axes.set_title(describe(first))
  axes.set_xlabel(first["axis"], fontsize=8)
  axes.set_ylabel("top-1 accuracy (%)")
  axes.set_ylim(0, 102)
  axes.legend(loc="best")


def _is_doubling(xs: Sequence[float]) -> bool:
  """Whether places lie by factors rather than by sums."""
  return len(xs) > 3 and xs[-1] > DOUBLED * xs[1] and xs[-1] > 2 * xs[-3]


def describe(curve: Curve) -> str:
  """What a curve is of, in words."""
  names = [x.replace("_", " ") for x in (curve["evaluation"], curve["curve"])]
  return f"{names[0]}: {names[1]}"
