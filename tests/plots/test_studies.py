# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import io

import PIL.Image

from vit_jax.plots.studies import draw_laws, draw_scores


def test_scores_are_bars_beside_one_another(drawn):
  groups = {"natural": ("cat", "dog"), "structured": ("count",)}
  series = {
    "B/16": {"cat": 0.25, "count": 0.5},  # The other is not there yet.
    "paper": {"cat": 0.5, "dog": 0.75, "count": 1.0},
  }
  png = draw_scores(groups, series, "accuracy (%)")
  assert PIL.Image.open(io.BytesIO(png)).width > 100
  (axes,) = drawn()
  assert axes.get_ylabel() == "accuracy (%)" and axes.get_xlabel() == "task"
  assert [x.get_text() for x in axes.get_xticklabels()] == [
    "cat",
    "dog",
    "count",
  ]
  assert [x.get_text() for x in axes.texts] == ["natural", "structured"]
  ours, theirs = axes.containers
  assert [bar.get_height() for bar in ours] == [25, 50]
  assert [bar.get_height() for bar in theirs] == [50, 75, 100]
  # Side by side, about the place of the task.
  for left, right, place in zip(
    ours, (theirs[0], theirs[2]), (0, 2.8), strict=True
  ):
    assert abs(left.get_x() + left.get_width() - place) < 1e-9
    assert abs(right.get_x() - place) < 1e-9


def test_flops_are_no_labels_of_an_axis(drawn):
  law = {
    **dict(study="compute", scale="digits", axis="FLOPs", metric="5-shot"),
    **dict(line="ViT", band=None, at=[7e10, 2e12], error=[0.4, 0.02]),
    "points": [(73676390400.0, 0.4, 1), (2129559552000.0, 0.02, 1)],
  }
  draw_laws([law])
  (axes,) = drawn()
  labels = {x.get_text() for x in axes.get_xticklabels()}
  assert {"1e+11", "1e+12"} <= labels and "7.36764e+10" not in labels
