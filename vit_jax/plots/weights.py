# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of what stands in the parameters: positions and filters."""

import numpy as np
from jaxtyping import Float

from vit_jax.plots.style import CORRELATIONS, drawing, hide_axes, make_mosaic

TILES = 14  # A side: of larger grids every second position or so is shown.


def draw_positions(similarity: Float[np.ndarray, "h w h w"]) -> bytes:
  """Draws the similarity of position embeddings (ViT paper, figure 7 centre).

  A tile is a position, at its place; a pixel of it is another position.

  Args:
    similarity: from `analysis.positions.compute_position_similarity`.

  Returns:
    A PNG.
  """
  rows, columns = similarity.shape[:2]
  step = -(-max(rows, columns) // TILES)
  y, x = np.arange(0, rows, step), np.arange(0, columns, step)
  tiles = similarity[::step, ::step]
  picture, middles_y, middles_x = make_mosaic(tiles, max(1, rows // 10))
  height = 0.8 + 4.7 * min(1.5, picture.shape[0] / picture.shape[1])
  with drawing(5.8, height, palette=CORRELATIONS) as drawn:
    axes = drawn.axes[0, 0]
    image = axes.imshow(
      picture, cmap=CORRELATIONS, vmin=-1, vmax=1, interpolation="nearest"
    )
    axes.grid(False)
    axes.set_xticks(middles_x, x + 1)
    axes.set_yticks(middles_y, y + 1)
    for spine in axes.spines.values():
      spine.set_visible(False)
    axes.set_xlabel("column (patches)")
    axes.set_ylabel("row (patches)")
    label = "cosine similarity (-1 to 1)"
    drawn.figure.colorbar(image, ax=axes, label=label, shrink=0.8)
  return drawn.png


def draw_components(
  components: Float[np.ndarray, "n P P c"], variances: Float[np.ndarray, " n"]
) -> bytes:
  """Draws principal components of filters (ViT paper, figure 7 left).

  In colours where the channels are three, in grey otherwise; grey in the middle
  is zero, and each is scaled to its own largest value.

  Args:
    components: from `analysis.filters.compute_components`.
    variances: their shares of the variance.

  Returns:
    A PNG.
  """
  if components.shape[-1] != 3:
    components = components.mean(axis=-1, keepdims=True)
    components = np.repeat(components, 3, axis=-1)
  largest = np.abs(components).max(axis=(1, 2, 3), keepdims=True)
  tiles = 0.5 + 0.5 * components / np.maximum(largest, 1e-30)
  columns = 7
  rows = -(-len(tiles) // columns)
  with drawing(5.6, 0.92 * rows + 0.1, rows, columns) as drawn:
    for axes in drawn.axes.flat:
      axes.set_axis_off()
    for axes, tile, share in zip(
      drawn.axes.flat, tiles, variances, strict=False
    ):
      axes.set_axis_on()
      axes.imshow(tile, interpolation="nearest")
      hide_axes(axes)
      axes.set_title(f"{100 * share:.1f} %", fontsize=8, pad=3)
  return drawn.png
