# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The axes of curves of robustness."""

import io

import PIL.Image
import pytest

from vit_jax.plots.robustness import draw_robustness


@pytest.mark.parametrize(
  ("xs", "log"),
  [
    ((0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), True),
    ((1.0, 2.0, 4.0, 8.0, 16.0), True),
    ((0.0, 1.0, 2.0, 3.0, 4.0, 5.0), False),
    ((0.0, 12.5, 50.0), False),
  ],
)
def test_axes_double_where_places_do(xs, log, monkeypatch):
  from matplotlib.axes import Axes

  scales = []
  monkeypatch.setattr(
    Axes, "set_xscale", lambda axes, name, **_: scales.append(name)
  )
  points = [
    dict(x=x, accuracy=0.5, interval=[0.4, 0.6], correct=5, total=10)
    for x in xs
  ]
  curve = dict(evaluation="pgd", curve="linf", model="a/b", axis="x (%)")
  png = draw_robustness([[curve | {"points": points}]], ["a/b"], 10)
  assert PIL.Image.open(io.BytesIO(png)).format == "PNG"
  assert bool(scales) == log
