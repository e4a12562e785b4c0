# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy on images whose texture is smoothed away between edges."""

import dataclasses
import functools
from typing import Annotated, Any

import jax
import numpy as np

from vit_jax.config import Interval
from vit_jax.evaluators.robustness import Changed, Robustness
from vit_jax.perturbations.texture import flatten
from vit_jax.sharding import constrain
from vit_jax.train_state import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texture(Robustness):
  """Accuracy on images whose texture is smoothed away between edges.

  By the diffusion of Perona and Malik, 1990, see `perturbations.texture`.

  Attributes:
    scales: standard deviations that the smoothing would have without edges, in
      percent of the shorter side.
    edge: difference of neighbouring pixels, of 255, that counts as an edge.
  """

  POINTS = "scales"
  AXIS = "standard deviation of the smoothing between edges (% of the side)"

  scales: tuple[Annotated[float, Interval("(0, 100]")], ...] = (
    1.0,
    2.0,
    4.0,
    8.0,
  )
  edge: Annotated[float, Interval("[0.001, 1e6]")] = 30.0

  @functools.cached_property
  def flatten(self) -> Any:
    """The jitted function (images, standard deviation in pixels) -> images."""

    def apply(images: jax.Array, sigma: jax.Array) -> jax.Array:
      found = jax.vmap(lambda image: flatten(image, sigma, self.edge))(images)
      return constrain(found, "B H W c")

    return jax.jit(apply)

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields smoothed images."""
    del params, keys
    side = min(batch["image"].shape[1:3])
    for scale in self.scales:
      sigma = np.float32(scale / 100 * side)
      yield "smoothing", scale, self.flatten(batch["image"], sigma)
