# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The order of the training examples, and the random numbers of each.

Both are functions of (seed, position), where a position counts the examples of
all steps: a run resumes anywhere without a state. They are what Grain's
`seed(seed).shuffle().repeat().random_map(...)` gives, without its layers, which
cost more than a small image.
"""

import threading
from collections.abc import Sequence

import numpy as np

# The largest number of epochs that Grain can count.
ENDLESS = 2**62

ROUNDS = 4  # Of the cipher by which Grain permutes.


def derive_seed(*numbers: int) -> int:
  """Derives a seed of 32 bits, as Grain does for each transformation."""
  sequence = np.random.SeedSequence(numbers)
  return int(sequence.generate_state(1, np.uint32)[0])


def shuffle(position: int, size: int, seed: int) -> int:
  """Finds the example at a position of an endless series of epochs."""
  from grain.experimental import index_shuffle  # Late: it imports Orbax.

  epoch, place = divmod(position, size)
  seed = (seed + epoch) % 2**32
  return index_shuffle(place, max_index=size - 1, seed=seed, rounds=ROUNDS)


class _Generators(threading.local):
  """A random generator for each thread; making one costs more than its use."""

  def __init__(self):
    self._bits = np.random.Philox()
    self._rng = np.random.Generator(self._bits)

  def get(self, key: np.ndarray, position: int) -> np.random.Generator:
    """Returns the generator of a position, until the next call in a thread."""
    self._bits.state = {
      "bit_generator": "Philox",
      "state": {
        "counter": np.array([0, 0, 0, position], np.uint64),
        "key": key,
      },
      "buffer": np.zeros(4, np.uint64),
      "buffer_pos": 4,  # It is used up.
      "has_uint32": 0,
      "uinteger": 0,
    }
    return self._rng


GENERATORS = _Generators()


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
    self._starts = np.cumsum([0, *sizes]).tolist()
    # Grain counts how far its transformations are from where the seed is set.
    self._seeds = [derive_seed(x, 1) for x in seeds]
    depth = 3 if len(sizes) == 1 else 4
    of_crops = derive_seed(*(y for x in seeds for y in (x, depth)))
    self._key = np.random.SeedSequence(of_crops).generate_state(2, np.uint64)
    self._mix = None
    if len(sizes) > 1:
      import grain  # Late: it imports Orbax.

      streams = [
        grain.MapDataset.source(_Positions(number, ENDLESS // size * size))
        for number, size in enumerate(sizes)
      ]
      self._mix = grain.MapDataset.mix(streams, weights)

  def find(self, position: int) -> int:
    """Finds the index of an example, of all sources one after another."""
    number = 0
    if self._mix is not None:
      number, position = self._mix[position]
    found = shuffle(position, self._sizes[number], self._seeds[number])
    return self._starts[number] + found

  def get_rng(self, position: int) -> np.random.Generator:
    """Returns the random numbers of an example.

    They hold until the next call in the same thread.
    """
    return GENERATORS.get(self._key, position)
