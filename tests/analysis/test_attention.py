# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from vit_jax.analysis.attention import (
  compute_distances,
  compute_entropy,
  compute_mean_distance,
  read_maps,
)
from vit_jax.models.position import Layout


def draw_attention(layout, layers=3, batch=2, heads=4):
  """Weights whose rows sum to one, some of them zero."""
  shape = (layers, batch, heads, layout.tokens, layout.tokens)
  rng = np.random.default_rng(0)
  weights = rng.gamma(0.3, size=shape) * (rng.random(shape) > 0.1) + 1e-9
  return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def test_a_distance_by_hand():
  """Two by two patches of 16 px; each attends to the one right or left of it.

  That is 16 px. Half of it to the diagonal, 16 sqrt(2) px: 8 + 8 sqrt(2).
  """
  layout = Layout((2, 2), 0, 0)
  side, corner = np.eye(4)[[1, 0, 3, 2]], np.eye(4)[[3, 2, 1, 0]]
  heads = np.stack([side, (side + corner) / 2]).astype(np.float32)
  found = compute_mean_distance(heads[None, None], layout, 16)
  np.testing.assert_allclose(found, [[[16, 8 + 8 * math.sqrt(2)]]], rtol=1e-6)


@pytest.mark.parametrize(
  "layout", [Layout((4, 3), 1, 0), Layout((1, 5), 1, 2), Layout((3, 3), 0, 1)]
)
def test_distances_are_those_of_numpy(layout):
  """Sums of loops over pixels, in float64; the class token has no place."""
  attention, stride = draw_attention(layout), 14
  rows, columns = layout.grid
  places = [(y, x) for y in range(rows) for x in range(columns)]
  found = compute_mean_distance(attention, layout, stride)
  assert found.shape == (2, 3, 4)
  for place in np.ndindex(2, 3, 4):
    image, layer, head = place
    total = 0.0
    for q, (y, x) in enumerate(places):
      for k, (v, u) in enumerate(places):
        weight = float(
          attention[layer, image, head, layout.prefix + q, layout.prefix + k]
        )
        total += weight * math.sqrt(
          (stride * (y - v)) ** 2 + (stride * (x - u)) ** 2
        )
    assert float(found[place]) == pytest.approx(total / len(places), rel=1e-5)


def test_distances_of_patches():
  found = compute_distances(Layout((2, 3), 1, 4), 10)
  assert found.shape == (6, 6)
  assert found[0].tolist()[:3] == [0, 10, 20] and found[0, 3] == 10
  assert found[0, 5] == pytest.approx(math.sqrt(500))


def test_an_entropy_by_hand():
  """One head attends to one token alone, one to all eight, one to two."""
  one, two = np.eye(8), (np.eye(8) + np.eye(8)[::-1]) / 2
  heads = np.stack([one, np.full((8, 8), 1 / 8), two]).astype(np.float32)
  found = compute_entropy(heads[None, None])
  np.testing.assert_allclose(found, [[[0, 3, 1]]], atol=1e-6)


def test_entropies_are_those_of_numpy():
  attention = draw_attention(Layout((3, 3), 1, 1))
  weights = attention.astype(np.float64)
  logs = np.log2(weights, where=weights > 0, out=np.zeros_like(weights))
  expected = -(weights * logs).sum(-1).mean(-1)
  found = compute_entropy(attention)
  np.testing.assert_allclose(found, np.swapaxes(expected, 0, 1), rtol=1e-5)


def test_maps_are_the_row_of_the_class_token():
  layout = Layout((2, 3), 1, 2)
  attention = draw_attention(layout)
  found = read_maps(attention, layout)
  assert found.shape == (2, 3, 4, 2, 3)
  assert found[1, 2, 3, 1, 0] == attention[2, 1, 3, 0, 3 + 3]


def test_maps_without_a_class_token_are_means_over_the_patches():
  layout = Layout((2, 2), 0, 1)
  attention = draw_attention(layout)
  found = read_maps(attention, layout)
  expected = sum(attention[2, 1, 3, 1 + q, 1 + 2] for q in range(4)) / 4
  np.testing.assert_allclose(found[1, 2, 3, 1, 0], expected, rtol=1e-5)
