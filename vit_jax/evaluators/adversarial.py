# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy under attacks: L-inf PGD, and adversarial patches.

Sources: see `perturbations.attacks`. The attacker knows the model, its
parameters and the label; the gradient passes through the normalisation.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from vit_jax.config import ConfigError, Count, Positive
from vit_jax.evaluators.robustness import Changed, Robustness, choose_grid
from vit_jax.perturbations.attacks import attack_pixels, attack_square
from vit_jax.perturbations.patches import place_squares
from vit_jax.train_state import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pgd(Robustness):
  """Accuracy under L-inf PGD (Madry et al., 2018).

  Attributes:
    epsilons: largest changes of a value, in 1/255.
    steps: of each attack, of 2.5 epsilon / steps, from a random start.
  """

  AXIS = "largest change of a value, epsilon (1/255)"

  epsilons: tuple[Positive, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
  steps: Count = 10

  @functools.cached_property
  def attack(self) -> Any:
    """The jitted function (params, batch, keys, epsilon) -> images."""

    def attack(
      params: Any, batch: Batch, keys: jax.Array, epsilon: jax.Array
    ) -> jax.Array:
      gradient = functools.partial(self.compute_gradient, params, batch)
      return attack_pixels(gradient, batch["image"], keys, epsilon, self.steps)

    return jax.jit(attack)

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields attacked images."""
    for epsilon in self.epsilons:
      images = self.attack(params, batch, keys, np.float32(epsilon))
      yield "linf", epsilon, images


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatchAttack(Robustness):
  """Accuracy under a patch that is made for each image.

  At a place that is drawn for each image: on the borders of the model's patches
  ("aligned"), or half of one off along both axes ("shifted").

  Attributes:
    sides: of the patch, in cells of the grid.
    grid: number of cells along a side, or rows and columns; None is that of the
      model's patches, and 14 or fewer for models without.
    steps: of each attack, from noise.

  Raises:
    ConfigError: if no patch fits.
  """

  AXIS = "side of the patch (% of the image's side)"

  sides: tuple[Count, ...] = (1, 2, 4)
  grid: Count | tuple[Count, Count] | None = None
  steps: Count = 20

  def __post_init__(self):
    if not self.find_sides():
      raise ConfigError(
        f"sides={self.sides} of an evaluation: patches have fewer cells than "
        f"the image, which has {self.cells[0]} x {self.cells[1]}"
      )

  @functools.cached_property
  def cells(self) -> tuple[int, int]:
    """Rows and columns that patches are aligned with."""
    size = self.data.make_preprocess(self.channels).size
    return choose_grid(self.objective.model, size, self.grid)

  def find_sides(self) -> tuple[int, ...]:
    """The sides that leave some of the image."""
    return tuple(x for x in self.sides if x < min(self.cells))

  @functools.cached_property
  def attack(self) -> Any:
    """The jitted function (params, batch, keys, side, shifted) -> images."""

    def attack(
      params: Any, batch: Batch, keys: jax.Array, side: int, shifted: bool
    ) -> jax.Array:
      places, starts = jax.vmap(jax.random.split, out_axes=1)(keys)
      size = (batch["image"].shape[1], batch["image"].shape[2])
      square = place_squares(places, size, self.cells, side, shifted)
      gradient = functools.partial(self.compute_gradient, params, batch)
      return attack_square(gradient, batch["image"], starts, square, self.steps)

    return jax.jit(attack, static_argnums=(3, 4))

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields images with a patch."""
    for name, shifted in (("aligned", False), ("shifted", True)):
      for side in self.find_sides():
        images = self.attack(params, batch, keys, side, shifted)
        yield name, 100 * side / self.cells[0], images
