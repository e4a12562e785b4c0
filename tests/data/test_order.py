# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The order and the random numbers are those of Grain, exactly."""

import grain
import pytest

from vit_jax.data import order

POSITIONS = [0, 1, 5, 16, 17, 40, 9_999, 10**12]


def draw(_, rng):
  """Numbers as a crop draws them."""
  numbers = [rng.uniform(0.05, 1.0), rng.uniform(-1.0, 2.0)]
  numbers += [int(rng.integers(n)) for n in (1, 300, 2, 10**9)]
  return numbers + [rng.uniform(0.0, 1.0) for _ in range(9)]


@pytest.mark.parametrize("size", [1, 2, 360])
def test_an_epoch_has_every_example_once(size):
  for epoch in (0, 1, 10**6):
    positions = range(epoch * size, (epoch + 1) * size)
    found = [order.shuffle(x, size, 2**32 - 1) for x in positions]
    assert sorted(found) == list(range(size))


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5])
@pytest.mark.parametrize("sizes", [[1], [17], [70_001], [17, 40, 5]])
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
  for position in POSITIONS:
    assert found.find(position) == whole[position]
    assert draw(None, found.get_rng(position)) == random[position]
