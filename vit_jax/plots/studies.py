# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of studies: what several runs found, beside what a paper has."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from vit_jax.plots.style import COLOURS, drawing, get_line, shorten

TICKS = 6  # At most, of a quantity's own values.
GAP = 0.8  # Between groups, in widths of a task.


def draw_scores(
  groups: Mapping[str, Sequence[str]],
  series: Mapping[str, Mapping[str, float]],
  label: str,
) -> bytes:
  """Draws a bar a task and series; tasks are in groups, beside one another.

  Args:
    groups: name of a group -> its tasks.
    series: name -> task -> a share; a task without one has no bar.
    label: what is shown, in percent.

  Returns:
    A PNG.
  """
  places, middles, at = {}, {}, 0.0
  for group, tasks in groups.items():
    for task in tasks:
      places[task] = at
      at += 1
    middles[group] = (places[tasks[0]] + places[tasks[-1]]) / 2
    at += GAP
  width = 0.8 / len(series)
  with drawing(2 + 0.42 * len(places), 3.8) as drawn:
    axes = drawn.axes[0, 0]
    for i, (name, found) in enumerate(series.items()):
      left = (i - (len(series) - 1) / 2) * width
      shown = [task for task in places if task in found]
      axes.bar(
        [places[task] + left for task in shown],
        [100 * found[task] for task in shown],
        width,
        color=COLOURS[i],
        label=shorten(name, 40),
      )
    axes.set_xticks(
      list(places.values()), list(places), rotation=60, ha="right"
    )
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-0.8, at - GAP - 0.2)
    axes.set_ylim(0, 100)
    axes.set_xlabel("task")
    axes.set_ylabel(label)
    for group, middle in middles.items():
      axes.text(middle, 101.5, group, ha="center", va="bottom", fontsize=9)
    drawn.figure.legend(loc="outside lower center", ncols=len(series))
  return drawn.png


def draw_points(rows: Sequence[Mapping[str, Any]], metric: str) -> bytes:
  """Draws a row a point of a study, with the paper's values beside them.

  Args:
    rows: as of `study.points.summarize`.
    metric: the one of their values that is shown, a share.

  Returns:
    A PNG.
  """
  rows = [row for row in rows if metric in row["values"]][::-1]
  paper = [
    (i, x["paper"]) for i, x in enumerate(rows) if x["paper"] is not None
  ]
  places = range(len(rows))
  with drawing(
    7.5 if paper else 5.0, 1 + 0.3 * len(rows), columns=2 if paper else 1
  ) as drawn:
    axes = drawn.axes[0, 0]
    found = [row["values"][metric] for row in rows]
    axes.errorbar(
      [100 * x["mean"] for x in found],
      places,
      xerr=[100 * (x["stdev"] or 0) for x in found],
      fmt="o",
      color=COLOURS[0],
      capsize=3,
    )
    axes.set_yticks(places, [shorten(row["name"], 30) for row in rows])
    axes.set_xlabel(label_values(f"{metric} here (%)", rows, metric))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    if paper:
      axes = drawn.axes[0, 1]
      axes.plot(
        [100 * x for _, x in paper],
        [i for i, _ in paper],
        "D",
        color=COLOURS[1],
      )
      axes.set_yticks(places, [])
      axes.set_ylim(-0.6, len(rows) - 0.4)
      axes.set_xlabel("the paper (%)")
  return drawn.png


def draw_lines(
  rows: Sequence[Mapping[str, Any]],
  metric: str,
  *,
  x: str,
  line: str,
  joined: Collection[str] | None = None,
) -> bytes:
  """Draws a metric over a quantity that a study varies, on a logarithmic axis.

  Args:
    rows: as of `study.points.summarize`.
    metric: the one of their values that is shown, a share.
    x: the field that is varied.
    line: the field by which points are joined to a line.
    joined: names of the points that are joined, which nothing cheaper of their
      line beats; None is all.

  Returns:
    A PNG.
  """
  lines: dict[str, list[tuple[float, float, float, bool]]] = {}
  for row in rows:
    if metric in row["values"]:
      found, fields = row["values"][metric], row["fields"]
      mean, stdev = (100 * (found[key] or 0) for key in ("mean", "stdev"))
      lines.setdefault(str(fields[line]), []).append(
        (fields[x], mean, stdev, joined is None or row["name"] in joined)
      )
  with drawing(5.0, 3.2) as drawn:
    axes = drawn.axes[0, 0]
    for i, (name, points) in enumerate(lines.items()):
      at, mean, stdev, _ = zip(*sorted(points), strict=True)
      style = get_line(i)
      axes.errorbar(
        at,
        mean,
        stdev,
        **style | dict(linestyle="", marker="o", ms=4, capsize=3),
      )
      ends = sorted(point[:2] for point in points if point[3])
      axes.plot(
        *zip(*ends, strict=True),
        **style | dict(marker="o", ms=4, label=shorten(name, 40)),
      )
    _set_places(axes, {p[0] for points in lines.values() for p in points})
    axes.set_xlabel(x)
    axes.set_ylabel(label_values(f"{metric} (%)", rows, metric))
    if joined is not None:
      axes.set_title("lines join what nothing cheaper beats", fontsize=9)
    axes.legend(loc="best")
  return drawn.png


