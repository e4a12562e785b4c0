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


def test_models_of_one_name_are_told_apart_by_the_ends_of_their_paths(drawn):
  root = "/somewhere/that/is/long/enough/to/be/cut/off"
  paths = [f"{root}/vit/seed_0", f"{root}/bit/seed_0"]
  point = dict(x=0.0, accuracy=0.5, interval=[0.4, 0.6], correct=5, total=10)
  curve = dict(evaluation="pgd", curve="linf", axis="x (%)", points=[point])
  draw_robustness([[curve | {"model": path} for path in paths]], paths, 10)
  legend = drawn()[0].get_legend()
  shown = [x.get_text() for x in legend.get_texts()]
  assert shown == ["vit/seed_0", "bit/seed_0"]
