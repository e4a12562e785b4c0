# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the lines of a figure say, as of ViT and ResNet, in sentences."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vit_jax.study.points import describe_order, format_value, is_apart

Rows = Sequence[Mapping[str, Any]]


def compare_lines(line: str, x: str) -> Callable[[Rows, str], str]:
  """Makes the `compare` of a study whose points are lines over a quantity.

  Args:
    line: the field by which points are joined to a line.
    x: the field along it.
  """
  return functools.partial(_describe, line, x)


def _describe(line: str, x: str, rows: Rows, metric: str) -> str:
  """Says which line is ahead, where; then as `describe_order`."""
  texts = [describe_best(rows, metric, line, x)]
  texts += [describe_places(rows, metric, line, x)]
  return " ".join([*filter(None, texts), describe_order(rows, metric)])


def join_lines(
  rows: Rows, metric: str, line: str
) -> dict[str, list[Mapping[str, Any]]]:
  """Joins the rows that have a metric to lines: name -> rows."""
  lines: dict[str, list[Mapping[str, Any]]] = {}
  for row in rows:
    if metric in row["values"]:
      lines.setdefault(str(row["fields"][line]), []).append(row)
  return lines


def describe_best(rows: Rows, metric: str, line: str, x: str) -> str:
  """Says where each line is best, and whether the two best are apart.

  Args:
    rows: as of `summarize`.
    metric: name of the metric; the larger the better.
    line, x: as of `compare_lines`.
  """
  lines = join_lines(rows, metric, line)
  if len(lines) < 2:
    return ""
  best = {
    name: max(members, key=lambda row: get_mean(row, metric))
    for name, members in lines.items()
  }
  names = sorted(best, key=lambda name: -get_mean(best[name], metric))
  texts = [
    f"{name} {format_value(best[name]['values'][metric])} "
    f"({x} {best[name]['fields'][x]})"
    for name in names
  ]
  first, second = (best[name]["values"][metric] for name in names[:2])
  sure = "" if is_apart(first, second) else f", {doubt(first, second)}"
  return f"Best of each line: {', '.join(texts)}{sure}."


def describe_places(rows: Rows, metric: str, line: str, x: str) -> str:
  """Says which line is ahead, and by how much, at each place of several.

  Arguments are those of `describe_best`.
  """
  at: dict[Any, list[tuple[str, Mapping[str, Any]]]] = {}
  for name, members in join_lines(rows, metric, line).items():
    for row in members:
      at.setdefault(row["fields"][x], []).append((name, row["values"][metric]))
  texts = []
  for place in sorted(at):
    if len(at[place]) > 1:
      order = sorted(at[place], key=lambda pair: -pair[1]["mean"])
      (name, first), (other, second), *_ = order
      points = 100 * (first["mean"] - second["mean"])
      sure = "" if is_apart(first, second) else f" ({doubt(first, second)})"
      if f"{points:.2f}" == "0.00":
        texts.append(f"at {place} {name} and {other} are level")
        continue
      said = any("ahead" in text for text in texts)
      ahead, unit = ("by", "") if said else ("is ahead by", " points")
      texts.append(f"at {place} {name} {ahead} {points:.2f}{unit}{sure}")
  return f"By {x}: {', '.join(texts)}." if texts else ""


def describe_against(rows: Rows, metric: str, name: str) -> str:
  """Says how far each other point is from one.

  Args:
    rows: as of `summarize`.
    metric: name of the metric.
    name: of the one.
  """
  found = {
    row["name"]: row["values"][metric]
    for row in rows
    if metric in row["values"]
  }
  base = found.pop(name, None)
  if base is None or not found:
    return ""
  texts = []
  for other, value in found.items():
    points = 100 * (value["mean"] - base["mean"])
    sure = "" if is_apart(value, base) else f" ({doubt(value, base)})"
    texts.append(f"{other} {points:+.2f}{sure}")
  return f"Less {name}, in points: {', '.join(texts)}."


def doubt(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
  """Why two values that are not apart may differ by chance."""
  one = a["stdev"] is None or b["stdev"] is None
  return "of one seed" if one else "not told apart"


def get_mean(row: Mapping[str, Any], metric: str) -> float:
  """Mean of a metric over the seeds."""
  return row["values"][metric]["mean"]
