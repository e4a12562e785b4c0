# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.models.position import Layout


def draw_attention(*shape):
  """Weights whose rows sum to one."""
  weights = np.random.default_rng(0).gamma(0.3, size=shape)
  return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def roll_out(attention):
  """Attention rollout of one image [L K N N], in loops and float64."""
  tokens = attention.shape[-1]
  product = np.eye(tokens)
  for layer in attention:
    mixed = np.zeros((tokens, tokens))
    for head in layer:
      mixed += head.astype(np.float64) / len(layer)
    mixed += np.eye(tokens)
    for row in mixed:
      row /= row.sum()
    product = mixed @ product
  return product


def test_two_layers_by_hand():
  """A class token and one patch.

  The first layer's heads have the mean [[0, 1], [1/2, 1/2]], with its residual
  [[1/2, 1/2], [1/4, 3/4]]; the second's is [[1, 0], [0, 1]], so it changes
  nothing. Then twice the first: the class token has 1/2 * 1/2 + 1/2 * 3/4 = 5/8
  of the patch.
  """
  heads = np.array([[[0, 1], [1, 0]], [[0, 1], [0, 1]]], np.float32)
  same = np.stack([np.eye(2, dtype=np.float32)] * 2)
  layout = Layout((1, 1), 1, 0)
  once = compute_rollout(np.stack([heads, same])[:, None])
  np.testing.assert_allclose(once[0], [[0.5, 0.5], [0.25, 0.75]])
  twice = compute_rollout(np.stack([heads, same, heads])[:, None])
  np.testing.assert_allclose(read_rollout(twice, layout), [[[0.625]]])


def test_rollout_is_that_of_numpy():
  attention = draw_attention(5, 3, 2, 13, 13)  # L B K N N
  found = compute_rollout(attention)
  for i in range(3):
    expected = roll_out(attention[:, i])
    np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("pool", ["token", "gap", "map"])
@pytest.mark.parametrize("registers", [0, 2])
def test_the_rollout_of_what_the_head_reads(pool, registers):
  layout = Layout((2, 3), int(pool == "token"), registers)
  rollout = draw_attention(2, layout.tokens, layout.tokens)
  pooling = draw_attention(2, 4, 6) if pool == "map" else None
  found = read_rollout(rollout, layout, pooling)
  first = layout.prefix
  for i, image in enumerate(rollout):
    if pool == "token":
      row = image[0]
    elif pool == "gap":
      row = sum(image[first:]) / 6
    else:
      row = sum(
        pooling[i, k, n] / 4 * image[first + n]
        for k in range(4)
        for n in range(6)
      )
    expected = [[row[first + 3 * y + x] for x in range(3)] for y in range(2)]
    np.testing.assert_allclose(found[i], expected, rtol=1e-5)