def _set_places(axes: Any, places: Collection[int | float]) -> None:
  """Makes the x axis logarithmic, with numbers that have room."""
  from matplotlib.ticker import LogLocator

  axes.set_xscale("log")
  # Values that were chosen are short numbers, unlike FLOPs.
  if len(places) <= TICKS and all(float(f"{x:g}") == x for x in places):
    axes.set_xticks(sorted(places))
  else:
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter("{x:g}")
  axes.xaxis.set_minor_formatter("")


def draw_distances(runs: Sequence[Mapping[str, Any]]) -> bytes:
  """Draws the attention distance of each layer over the steps of training.

  Args:
    runs: of each seed `steps`, which are the same of all, `pixels` [S L K], by
      head, and `uniform`.

  Returns:
    A PNG.
  """
  first = runs[0]
  heads = np.mean([x["pixels"] for x in runs], axis=0)
  with drawing(5.4, 3.4) as drawn:
    axes = drawn.axes[0, 0]
    for layer in range(heads.shape[1]):
      line = get_line(layer)
      axes.plot(
        *(first["steps"], heads[:, layer], "."),
        **dict(alpha=0.4, color=line["color"]),
      )
      axes.plot(
        first["steps"],
        heads[:, layer].mean(axis=-1),
        **line,
        label=f"layer {layer + 1}",
      )
    axes.axhline(
      first["uniform"], color="#444444", ls=":", lw=1, label="all alike"
    )
    axes.set_xlabel("step")
    axes.set_ylabel("mean attention distance (px), a point a head")
    # Points are everywhere.
    drawn.figure.legend(loc="outside right center", fontsize=7)
  return drawn.png


def draw_laws(laws: Sequence[Mapping[str, Any]]) -> bytes:
  """Draws power laws with their bands and points, each study by itself.

  Args:
    laws: as of `study.scaling.fit_lines`.

  Returns:
    A PNG.
  """
  from matplotlib.ticker import LogLocator

  axes_of: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
  for law in laws:
    key = tuple(law[x] for x in ("study", "scale", "axis", "metric"))
    axes_of.setdefault(key, []).append(law)
  with drawing(4.6 * len(axes_of), 3.4, columns=len(axes_of)) as drawn:
    for axes, (key, found) in zip(drawn.axes[0], axes_of.items(), strict=True):
      study, scale, axis, metric = key
      for i, law in enumerate(found):
        line, at = get_line(i), law["at"]
        if law["band"]:
          low, high = (100 * np.asarray(z) for z in law["band"]["error"])
          axes.fill_between(at, low, high, color=line["color"], alpha=0.2)
        axes.plot(at, 100 * np.asarray(law["error"]), **line)
        x, error, _ = zip(*law["points"], strict=True)
        axes.plot(
          *(x, 100 * np.asarray(error), "o"),
          **dict(color=line["color"], ms=4, label=shorten(law["line"], 40)),
        )
      _set_places(axes, {p[0] for law in found for p in law["points"]})
      axes.set_yscale("log")
      low, high = axes.get_ylim()
      wide = high > 10 * low  # Then there is no room for every number.
      if wide:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
      axes.yaxis.set_major_formatter("{x:g}")
      axes.yaxis.set_minor_formatter("" if wide else "{x:g}")
      axes.set_xlabel(axis)
      axes.set_ylabel(f"error, {metric} (%)")
      axes.set_title(f"{study}, {scale}", fontsize=9)
      axes.legend(loc="best")
  return drawn.png


def label_values(
  label: str, rows: Sequence[Mapping[str, Any]], metric: str
) -> str:
  """Labels an axis, with what its bars are, if any value has one."""
  found = [row["values"][metric] for row in rows if metric in row["values"]]
  if all(x["stdev"] is None for x in found):
    return label
  return f"{label}, with standard deviation"
