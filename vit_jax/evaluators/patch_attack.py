# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy under adversarial patches: see `perturbations.attacks`.

Gu et al., 2022, arXiv 2111.10659; Fu et al., 2022, arXiv 2203.08392. The
attacker knows what that of `pgd` knows.
"""

import dataclasses
import functools
from typing import Any

import jax

from vit_jax.config import ConfigError, Count
from vit_jax.evaluators.robustness import Changed, Robustness, choose_grid
from vit_jax.perturbations.attacks import attack_square
from vit_jax.perturbations.patches import place_squares
from vit_jax.train_state import Batch


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

  POINTS = "sides"
  AXIS = "side of the patch (% of the image's side)"

  sides: tuple[Count, ...] = (1, 2, 4)
  grid: Count | tuple[Count, Count] | None = None
  steps: Count = 20

  def __post_init__(self):
    super().__post_init__()
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
