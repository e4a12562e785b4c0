# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import PIL.Image
import pytest
import scipy.stats

from vit_jax.plots.evaluation import (
  SHOWN,
  draw_confusion,
  draw_recalls,
  draw_reliability,
)


def read(png):
  """The pixels of a PNG."""
  return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), int)


@pytest.mark.parametrize("count, names", [(3, "cat dog eel"), (60, "")])
def test_confusions_are_drawn(count, names, drawn):
  matrix = np.diag(np.arange(count))  # Of the first class there is none.
  pixels = read(draw_confusion(matrix, names.split()))
  (axes, bar) = drawn()
  assert axes.get_xlabel() and axes.get_ylabel() and "%" in bar.get_ylabel()
  shares = axes.images[0].get_array()
  np.testing.assert_array_equal(shares, 100 * (matrix > 0))
  if names:
    labels = [x.get_text() for x in axes.get_yticklabels()]
    assert labels == ["cat", "dog", "eel"]
    assert [x.get_text() for x in axes.texts] == ["1", "2"]
  assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_calibration_is_drawn_where_there_are_examples(drawn):
  edges = np.linspace(0, 1, 5)
  accuracy = np.array([np.nan, 0.25, 0.5, 1.0])
  confidence = np.array([np.nan, 0.3, 0.7, 0.9])
  png = draw_reliability(edges, accuracy, confidence, np.array([0, 4, 2, 1]))
  top, bottom = drawn()
  heights = [bar.get_height() for bar in top.patches]
  assert heights == [25, 50, 100]
  assert [bar.get_x() for bar in top.patches] == [25, 50, 75]
  assert [bar.get_height() for bar in bottom.patches] == [4, 2, 1]
  dots = top.lines[1].get_xydata()
  np.testing.assert_allclose(dots, [[30, 25], [70, 50], [90, 100]])
  assert read(png).shape[2] == 3


@pytest.mark.parametrize("count", [3, SHOWN + 5])
def test_recalls_are_drawn_the_worst_first(count, drawn):
  """With the interval of SciPy."""
  right = np.roll(np.arange(count), 1)  # Of `count` each; of one all or none.
  names = [f"class {i}" for i in range(count)]
  png = draw_recalls(names, right / count, np.full(count, count))
  (axes,) = drawn()
  shown = min(count, SHOWN)
  widths = [bar.get_width() for bar in axes.patches]
  np.testing.assert_allclose(widths, 100 * np.arange(shown) / count)
  labels = [x.get_text() for x in axes.get_yticklabels()]
  assert labels == [names[i] for i in np.argsort(right)[:shown]]
  (bars,) = (x for x in axes.collections)
  for i, segment in enumerate(bars.get_segments()):
    interval = scipy.stats.binomtest(i, count).proportion_ci(method="wilson")
    np.testing.assert_allclose(
      segment[:, 0], 100 * np.array(interval), atol=1e-9
    )
  assert ("worst of" in axes.get_ylabel()) == (count > SHOWN)
  assert read(png).size


@pytest.mark.filterwarnings("error")
def test_names_of_classes_are_text(drawn):
  names = ["$\\frac{a$", "$x$", "a\r\nb\0", "\udcff", "日本", "<b>", "y" * 99]
  assert read(draw_confusion(np.eye(len(names)), names)).size
  labels = [x.get_text() for x in drawn()[0].get_xticklabels()]
  assert labels == [
    *(r"\$\frac{a\$", r"\$x\$", "a??b?", "?", "日本", "<b>"),
    "y" * 23 + "…",
  ]
