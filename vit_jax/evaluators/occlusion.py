# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy on images of which a share of the patches is missing.

Naseer et al., 2021, "Intriguing Properties of Vision Transformers", arXiv
2105.10497, section 3.1: patches at random, the most salient, or the least. They
take the saliency of one self-supervised model for all; here it is the model's
own.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.config import ConfigError, Count, Interval, Rate
from vit_jax.evaluators.robustness import Changed, Robustness, choose_grid
from vit_jax.perturbations.patches import (
  drop,
  order_by_saliency,
  order_randomly,
)
from vit_jax.sharding import count_data_shards
from vit_jax.train_state import Batch
from vit_jax.train_step import split_batch

MOST = 2**28  # Bytes of attention weights on a device.

CURVES = ("random", "salient", "non_salient")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Occlusion(Robustness):
  """Accuracy on images of which a share of the patches is missing.

  Attributes:
    shares: of the patches that are missing.
    grid: number of patches along a side, or rows and columns; None is that of
      the model's tokens, and 14 or fewer for models without.
    fill: value of missing pixels, from 0, black, to 255.
    saliency: by which patches are ranked: "attention" is the last layer's, mean
      over its heads, of what the head reads; "gradient" that of the loss by the
      pixels, its absolute values. None is the first where the model has
      attention.

  Raises:
    ConfigError: for the attention of a model without; if no patch is missing.
  """

  POINTS = "shares"
  AXIS = "patches missing (%)"

  shares: tuple[Rate, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
  grid: Count | tuple[Count, Count] | None = None
  fill: Annotated[float, Interval("[0, 255]")] = 0.0
  saliency: Literal["attention", "gradient"] | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.saliency == "attention" and not self._has_attention:
      raise ConfigError(
        f"saliency='attention' is for models with attention, and "
        f"{type(self.objective.model).__name__} has none: leave it out"
      )
    if not self.count_missing():
      raise ConfigError(
        f"shares={self.shares} of an evaluation: of {self.cells[0]} x "
        f"{self.cells[1]} patches no patch would be missing: give larger ones"
      )

  @property
  def _has_attention(self) -> bool:
    return hasattr(self.objective.model, "attention")

  @functools.cached_property
  def cells(self) -> tuple[int, int]:
    """Rows and columns of patches."""
    size = self.data.make_preprocess(self.channels).size
    return choose_grid(self.objective.model, size, self.grid)

  def compute_saliency(self, params: Any, batch: Batch) -> jax.Array:
    """Saliency of patches [B h w] or of pixels [B H W]."""
    how = self.saliency or ("attention" if self._has_attention else "gradient")
    if how == "gradient":
      gradient = self.compute_gradient(params, batch, batch["image"])
      return jnp.abs(gradient).sum(axis=3)
    parts = self.count_parts(len(batch["mask"]))
    found = jax.lax.map(
      functools.partial(self.attend, params), split_batch(batch, parts)
    )
    found = jnp.moveaxis(found, 0, 1)
    return found.reshape(-1, *found.shape[2:])

  def attend(self, params: Any, batch: Batch) -> jax.Array:
    """How much the last layer attends to each patch [B h w]."""
    model = self.objective.model
    image = self.data.prepare(batch)["image"]
    _, found = model.apply({"params": params}, image, intermediates=True)
    layout = model.make_layout(*image.shape[1:3])
    if "pooling" in found:
      return found["pooling"].mean(axis=1).reshape(-1, *layout.grid)
    rows = found["attention"][-1].mean(axis=1)[:, :, layout.prefix :]
    read = rows[:, :1] if layout.class_tokens else rows[:, layout.prefix :]
    return read.mean(axis=1).reshape(-1, *layout.grid)

  def count_parts(self, size: int) -> int:
    """Parts of a batch whose attention weights, of all layers, fit one by one.

    Args:
      size: B.
    """
    model = self.objective.model
    image = self.data.make_preprocess(self.channels).size
    tokens = model.make_layout(*image).tokens
    each = 4 * model.depth * model.num_heads * tokens**2
    rows = size // count_data_shards(self.mesh)
    fitting = (
      x for x in range(1, rows) if rows % x == 0 and each * rows <= x * MOST
    )
    return next(fitting, rows)

  @functools.cached_property
  def rank(self) -> Any:
    """The jitted function (params, batch, keys) -> an order for each curve."""

    def rank(params: Any, batch: Batch, keys: jax.Array) -> list[jax.Array]:
      order = order_by_saliency(
        self.compute_saliency(params, batch), self.cells
      )
      drawn = order_randomly(keys, int(np.prod(self.cells)))
      return [drawn, order, order[:, ::-1]]

    return jax.jit(rank)

  @functools.cached_property
  def drop(self) -> Any:
    """The jitted function (images, order, count) -> images."""
    return jax.jit(
      lambda images, order, count: drop(
        images, order, count, self.cells, self.fill
      )
    )

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields images without some of their patches."""
    orders = self.rank(params, batch, keys)
    for name, order in zip(CURVES, orders, strict=True):
      for share, count in self.count_missing():
        images = self.drop(batch["image"], order, np.int32(count))
        yield name, share, images

  def count_missing(self) -> Sequence[tuple[float, int]]:
    """(percent, patches) of each share, rounded to whole patches."""
    whole = int(np.prod(self.cells))
    counts = {round(share * whole) for share in self.shares} - {0}
    return [(100 * count / whole, count) for count in sorted(counts)]
