# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Principal components of the patch filters (ViT paper, figure 7 left)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

# Paths of the filters that see pixels: hybrids, ResNets, Mixers, ViTs.
PATHS = (
  ("conv_root", "kernel"),
  ("root_block", "standardized_conv2d", "kernel"),
  ("stem", "kernel"),
  ("embedding", "kernel"),
)


def find_filters(params: Mapping[str, Any]) -> Float[np.ndarray, "P P c D"]:
  """Finds the filters of the first layer.

  Those of the patches; in hybrids and ResNets those of the first convolution,
  for the patches of a hybrid are of features.
  """
  for path in PATHS:
    found: Any = params
    for name in path:
      found = found.get(name) if isinstance(found, Mapping) else None
    if found is not None:
      return np.asarray(found, np.float32)
  raise ValueError(f"parameters have none of {PATHS}")


def compute_components(
  filters: Float[np.ndarray, "P P c D"], count: int = 28
) -> tuple[Float[np.ndarray, "n P P c"], Float[np.ndarray, " n"]]:
  """Principal components of filters, each a point of P P c values.

  Eigenvectors of the covariance of the D filters, by falling eigenvalue; their
  sign, which is arbitrary, makes the largest value positive.

  Args:
    filters: of the first layer.
    count: of components; the paper shows 28.

  Returns:
    The components, of unit norm, and the share of the variance of each.
  """
  shape = filters.shape[:-1]
  points = np.float64(filters).reshape(-1, filters.shape[-1]).T  # [D PPc]
  centred = points - points.mean(axis=0)
  _, values, rows = np.linalg.svd(centred, full_matrices=False)
  count = min(count, len(rows))
  variances = values**2 / max(np.square(values).sum(), np.finfo(float).tiny)
  rows = rows[:count]
  largest = np.abs(rows).argmax(axis=1)
  rows = rows * np.sign(rows[np.arange(count), largest])[:, None]
  return rows.reshape(-1, *shape), variances[:count]
