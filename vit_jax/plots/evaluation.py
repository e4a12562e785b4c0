# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of a classifier's evaluation: confusions and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vit_jax.metrics.classification import compute_wilson
from vit_jax.plots.style import COLOURS, MAP, drawing, shorten

NAMED = 50  # Up to so many classes have their names beside the axes.
SHOWN = 30  # Classes of a bar chart.
COUNTED = 15  # Up to so many have their numbers in the cells.


def draw_confusion(
  matrix: Int[np.ndarray, "Y Y"] | Float[np.ndarray, "Y Y"],
  names: Sequence[str],
) -> bytes:
  """Draws a confusion matrix; colours are shares of a row.

  Args:
    matrix: examples by true class (rows) and predicted class (columns).
    names: names of the classes; empty for their numbers.

  Returns:
    A PNG.
  """
  from matplotlib.ticker import MaxNLocator

  count = len(matrix)
  totals = matrix.sum(axis=1, keepdims=True)
  shares = 100 * matrix / np.maximum(totals, 1)
  named = count <= NAMED
  side = 3.4 + 0.2 * count if named else 7.5
  with drawing(side + 0.8, side) as drawn:
    axes = drawn.axes[0, 0]
    image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=100)
    axes.grid(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if named:
      labels = [shorten(x) for x in names] if names else range(count)
      axes.set_xticks(range(count), labels, rotation=90)
      axes.set_yticks(range(count), labels)
    else:
      for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    for i, j in np.argwhere(matrix) if count <= COUNTED else ():
      dark = shares[i, j] < 60
      axes.text(
        *(j, i, f"{matrix[i, j]:,.0f}"),
        **dict(ha="center", va="center", fontsize=7),
        color="white" if dark else "black",
      )
    drawn.figure.colorbar(
      image, ax=axes, label="share of the true class (%)", shrink=0.8
    )
  return drawn.png


def draw_recalls(
  names: Sequence[str],
  recall: Float[np.ndarray, "n"],
  counts: Int[np.ndarray, "n"],
) -> bytes:
  """Draws the recall of the worst classes, with its 95 % interval (Wilson).

  Args:
    names: of classes that have examples.
    recall: share of a class's examples that are taken for it.
    counts: examples of a class.

  Returns:
    A PNG.
  """
  order = np.argsort(recall, kind="stable")[:SHOWN]
  pairs = zip(np.rint(recall * counts)[order], counts[order], strict=True)
  bounds = [compute_wilson(int(right), int(n)) for right, n in pairs]
  shares, places = 100 * recall[order], np.arange(len(order))
  low, high = 100 * np.array(bounds).T
  with drawing(4.6, 1.0 + 0.19 * len(order)) as drawn:
    axes = drawn.axes[0, 0]
    axes.barh(places, shares, color=COLOURS[0], height=0.75)
    axes.errorbar(
      *(shares, places),
      xerr=np.maximum([shares - low, high - shares], 0),
      **dict(fmt="none", ecolor="#444444", elinewidth=1, capsize=2),
    )
    axes.set_yticks(places, [shorten(names[i]) for i in order])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, 100)
    axes.set_xlabel("recall (%), with its 95 % interval")
    more = "" if len(order) == len(names) else f", the worst of {len(names):,}"
    axes.set_ylabel(f"class{more}")
  return drawn.png


def draw_reliability(
  edges: Float[np.ndarray, " edges"],
  accuracy: Float[np.ndarray, " bins"],
  confidence: Float[np.ndarray, " bins"],
  counts: Int[np.ndarray, " bins"] | Float[np.ndarray, " bins"],
) -> bytes:
  """Draws a reliability diagram (Guo et al., 2017, arXiv 1706.04599, figure 1).

  Bars are the accuracy of the examples whose confidence is within a bin, dots
  their mean confidence; of a calibrated model both lie on the diagonal. Below
  is how many examples each bin has.

  Args:
    edges: of the bins, rising, from 0 to 1.
    accuracy: share of a bin's examples that are right; ignored if it has none.
    confidence: mean probability of the predicted class in a bin, likewise.
    counts: examples in a bin.

  Returns:
    A PNG.
  """
  full = np.asarray(counts) > 0
  left, widths = np.asarray(edges)[:-1][full], np.diff(edges)[full]
  heights, means = np.asarray(accuracy)[full], np.asarray(confidence)[full]
  grid: Any = dict(sharex=True, gridspec_kw={"height_ratios": (3, 1)})
  with drawing(4.6, 5.2, 2, 1, **grid) as drawn:
    top, bottom = drawn.axes[:, 0]
    style = dict(align="edge", edgecolor="white")
    top.bar(
      *(100 * left, 100 * heights, 100 * widths),
      **style,
      color=COLOURS[0],
      label="accuracy",
    )
    top.plot([0, 100], [0, 100], color="#444444", ls="--", lw=1)
    top.plot(
      *(100 * means, 100 * heights, "o"),
      color=COLOURS[1],
      ms=4,
      label="at the mean confidence",
    )
    top.set_ylabel("accuracy (%)")
    top.set_xlim(0, 100)
    top.set_ylim(0, 100)
    # Above the bars, which may stand anywhere.
    top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    bottom.bar(
      *(100 * left, np.asarray(counts)[full], 100 * widths),
      **style,
      color=COLOURS[2],
    )
    bottom.set_ylabel("examples")
    bottom.set_xlabel("confidence (%)")
  return drawn.png
