# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The order and the random numbers are those of Grain and NumPy, exactly."""

import grain
import numpy as np
import pytest

from vit_jax.data import order
from vit_jax.data.draws import Draws, draw_words, make_key

POSITIONS = np.array([0, 1, 5, 16, 17, 40, 9_999, 10**12])


def draw(_, rng):
  """Numbers as a crop draws them, and more than are made at once."""
  numbers = [rng.uniform(0.05, 1.0), rng.uniform(-1.0, 2.0)]
  numbers += [int(rng.integers(n)) for n in (1, 300, 2, 10**9)]
  return numbers + [rng.uniform(0.0, 1.0) for _ in range(9)]


@pytest.mark.parametrize("size", [1, 2, 17, 360, 65_536, 65_537, 1_281_167])
@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_a_permutation_is_that_of_grain(size, seed):
  x = np.random.default_rng(0).integers(0, size, 20)
  expected = [
    grain.experimental.index_shuffle(i, max_index=size - 1, seed=seed, rounds=4)
    for i in x.tolist()
  ]
  assert order.permute(x.astype(np.uint64), size, seed).tolist() == expected


def test_a_small_set_is_permuted_whole():
  x = np.arange(360, dtype=np.uint64)
  assert sorted(order.permute(x, 360, 7).tolist()) == list(range(360))


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5])
@pytest.mark.parametrize("sizes", [[17], [70_001], [17, 40, 5]])
def test_the_order_is_that_of_grains_transformations(sizes, seed):
  weights, start, streams = [3.0, 2.0, 1.0][: len(sizes)], 0, []
  for number, size in enumerate(sizes):
    stream = grain.MapDataset.source(range(start, start + size))
    stream = stream.seed((seed + number) % 2**32).shuffle()
    streams.append(stream.repeat(2**62 // size))
    start += size
  whole = streams[0]
  if len(sizes) > 1:
    whole = grain.MapDataset.mix(streams, weights)
  random = whole.random_map(draw)
  found = order.Order(sizes, weights, seed)
  indices, words = found.take(POSITIONS)
  for position, index, some in zip(
    POSITIONS.tolist(), indices.tolist(), words.tolist(), strict=True
  ):
    assert index == whole[position]
    draws = Draws(found.key, position, some)
    assert draw(None, draws) == random[position]
    # The words are no more than a part of what is drawn.
    assert draw(None, Draws(found.key, position)) == random[position]


def test_words_are_those_of_numpy():
  bits = np.random.Philox(5)
  expected = bits.random_raw(12)
  found = draw_words(make_key(5), np.array([0]), blocks=3)
  np.testing.assert_array_equal(found[0], expected)
  later = draw_words(make_key(5), np.array([0]), first=2, blocks=1)
  np.testing.assert_array_equal(later[0], expected[8:])


def test_whole_numbers_are_drawn_without_bias():
  """Some words are refused, which NumPy does as well."""
  high = 3 * 2**30  # A quarter of all words.
  state = np.random.Philox(5).state
  state["state"]["counter"][3] = 2
  bits = np.random.Philox(5)
  bits.state = state
  rng = np.random.Generator(bits)
  draws = Draws(make_key(5), 2)
  expected = [int(rng.integers(high)) for _ in range(50)]
  assert [draws.integers(high) for _ in range(50)] == expected
