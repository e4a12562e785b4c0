# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of an image: dropping them, shuffling them, and where patches lie.

Naseer et al., 2021, "Intriguing Properties of Vision Transformers", arXiv
2105.10497, sections 3.1 (occlusion) and 3.3 (shuffling).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vit_jax.sharding import constrain

# Sides of the grids that images are shuffled by.
GRIDS = (2, 4, 7, 8, 14, 16)


def find_edges(length: int, cells: int) -> Int[np.ndarray, " edges"]:
  """The first pixel of every cell along a side, and the end of the last."""
  return np.arange(cells + 1) * length // cells


def find_cells(
  size: tuple[int, int], grid: tuple[int, int]
) -> Int[np.ndarray, "H W"]:
  """The number of the cell that each pixel is in, in raster order."""
  y, x = (
    np.repeat(np.arange(cells), np.diff(find_edges(length, cells)))
    for length, cells in zip(size, grid, strict=True)
  )
  return y[:, None] * grid[1] + x[None]


def order_randomly(keys: jax.Array, cells: int) -> Int[Array, "B n"]:
  """Draws an order of the cells of each example."""
  return jax.vmap(lambda key: jax.random.permutation(key, cells))(keys)


def order_by_saliency(
  saliency: Float[Array, "B h w"], grid: tuple[int, int]
) -> Int[Array, "B n"]:
  """Orders the cells of each example, the most salient first.

  Args:
    saliency: of patches or pixels.
    grid: of the cells; what is finer is averaged over each.
  """
  if saliency.shape[1:] != grid:
    shape = (len(saliency), *grid)
    saliency = jax.image.resize(saliency, shape, "linear")
  return jnp.argsort(-saliency.reshape(len(saliency), -1), axis=1, stable=True)


def drop(
  images: Float[Array, "B H W c"],
  order: Int[Array, "B n"],
  count: Int[Array, ""] | int,
  grid: tuple[int, int],
  fill: float,
) -> Float[Array, "B H W c"]:
  """Replaces the first cells of an order by one value.

  Args:
    images: to be changed.
    order: of the cells of each.
    count: how many of them.
    grid: rows and columns of cells.
    fill: the value.
  """
  rank = jnp.argsort(order, axis=1)
  cells = find_cells((images.shape[1], images.shape[2]), grid)
  dropped = rank[:, cells] < count
  return constrain(jnp.where(dropped[..., None], fill, images), "B H W c")


def list_grids(size: tuple[int, int]) -> tuple[int, ...]:
  """Lists those of GRIDS that divide both sides of an image; else all."""
  fitting = tuple(x for x in GRIDS if x <= min(size))
  exact = tuple(x for x in fitting if size[0] % x == size[1] % x == 0)
  return exact or fitting


def shuffle(
  images: Float[Array, "B H W c"], keys: jax.Array, grid: int
) -> Float[Array, "B H W c"]:
  """Moves the tiles of each image to places that are drawn at random.

  Tiles are equal: pixels right of them and below stay where they are.

  Args:
    images: to be changed.
    keys: one an example.
    grid: tiles along a side; 1 changes nothing.
  """
  batch, height, width, channels = images.shape
  tall, wide = height // grid, width // grid
  down, right = grid * tall, grid * wide
  x = images[:, :down, :right]
  x = x.reshape(batch, grid, tall, grid, wide, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, grid**2, tall, wide, -1)
  x = jax.vmap(lambda tiles, order: tiles[order])(
    x, order_randomly(keys, grid**2)
  )
  x = x.reshape(batch, grid, grid, tall, wide, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, down, right, channels)
  return constrain(images.at[:, :down, :right].set(x), "B H W c")


def place_squares(
  keys: jax.Array,
  size: tuple[int, int],
  grid: tuple[int, int],
  cells: int,
  shifted: bool,
) -> Bool[Array, "B H W 1"]:
  """Draws a place for a patch in each image: the mask of its pixels.

  Args:
    keys: one an example.
    size: (H, W).
    grid: rows and columns of the cells that places are drawn of.
    cells: side of the patch, in cells; with `shifted` fewer than the grid's.
    shifted: by half a cell along both axes, so that it covers parts of one more
      along each.
  """

  def draw(key: jax.Array) -> Bool[Array, "H W 1"]:
    inside = []
    parts = zip(jax.random.split(key), size, grid, strict=True)
    for axis_key, length, count in parts:
      first = jax.random.randint(axis_key, (), 0, count - cells - shifted + 1)
      half = 2 * first + shifted
      low = half * length // (2 * count)
      high = (half + 2 * cells) * length // (2 * count)
      pixel = jnp.arange(length)
      inside.append((pixel >= low) & (pixel < high))
    return inside[0][:, None, None] & inside[1][None, :, None]

  return jax.vmap(draw)(keys)
