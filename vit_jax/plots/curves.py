# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Curves of runs: a quantity by step, a line a run."""

from collections.abc import Mapping, Sequence

from vit_jax.plots.style import drawing, get_line, shorten

POINTS = 2000  # Of a line; a screen has not many more pixels.

Curve = tuple[Sequence[int], Sequence[float]]  # Steps, and values.


def thin(curve: Curve) -> Curve:
  """At most about POINTS points of a curve, with its first and its last."""
  steps, values = curve
  stride = -(-len(steps) // POINTS)
  if stride <= 1:
    return curve
  kept = sorted({*range(0, len(steps), stride), len(steps) - 1})
  return [steps[i] for i in kept], [values[i] for i in kept]


def draw_curves(
  curves: Mapping[str, Curve],
  label: str,
  *,
  log: bool = False,
  from_zero: bool = False,
  share: bool = False,
) -> bytes:
  """Draws a quantity of one run or of several.

  Args:
    curves: name of a line -> its points, or none, by which the others keep the
      colours that they have elsewhere; names are shown if there are several.
    label: the quantity, with its unit.
    log: on a logarithmic axis, where all values are above zero.
    from_zero: with zero on the axis.
    share: whether values are percentages, so that the axis ends at 100.

  Returns:
    A PNG.
  """
  from matplotlib.ticker import LogLocator, MaxNLocator

  with drawing(4.6, 2.8) as drawn:
    axes = drawn.axes[0, 0]
    shown = []
    for i, (name, curve) in enumerate(curves.items()):
      steps, values = thin(curve)
      if not steps:
        continue
      shown.append(name)
      # A point alone has no line.
      marker = "o" if len(steps) < 20 else None
      style = get_line(i)
      style |= {"marker": marker, "ms": 3}
      axes.plot(steps, values, **style)
    if log and all(x > 0 for _, values in curves.values() for x in values):
      axes.set_yscale("log")
      axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
      axes.yaxis.set_major_formatter("{x:g}")
      axes.yaxis.set_minor_formatter("")
    if from_zero:
      axes.set_ylim(bottom=0)
    if share:
      axes.set_ylim(top=min(100.5, axes.get_ylim()[1]))
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(
      MaxNLocator("auto", integer=True, min_n_ticks=1)
    )
    axes.xaxis.set_major_formatter("{x:,.0f}")
    if len(curves) > 1:
      # As labels it leaves out names that begin with an underscore.
      numbers = [str(i) for i in range(len(shown))]
      legend = axes.legend(axes.lines, numbers, loc="best")
      for text, name in zip(legend.get_texts(), shown, strict=True):
        text.set_text(shorten(name, 40))
  return drawn.png
