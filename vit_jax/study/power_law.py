# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Saturating power laws, E = a + b (C + d)^-c, fitted by least squares.

The form is that of "Scaling Vision Transformers" (Zhai et al., 2022, arXiv
2106.04560): E is an error rate and C the compute or data that it took.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

FEWEST = 4  # Points; there are four parameters.
EXPONENTS = (0.02, 4.0)
SHIFTS = (1e-3, 1e3)  # As a multiple of the smallest C; and none.
STEPS = 24  # Values of each in a search.
ROUNDS = 5  # Searches, each nearer around the best.
WIDTH = 2  # Values on either side of the best that the next one is between.


class PowerLaw(NamedTuple):
  """E = a + b (C / unit + d)^-c.

  Attributes:
    a: error that remains, from 0.
    b: from 0.
    c: exponent.
    d: shift, in units.
    unit: the smallest C.
  """

  a: float
  b: float
  c: float
  d: float
  unit: float

  def __call__(self, x: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """E at each C."""
    return self.a + self.b * (x / self.unit + self.d) ** -self.c


def fit(x: Float[np.ndarray, "n"], error: Float[np.ndarray, "n"]) -> PowerLaw:
  """Fits a law by least squares.

  For each exponent and shift a and b are found in closed form, for each
  exponent of a grid the best shift, and then the grid is drawn around the best.
  Not around the best of both together: they make up for one another, so that
  it may be far from the best of all.

  Args:
    x: C, positive.
    error: E.

  Raises:
    ValueError: for fewer than FEWEST different C.
  """
  if len(np.unique(x)) < FEWEST:
    raise ValueError(
      f"{len(np.unique(x))} different points, and the law has {FEWEST} "
      f"parameters"
    )
  unit = float(x.min())
  exponents = np.geomspace(*EXPONENTS, STEPS)
  for _ in range(ROUNDS):
    shifts, losses = _find_shifts(x / unit, error, exponents)
    best = int(losses.argmin())
    c, d = float(exponents[best]), float(shifts[best])
    exponents = _zoom(exponents[None], np.array([best]))[0]
  a, b = _solve((x[None] / unit + d) ** -c, error)
  return PowerLaw(float(a[0]), float(b[0]), c, d, unit)


def _find_shifts(
  x: Float[np.ndarray, "n"],
  error: Float[np.ndarray, "n"],
  exponents: Float[np.ndarray, "m"],
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
  """The best shift for each exponent, and its loss."""
  shifts = np.append(0, np.geomspace(*SHIFTS, STEPS))
  shifts = np.tile(shifts, (len(exponents), 1))
  rows = np.arange(len(exponents))
  for _ in range(ROUNDS):
    basis = (x + shifts[..., None]) ** -exponents[:, None, None]
    flat = basis.reshape(-1, len(x))
    a, b = _solve(flat, error)
    losses = np.square(a[:, None] + b[:, None] * flat - error).sum(axis=1)
    losses = losses.reshape(shifts.shape)
    best = losses.argmin(axis=1)
    found = shifts[rows, best], losses[rows, best]
    shifts = _zoom(shifts, best)
  return found


def _solve(
  basis: Float[np.ndarray, "m n"], error: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
  """The a and b, from 0, that fit a + b basis best, of each row."""
  centred = basis - basis.mean(axis=1, keepdims=True)
  variance = np.square(centred).sum(axis=1)
  b = (centred @ error) / np.maximum(variance, 1e-300)
  b = np.maximum(b, 0)
  a = error.mean() - b * basis.mean(axis=1)
  alone = (basis @ error) / np.square(basis).sum(axis=1)  # Where a is 0.
  return np.maximum(a, 0), np.where(a < 0, np.maximum(alone, 0), b)


def _zoom(
  values: Float[np.ndarray, "m n"], best: Int[np.ndarray, "m"]
) -> Float[np.ndarray, "m k"]:
  """Values around the one with this index, between the first and the last."""
  ends = np.clip([best - WIDTH, best + WIDTH], 0, values.shape[1] - 1)
  low, high = (values[np.arange(len(values)), end] for end in ends)
  return np.linspace(low, high, STEPS, axis=1)


def resample(
  x: Float[np.ndarray, "n"],
  errors: Sequence[Sequence[float]],
  rounds: int,
  seed: int = 0,
) -> list[PowerLaw]:
  """Fits laws to drawings of the seeds of each point, with replacement.

  Args:
    x: C.
    errors: of each point, E of its seeds.
    rounds: number of laws.
    seed: of the drawings.
  """
  rng = np.random.default_rng(seed)
  return [
    fit(x, np.asarray([rng.choice(z, len(z)).mean() for z in errors]))
    for _ in range(rounds)
  ]
