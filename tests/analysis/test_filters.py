# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import numpy as np
import pytest

from tests.support.models import make_params
from vit_jax import models
from vit_jax.analysis.filters import compute_components, find_filters


def test_components_by_hand():
  """Four filters of one pixel and two channels, along a line.

  They are (1, 2) + t (3, -4) / 5 for t of -3, -1, 1 and 3: one direction has
  all the variance, and its largest value, 4/5, is made positive.
  """
  points = np.array([1, 2]) + np.outer([-3, -1, 1, 3], [0.6, -0.8])
  found, variances = compute_components(points.T.reshape(1, 1, 2, 4))
  np.testing.assert_allclose(found[0].ravel(), [-0.6, 0.8])
  np.testing.assert_allclose(variances, [1, 0], atol=1e-12)


def test_components_are_eigenvectors_of_the_covariance():
  filters = np.random.default_rng(0).normal(size=(3, 3, 2, 100))
  found, variances = compute_components(filters, 5)
  covariance = np.cov(filters.reshape(18, 100))
  total = np.trace(covariance)
  assert found.shape == (5, 3, 3, 2)
  assert (np.diff(variances) <= 0).all()
  for component, share in zip(found.reshape(5, 18), variances, strict=True):
    expected = share * total * component
    np.testing.assert_allclose(covariance @ component, expected, atol=1e-9)
    assert component[np.abs(component).argmax()] > 0


@pytest.mark.parametrize(
  "variant, fields, shape",
  [
    ("mu/4", {}, (4, 4, 3, 32)),
    ("mu/1", dict(stem=(1,)), (7, 7, 3, 64)),
    ("R50x1", dict(stages=(1, 1)), (7, 7, 3, 64)),
    ("Mixer-B/8", dict(depth=1, width=16), (8, 8, 3, 16)),
  ],
)
def test_the_filters_that_see_pixels_are_found(variant, fields, shape):
  model = models.make_model(3, variant=variant, **fields)
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  params = make_params(model, image)
  assert find_filters(params).shape == shape
