# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from vit_jax.analysis.similarity import compute_cka, compute_layer_similarity


def test_a_similarity_by_hand():
  """Of one feature each CKA is the square of their correlation.

  (1, 2, 3) and (1, 3, 2) are (-1, 0, 1) and (-1, 1, 0) without their means: a
  product of 1 and norms of sqrt(2), so the correlation is 1/2.
  """
  x, y = np.array([[1.0], [2], [3]]), np.array([[1.0], [3], [2]])
  assert compute_cka(x, y) == pytest.approx(0.25)
  assert compute_cka(x, 5 - 2 * x) == pytest.approx(1)
  assert np.isnan(compute_cka(x, np.ones((3, 2))))


@pytest.mark.parametrize("examples", [3, 200])
def test_similarities_are_those_of_gram_matrices(examples):
  """Kornblith et al., equations 2 and 3: HSIC of centred Gram matrices."""
  rng = np.random.default_rng(0)
  layers = [rng.normal(size=(examples, width)) + 2 for width in (4, 7, 5)]
  layers[2] = layers[2] + layers[0] @ rng.normal(size=(4, 5))
  centre = np.eye(examples) - 1 / examples

  def hsic(x, y):
    return np.trace(x @ x.T @ centre @ y @ y.T @ centre)

  found = compute_layer_similarity(layers)
  for i, x in enumerate(layers):
    for j, y in enumerate(layers):
      expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
      assert found[i, j] == pytest.approx(expected, rel=1e-9)
      assert compute_cka(x, y) == pytest.approx(expected, rel=1e-9)


def test_rotation_and_scale_change_nothing():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(50, 6)), rng.normal(size=(50, 4))
  rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
  turned = 3 * x @ rotation + 1
  assert compute_cka(x, turned) == pytest.approx(1)
  assert compute_cka(turned, y) == pytest.approx(compute_cka(x, y))
