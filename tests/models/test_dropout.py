# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Dropout, against the same hash in Python's integers and against chance."""

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.models.dropout import Dropout, draw_elements, drop_elements

WORDS = jax.random.bits(jax.random.key(0), (2000, 2), jnp.uint32)


def draw(first, second, channel):
  """The number of one element, in integers of any size."""
  x = (first + 0x9E3779B9 * channel) % 2**32
  x = ((x ^ x >> 16) * 0x7FEB352D + second) % 2**32
  return (x ^ x >> 15) * 0x846CA68B % 2**32


def test_numbers_are_those_of_the_hash():
  words = WORDS[:6].reshape(2, 3, 2)
  found = np.asarray(draw_elements(words, 5)).reshape(6, 5)
  expected = [
    [draw(int(a), int(b), channel) for channel in range(5)]
    for a, b in np.asarray(words).reshape(6, 2)
  ]
  np.testing.assert_array_equal(found, expected)


def test_numbers_are_evenly_spread_and_independent():
  """Shares, rows and pairs of rows or channels, in standard deviations."""
  rate, (rows, channels) = 0.1, (2000, 384)
  dropped = np.asarray(draw_elements(WORDS, channels)) < round(rate * 2**32)
  x = (dropped - rate) / np.sqrt(rate * (1 - rate))
  assert abs(x.sum()) / np.sqrt(x.size) < 4
  for axis, size in ((0, rows), (1, channels)):
    sums = x.sum(axis) / np.sqrt(size)
    assert abs(sums).max() < 5
    # The variance of n squares of normal numbers is 2/n.
    assert abs(np.mean(sums**2) - 1) < 4 * np.sqrt(2 / sums.size)
  for products, size in ((x.T @ x, rows), (x[:384] @ x[:384].T, channels)):
    pairs = products[np.triu_indices(384, 1)] / np.sqrt(size)
    assert abs(pairs).max() < 7
    # The sum of a pair's products is less like a normal number: 5 %.
    assert abs(np.mean(pairs**2) - 1) < 0.05


def test_elements_are_dropped_or_scaled_up_and_gradients_alike():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 50, 96)), "float32")
  words = WORDS.reshape(40, 50, 2)
  y, pull = jax.vjp(lambda x: drop_elements(x, words, 0.25), x)
  dropped = np.asarray(draw_elements(words, 96)) < 2**30
  np.testing.assert_allclose(y, np.where(dropped, 0, x / 0.75), rtol=1e-6)
  (gradient,) = pull(x)
  np.testing.assert_array_equal(gradient, y)
  half = drop_elements(x.astype(jnp.bfloat16), words, 0.25)
  assert half.dtype == jnp.bfloat16
  np.testing.assert_array_equal(np.asarray(half == 0), dropped)


def test_every_place_and_key_drops_others():
  x = jnp.ones((2, 8, 512))

  def run(seed, train=True, rate=0.5):
    key = {"dropout": jax.random.key(seed)}
    return Dropout(rate).apply({}, x, train, rngs=key)

  np.testing.assert_array_equal(run(0), run(0))
  rows = np.concatenate([run(seed).reshape(16, 512) for seed in range(4)])
  assert len(np.unique(rows, axis=0)) == 64
  assert run(0, train=False) is x
  assert run(0, rate=0.0) is x


def test_only_words_are_kept_for_the_backward_pass():
  """A mask would be an array of the size of the activations."""
  x = jnp.ones((4, 16, 64))
  words = WORDS[:64].reshape(4, 16, 2)
  _, pull = jax.vjp(lambda x: drop_elements(x, words, 0.1), x)
  assert [leaf.shape for leaf in jax.tree.leaves(pull)] == [words.shape]
