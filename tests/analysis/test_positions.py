# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import numpy as np
import pytest

from tests.support.models import make_params
from vit_jax import models
from vit_jax.analysis.positions import (
  compute_position_similarity,
  find_positions,
)

SIZE = (12, 8)


def make(**fields):
  """A small model and its parameters."""
  model = models.make_model(3, variant="mu/4", depth=2, **fields)
  image = jax.ShapeDtypeStruct((1, *SIZE, 3), np.float32)
  return model, make_params(model, image)


def test_a_similarity_by_hand():
  """(3, 4) and (4, 3): 24 / 25. (0, 1) and (3, 4): 4 / 5. Zero is like none."""
  vectors = np.array([[[3.0, 4], [4, 3]], [[0, 1], [0, 0]]])
  found = compute_position_similarity(vectors)
  np.testing.assert_allclose(found[0, 0], [[1, 0.96], [0.8, 0]], atol=1e-12)
  np.testing.assert_allclose(found[1, 1], 0, atol=1e-12)


@pytest.mark.parametrize("position_at", ["input", "every_layer", "shared"])
@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("pool", ["token", "gap"])
def test_learned_vectors_are_those_of_the_patches(position_at, registers, pool):
  fields = dict(registers=registers, pool=pool, position_at=position_at)
  model, params = make(position="learned_1d", **fields)
  tree = params["Transformer"]
  if position_at == "every_layer":
    table = tree["encoderblock"]["posembed"]["pos_embedding"][0]
  else:
    table = tree["posembed_input"]["pos_embedding"]
  first = int(pool == "token")  # Registers have no position.
  expected = table[0, first:].reshape(3, 2, -1)
  np.testing.assert_array_equal(
    find_positions(model, params, SIZE), expected.astype(np.float32)
  )


def test_learned_2d_vectors_join_columns_and_rows():
  model, params = make(position="learned_2d")
  tables = params["Transformer"]["posembed_input"]
  x, y = tables["x_embedding"], tables["y_embedding"]
  found = find_positions(model, params, SIZE)
  expected = np.concatenate([x[1], y[2]]).astype(np.float32)
  np.testing.assert_array_equal(found[2, 1], expected)


def test_fixed_vectors_need_no_parameters():
  model, params = make(position="sincos_2d")
  found = compute_position_similarity(find_positions(model, params, SIZE))
  assert found.shape == (3, 2, 3, 2)
  assert found[0, 0, 1, 0] > found[0, 0, 2, 0]


@pytest.mark.parametrize("position", ["none", "rope", "relative"])
def test_other_positions_have_no_vectors(position):
  assert find_positions(*make(position=position), SIZE) is None
