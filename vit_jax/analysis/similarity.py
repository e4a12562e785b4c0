# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Linear CKA: how alike two layers represent the same examples.

Kornblith et al., 2019, "Similarity of Neural Network Representations
Revisited", arXiv 1905.00414, section 3; between the layers of ViTs by Raghu et
al., 2021, arXiv 2108.08810, figure 1.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def compute_cka(
  x: Float[np.ndarray, "n D"], y: Float[np.ndarray, "n E"]
) -> float:
  """Linear CKA of two representations of the same n examples.

  ||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F) of columns whose mean is subtracted: 1 if
  they are equal up to a rotation and a factor, 0 if they are uncorrelated. With
  few examples it is too large; n should exceed D. NaN if a representation is
  the same for all examples.
  """
  x, y = (z - z.mean(axis=0) for z in map(np.float64, (x, y)))
  return _compute_products([x, y])[0, 1]


def compute_layer_similarity(
  layers: Sequence[Float[np.ndarray, "n _"]],
) -> Float[np.ndarray, "L L"]:
  """Linear CKA of each layer with each other, of the same n examples."""
  return _compute_products(
    [z - z.mean(axis=0) for z in map(np.float64, layers)]
  )


def _compute_products(
  layers: Sequence[Float[np.ndarray, "n _"]],
) -> Float[np.ndarray, "L L"]:
  """CKA of centred columns, one product of two layers at a time."""
  products = np.zeros((len(layers), len(layers)))
  for i, x in enumerate(layers):
    for j, y in enumerate(layers[: i + 1]):
      # The smaller of X'Y [D E] and of the Gram matrices [n n].
      if x.shape[1] * y.shape[1] <= len(x) ** 2:
        products[i, j] = products[j, i] = np.square(x.T @ y).sum()
      else:
        products[i, j] = products[j, i] = np.sum((x @ x.T) * (y @ y.T))
  norms = np.sqrt(np.diag(products))
  with np.errstate(invalid="ignore"):
    return products / (norms[:, None] * norms[None])
