# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy on images whose tiles are shuffled.

Naseer et al., 2021, "Intriguing Properties of Vision Transformers", arXiv
2105.10497, section 3.3.
"""

import dataclasses
import functools
from typing import Any

import jax

from vit_jax.config import ConfigError, Count
from vit_jax.evaluators.robustness import Changed, Robustness
from vit_jax.perturbations.patches import list_grids, shuffle
from vit_jax.train_state import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shuffle(Robustness):
  """Accuracy on images whose tiles are shuffled.

  Attributes:
    grids: numbers of tiles along a side; None is those of 2, 4, 7, 8, 14 and 16
      that divide both sides of an image. Where one does not, a border of it
      stays in its place.

  Raises:
    ConfigError: for more tiles than pixels.
  """

  POINTS = "grids"
  AXIS = "tiles along a side"
  CLEAN = 1.0

  grids: tuple[Count, ...] | None = None

  def __post_init__(self):
    super().__post_init__()
    size = self.data.make_preprocess(self.channels).size
    for grid in self.grids or ():
      if grid > min(size):
        raise ConfigError(
          f"grids={self.grids} of an evaluation: images of {size[0]} x "
          f"{size[1]} pixels do not have {grid} tiles along a side"
        )

  @functools.cached_property
  def shuffle(self) -> Any:
    """The jitted function (images, keys, grid) -> images."""
    return jax.jit(shuffle, static_argnums=2)

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields images of shuffled tiles."""
    del params
    size = (batch["image"].shape[1], batch["image"].shape[2])
    for grid in list_grids(size) if self.grids is None else self.grids:
      yield "tiles", float(grid), self.shuffle(batch["image"], keys, grid)
