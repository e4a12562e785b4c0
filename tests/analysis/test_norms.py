# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np

from vit_jax.analysis.norms import compute_norms, find_outliers


def test_norms_by_hand():
  """Two layers of one image of two tokens: (3, 4) has the norm 5."""
  residual = np.array([[[[3, 4], [0, 0]]], [[[5, 12], [1, 0]]]], np.float32)
  np.testing.assert_allclose(compute_norms(residual), [[[5, 0], [13, 1]]])


def test_outliers_are_far_above_the_median_of_their_image():
  """Of 2, 2, 2, 6, 7 the median is 2, so that only 7 is above 6."""
  norms = np.array([[2.0, 2, 2, 6, 7], [70, 50, 60, 50, 100]])
  found = find_outliers(norms)
  assert found.tolist() == [[False] * 4 + [True], [False] * 5]
  assert find_outliers(norms, 1.5).sum() == 3
