# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy on images whose tiles are shuffled.

Naseer et al., 2021, "Intriguing Properties of Vision Transformers", arXiv
2105.10497, section 3.4.
"""

import dataclasses
import functools
from typing import Any

import jax

from vit_jax.config import ConfigError, Count
from vit_jax.evaluators.robustness import Changed, Robustness
from vit_jax.perturbations.patches import list_grids, shuffle
from vit_jax.train_state import Batch


@dataclasses.dataclass(frozen=True)
class Shuffle(Robustness):
  """Accuracy on images whose tiles are shuffled.

  Attributes:
    grids: numbers of tiles along a side, which divide both sides of an image;
      None is those of 2, 4, 7, 8, 14 and 16 that do.

  Raises:
    ConfigError: if one does not, or none is left.
  """

  AXIS = "tiles along a side"
  CLEAN = 1.0

  grids: tuple[Count, ...] | None = None

  def __post_init__(self):
    height, width = self.data.make_preprocess(self.channels).size
    for grid in self.grids or ():
      if height % grid or width % grid:
        raise ConfigError(
          f"grids={self.grids} of an evaluation: {grid} tiles do not divide "
          f"{height} x {width} pixels"
        )
    if not self.find_grids():
      raise ConfigError(
        f"{height} x {width} pixels have no grids of equal tiles: set grids of "
        f"the evaluation, or leave it out"
      )

  def find_grids(self) -> tuple[int, ...]:
    """The numbers of tiles along a side."""
    size = self.data.make_preprocess(self.channels).size
    return list_grids(size) if self.grids is None else self.grids

  @functools.cached_property
  def shuffle(self) -> Any:
    """The jitted function (images, keys, grid) -> images."""
    return jax.jit(shuffle, static_argnums=2)

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields images of shuffled tiles."""
    del params
    for grid in self.find_grids():
      yield "tiles", float(grid), self.shuffle(batch["image"], keys, grid)
