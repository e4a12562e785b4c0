# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The order of the training examples, and the random numbers of each.

Both are functions of (seed, position), where a position counts the examples of
all steps: a run resumes anywhere without a state. They are what Grain's
`seed(seed).shuffle().repeat().random_map(...)` gives, and are computed here for
a whole batch at a time, which takes a tenth of the time.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt64

from vit_jax.data.draws import draw_words, make_key

# The largest number of epochs that Grain can count.
ENDLESS = 2**62

MIN_BITS = 16  # Numbers of at least so many bits are permuted.


def derive_seed(*numbers: int) -> int:
  """Derives a seed of 32 bits, as Grain does for each transformation."""
  sequence = np.random.SeedSequence(numbers)
  return int(sequence.generate_state(1, np.uint32)[0])


def make_round_keys(seed: int) -> list[int]:
  """Makes four keys of 32 bits, as std::seed_seq of C++ does."""
  size, mask = 4, 0xFFFFFFFF
  x = [0x8B8B8B8B] * size

  def mix(value):
    return value ^ (value >> 27)

  for k in range(2 * size):
    here, near, far = k % size, (k + 1) % size, (k + 2) % size
    last = x[(k - 1) % size]
    if k < size:
      a = 1664525 * mix(x[here] ^ x[near] ^ last) & mask
      b = a + (1 if k == 0 else here + (seed if k == 1 else 0)) & mask
      x[near], x[far] = x[near] + a & mask, x[far] + b & mask
    else:
      a = 1566083941 * mix(x[here] + x[near] + last & mask) & mask
      b = a - here & mask
      x[near], x[far] = x[near] ^ a, x[far] ^ b
    x[here] = b
  return x


def encrypt(
  x: UInt64[np.ndarray, "n"], seed: int, bits: int
) -> UInt64[np.ndarray, "n"]:
  """Permutes numbers of `bits` bits: four rounds of Simon, a block cipher."""
  half = bits // 2
  mask = np.uint64(2**half - 1)

  def turn(word, by):
    return word << np.uint64(by) | word >> np.uint64(half - by)

  def mix(word):
    return turn(word, 1) & turn(word, 8) ^ turn(word, 2)

  left, right = x >> np.uint64(half), x & mask
  for key in np.array(make_round_keys(seed), np.uint64):
    left, right = right, (left ^ mix(right) ^ key) & mask
  return left << np.uint64(half) | right


@functools.lru_cache(maxsize=8)
def make_table(size: int, seed: int) -> UInt64[np.ndarray, "n"]:
  """Makes the permutation of a small set in one epoch, cached."""
  table = encrypt(np.arange(2**MIN_BITS, dtype=np.uint64), seed, MIN_BITS)
  steps, places = table.tolist(), []
  for place in steps[:size]:
    while place >= size:  # Not of this set: go on from there.
      place = steps[place]
    places.append(place)
  return np.array(places, np.uint64)


def permute(
  x: UInt64[np.ndarray, "n"], size: int, seed: int
) -> UInt64[np.ndarray, "n"]:
  """Permutes the numbers below `size`, by an order that the seed decides."""
  if size == 1:
    return x
  if size <= 2**MIN_BITS:
    return make_table(size, seed)[x.astype(np.int64)]
  bits = math.ceil(math.log2(size - 1))
  bits += bits % 2
  x = encrypt(x, seed, bits)
  outside = np.flatnonzero(x >= size)
  while outside.size:
    x[outside] = encrypt(x[outside], seed, bits)
    outside = outside[x[outside] >= size]
  return x


def shuffle(
  positions: Int64[np.ndarray, "n"], size: int, seed: int
) -> Int64[np.ndarray, "n"]:
  """Finds the example at each position of an endless series of epochs."""
  epochs, places = np.divmod(positions, size)
  found = np.empty_like(positions)
  for epoch in np.unique(epochs).tolist():
    here = epochs == epoch
    order = (seed + epoch) % 2**32
    found[here] = permute(places[here].astype(np.uint64), size, order)
  return found


class _Positions(Sequence):
  """(number of a source, position in its series), for Grain to choose from."""

  def __init__(self, number: int, length: int):
    self._number, self._length = number, length

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, position):
    return self._number, position


class Order:
  """Which example is at a position, and its random numbers."""

  def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int):
    """Makes the order of one source, or of a mixture.

    Args:
      sizes: number of examples of each source.
      weights: how often each is drawn from, relative to the others.
      seed: decides everything.
    """
    seeds = [(seed + number) % 2**32 for number in range(len(sizes))]
    self._sizes = sizes
    self._starts = np.cumsum([0, *sizes])
    # Grain counts how far its transformations are from where the seed is set.
    self._seeds = [derive_seed(x, 1) for x in seeds]
    depth = 3 if len(sizes) == 1 else 4
    self.key = make_key(derive_seed(*(y for x in seeds for y in (x, depth))))
    self._mix = None
    if len(sizes) > 1:
      import grain  # Late: it imports Orbax.

      streams = [
        grain.MapDataset.source(_Positions(number, ENDLESS // size * size))
        for number, size in enumerate(sizes)
      ]
      self._mix = grain.MapDataset.mix(streams, weights)

  def take(
    self, positions: Int64[np.ndarray, "n"]
  ) -> tuple[Int64[np.ndarray, "n"], UInt64[np.ndarray, "n words"]]:
    """Finds the examples of positions, and their first random words.

    Returns:
      Indices of the examples, of all sources one after another; and what
      `draw_words` gives.
    """
    words = draw_words(self.key, positions)
    if self._mix is None:
      return shuffle(positions, self._sizes[0], self._seeds[0]), words
    pairs = np.array([self._mix[x] for x in positions.tolist()]).reshape(-1, 2)
    found = np.empty(len(positions), np.int64)
    for number in np.unique(pairs[:, 0]).tolist():
      here = pairs[:, 0] == number
      size, seed = self._sizes[number], self._seeds[number]
      found[here] = shuffle(pairs[here, 1], size, seed) + self._starts[number]
    return found, words
