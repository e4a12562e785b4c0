# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Saturating power laws, E = a + b (C + d)^-c, fitted by least squares.

The form is that of "Scaling Vision Transformers" (Zhai et al., 2022, arXiv
2106.04560): E is an error rate and C the compute or data that it took.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FEWEST = 4  # Points; there are four parameters.
EXPONENTS = (0.02, 4.0)
SHIFTS = (1e-3, 1e3)  # As a multiple of the smallest C; and none.
STEPS = 24  # Values of each in a search.
ROUNDS = 16  # Searches, each nearer around the best.
WIDTH = 7  # Values on either side of the best that the next one is between.


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

  For each exponent and shift of a grid a and b are found in closed form; then
  the grid is drawn around the best.

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
  exponents = np.geomspace(EXPONENTS[0], EXPONENTS[1], STEPS)
  shifts = np.append(0, np.geomspace(SHIFTS[0], SHIFTS[1], STEPS))
  for _ in range(ROUNDS):
    c, d = (z.ravel() for z in np.meshgrid(exponents, shifts))
    basis = (x / unit + d[:, None]) ** -c[:, None]
    a, b = _solve(basis, error)
    losses = np.square(a[:, None] + b[:, None] * basis - error).sum(axis=1)
    best = int(losses.argmin())
    a_best, b_best, c_best, d_best = (float(z[best]) for z in (a, b, c, d))
    found = PowerLaw(a_best, b_best, c_best, d_best, unit)
    exponents = _zoom(exponents, found.c)
    shifts = _zoom(shifts, found.d)
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
  values: Float[np.ndarray, "n"], best: float
) -> Float[np.ndarray, "m"]:
  """Values around the best."""
  at = int(np.abs(values - best).argmin())
  low, high = max(0, at - WIDTH), min(len(values) - 1, at + WIDTH)
  half = (values[high] - values[low]) / 2  # It may move beyond the last ones.
  return np.linspace(max(0, best - half), best + half, STEPS)


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
