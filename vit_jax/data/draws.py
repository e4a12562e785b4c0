# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The random numbers of an example: those of NumPy's Philox, for less.

They are a function of (seed, position); a whole batch's are made at once.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt64

# Philox 4x64 (Salmon et al., 2011), with 10 rounds, as NumPy has it.
FACTORS = np.array([0xD2E7470EE14C6C93, 0xCA5A826395121157], np.uint64)
STEPS = np.array([0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B], np.uint64)
ROUNDS = 10

BLOCKS = 2  # Of four words, which a crop needs hardly ever more than.
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def make_key(seed: int) -> UInt64[np.ndarray, "2"]:
  """Makes the key of NumPy's Philox with this seed."""
  return np.random.SeedSequence(seed).generate_state(2, np.uint64)


def multiply(
  x: UInt64[np.ndarray, "2 ..."], factors: UInt64[np.ndarray, "2 ..."]
) -> tuple[UInt64[np.ndarray, "2 ..."], UInt64[np.ndarray, "2 ..."]]:
  """Multiplies to 128 bits: the high and the low words."""
  a, b = x >> HALF, x & LOW
  c, d = factors >> HALF, factors & LOW
  middle = b * c + (b * d >> HALF)
  rest = a * d + (middle & LOW)
  return a * c + (middle >> HALF) + (rest >> HALF), x * factors


def draw_words(
  key: UInt64[np.ndarray, "2"],
  positions: Int64[np.ndarray, "n"],
  first: int = 0,
  blocks: int = BLOCKS,
) -> UInt64[np.ndarray, "n words"]:
  """Draws the random words of positions: the same as NumPy's Philox.

  Args:
    key: of `make_key`.
    positions: the examples'; the counter of Philox begins at (0, 0, 0,
      position).
    first: number of blocks to skip.
    blocks: number of blocks, of four words each.
  """
  shape = (len(positions), blocks)
  # A pair of words each: those that are multiplied, and those that are added.
  pair = np.zeros((2, *shape), np.uint64)
  pair[0] = np.arange(first + 1, first + 1 + blocks, dtype=np.uint64)
  other = np.zeros((2, *shape), np.uint64)
  other[1] = positions.astype(np.uint64)[:, None]
  factors = FACTORS[:, None, None]
  for number in range(ROUNDS):
    keys = key + np.uint64(number) * STEPS
    high, low = multiply(pair, factors)
    pair, other = high[::-1] ^ other ^ keys[:, None, None], low[::-1]
  words = np.stack([pair[0], other[0], pair[1], other[1]], axis=-1)
  return words.reshape(len(positions), 4 * blocks)


class Draws:
  """The random numbers of one example.

  Two methods of numpy.random.Generator, with the numbers that one of Philox
  gives; making a generator takes longer than cropping a small image.
  """

  def __init__(
    self,
    key: UInt64[np.ndarray, "2"],
    position: int,
    words: Sequence[int] = (),
  ):
    """Begins at the first number.

    Args:
      key: of `make_key`.
      position: the example's.
      words: of `draw_words`, if they are known.
    """
    self._key, self._position, self._words = key, position, list(words)
    self._used = 0
    self._half: int | None = None

  def _next(self) -> int:
    if self._used == len(self._words):
      position = np.array([self._position])
      more = draw_words(self._key, position, self._used // 4, 1)
      self._words += more[0].tolist()
    self._used += 1
    return self._words[self._used - 1]

  def _next_half(self) -> int:
    if self._half is None:
      word = self._next()
      self._half = word >> 32
      return word & 0xFFFFFFFF
    half, self._half = self._half, None
    return half

  def uniform(self, low: float, high: float) -> float:
    """Draws from [low, high)."""
    return low + (high - low) * ((self._next() >> 11) * 2.0**-53)

  def integers(self, high: int) -> int:
    """Draws from 0 to high - 1, without bias (Lemire, 2019)."""
    if high == 1:
      return 0
    product = self._next_half() * high
    if product & 0xFFFFFFFF < high:
      least = (2**32 - high) % high
      while product & 0xFFFFFFFF < least:
        product = self._next_half() * high
    return product >> 32
