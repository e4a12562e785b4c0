# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of the layers of a model: their similarity, and norms of tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from vit_jax.plots.style import (
  COLOURS,
  CORRELATIONS,
  drawing,
  pick_ticks,
  spread,
)


def draw_similarity(
  similarity: Float[np.ndarray, "L L"], names: Sequence[str] = ()
) -> bytes:
  """Draws linear CKA between layers.

  Args:
    similarity: from `analysis.similarity.compute_layer_similarity`.
    names: of the layers; empty for their numbers.

  Returns:
    A PNG.
  """
  count = len(similarity)
  labels = list(names) or [str(i + 1) for i in range(count)]
  with drawing(4.8, 4.0) as drawn:
    axes = drawn.axes[0, 0]
    image = axes.imshow(
      similarity, cmap=CORRELATIONS, vmin=0, vmax=1, origin="lower"
    )
    axes.grid(False)
    ticks = pick_ticks(count, 12)
    axes.set_xticks(ticks, [labels[i] for i in ticks])
    axes.set_yticks(ticks, [labels[i] for i in ticks])
    axes.set_xlabel("depth (layer)")
    axes.set_ylabel("depth (layer)")
    drawn.figure.colorbar(image, ax=axes, label="linear CKA (0 to 1)")
  return drawn.png


def draw_norms(
  norms: Float[np.ndarray, "n L N"],
  outliers: Float[np.ndarray, " L"],
  class_tokens: int,
  registers: int,
) -> bytes:
  """Draws norms of tokens by depth, and how many patches are outliers.

  Args:
    norms: of all tokens of n images; class token, registers, patches.
    outliers: share of the patches, from `analysis.norms.find_outliers`.
    class_tokens: 0 or 1.
    registers: number of registers.

  Returns:
    A PNG.
  """
  from matplotlib.ticker import LogLocator, MaxNLocator

  layers = np.arange(1, norms.shape[1] + 1)
  across = spread(layers)
  norms = np.broadcast_to(norms, (len(norms), len(across), norms.shape[2]))
  patches = norms[:, :, class_tokens + registers :]
  low, median, high = np.quantile(patches, (0.05, 0.5, 0.95), axis=(0, 2))
  grid: Any = dict(sharex=True, gridspec_kw={"height_ratios": (3, 1)})
  with drawing(4.6, 4.2, 2, 1, **grid) as drawn:
    top, bottom = drawn.axes[:, 0]
    band = dict(color=COLOURS[0], alpha=0.2, lw=0)
    top.fill_between(across, low, high, **band, label="90 % of the patches")
    top.plot(across, median, color=COLOURS[0], label="their median")
    largest = patches.max(axis=(0, 2))
    style = dict(color=COLOURS[1], ls="--")
    top.plot(across, largest, **style, label="the largest")
    if class_tokens:
      mean = norms[:, :, 0].mean(axis=0)
      top.plot(across, mean, color=COLOURS[2], ls="-.", label="class token")
    if registers:
      mean = norms[:, :, class_tokens : class_tokens + registers].mean((0, 2))
      top.plot(across, mean, color=COLOURS[3], ls=":", label="registers")
    top.set_yscale("log")
    top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    top.yaxis.set_major_formatter("{x:g}")
    top.yaxis.set_minor_formatter("")
    top.set_ylabel("L2 norm of a token (no unit)")
    top.legend(loc="best")
    bottom.bar(layers, 100 * outliers, color=COLOURS[1])
    bottom.set_ylim(0, max(1.0, 120 * float(outliers.max())))
    bottom.set_ylabel("outliers\n(% of patches)")
    bottom.set_xlabel("depth (layer)")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
  return drawn.png
