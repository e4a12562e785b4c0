# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of studies: what several runs found, beside what a paper has."""

from collections.abc import Mapping, Sequence

from vit_jax.plots.style import COLOURS, drawing, shorten

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
