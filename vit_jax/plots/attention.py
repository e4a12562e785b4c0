# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of attention by layer and head."""

import math

import numpy as np
from jaxtyping import Float

from vit_jax.plots.style import (
  COLOURS,
  MAP,
  drawing,
  make_mosaic,
  pick_ticks,
  spread,
)


def draw_maps(maps: Float[np.ndarray, "L K h w"]) -> bytes:
  """Draws the map of every head of an image, each up to its own largest value.

  Args:
    maps: from `analysis.attention.read_maps`.

  Returns:
    A PNG.
  """
  layers, heads, rows, _ = maps.shape
  scaled = maps / np.maximum(maps.max(axis=(2, 3), keepdims=True), 1e-30)
  tiles = np.swapaxes(scaled, 0, 1)  # Depth goes from left to right.
  picture, y, x = make_mosaic(tiles, gap=max(1, rows // 12))
  height = 1.4 + 7.4 * min(1.5, picture.shape[0] / picture.shape[1])
  with drawing(8.2, height, palette=MAP) as drawn:
    axes = drawn.axes[0, 0]
    image = axes.imshow(picture, cmap=MAP, vmin=0, vmax=1)
    axes.grid(False)
    ticks = pick_ticks(layers)
    axes.set_xticks([x[i] for i in ticks], [i + 1 for i in ticks])
    ticks = pick_ticks(heads)
    axes.set_yticks([y[i] for i in ticks], [i + 1 for i in ticks])
    for spine in axes.spines.values():
      spine.set_visible(False)
    axes.set_xlabel("depth (layer)")
    axes.set_ylabel("head (number)")
    drawn.figure.colorbar(
      image,
      ax=axes,
      location="bottom",
      label="weight of a patch (as a share of the map's largest)",
      shrink=0.5,
      aspect=30,
    )
  return drawn.png


def draw_distance(
  distance: Float[np.ndarray, "n L K"], diagonal: float
) -> bytes:
  """Draws mean attention distance by depth (ViT paper, figure 7 right).

  Args:
    distance: in pixels, of n images.
    diagonal: of an image, in pixels; nothing is farther apart.

  Returns:
    A PNG.
  """
  return _draw_heads(
    distance,
    "mean attention distance (px)",
    min(diagonal, 1.25 * float(distance.max())),
  )


def draw_entropy(entropy: Float[np.ndarray, "n L K"], tokens: int) -> bytes:
  """Draws the entropy of attention by depth.

  Args:
    entropy: in bits, of n images.
    tokens: N, of which uniform attention has the entropy log2 N.

  Returns:
    A PNG.
  """
  return _draw_heads(
    entropy,
    "entropy of attention (bits)",
    1.05 * math.log2(max(2, tokens)),
    (math.log2(tokens), f"all {tokens:,} tokens alike"),
  )


def _draw_heads(
  values: Float[np.ndarray, "n L K"],
  name: str,
  top: float,
  limit: tuple[float, str] | None = None,
) -> bytes:
  """Draws a point a head, the mean over the images, by layer."""
  from matplotlib.ticker import MaxNLocator

  means = values.mean(axis=0)
  layers = np.arange(1, len(means) + 1)
  with drawing(4.6, 3.2) as drawn:
    axes = drawn.axes[0, 0]
    for head, column in enumerate(means.T):
      axes.plot(
        *(layers, column, "o"),
        **dict(ms=4.5, alpha=0.75, mew=0, color=COLOURS[0]),
        label="a head" if head == 0 else None,
      )
    across = spread(layers)
    axes.plot(
      *(across, np.broadcast_to(means.mean(axis=1), across.shape)),
      **dict(color=COLOURS[1], label="mean of the heads"),
    )
    if limit:
      axes.axhline(limit[0], color="#444444", ls="--", lw=1, label=limit[1])
    axes.set_xlim(0.5, len(means) + 0.5)
    axes.set_ylim(0, top)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("depth (layer)")
    axes.set_ylabel(name)
    axes.legend(loc="best")
  return drawn.png
