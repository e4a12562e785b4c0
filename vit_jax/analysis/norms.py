# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Norms of tokens, and the outliers among them that registers remove.

Darcet et al., 2024, "Vision Transformers Need Registers", arXiv 2309.16588,
section 2: large models put what concerns the whole image into a few patches of
dull background, whose norm is then several times that of the others.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# The paper reads its limit off a histogram of DINOv2-g, whose patches have
# norms of about 50 and whose outliers begin at 150.
OUTLIER = 3.0


def compute_norms(
  residual: Float[Array | np.ndarray, "L B N D"],
) -> Float[Array, "B L N"]:
  """L2 norm of every token after every block."""
  x = jnp.asarray(residual, jnp.float32)
  return jnp.moveaxis(jnp.sqrt(jnp.square(x).sum(axis=-1)), 0, 1)


def find_outliers(
  norms: Float[np.ndarray, "*B n"], factor: float = OUTLIER
) -> Bool[np.ndarray, "*B n"]:
  """Which patches have a norm above `factor` times their image's median.

  Args:
    norms: of patches only, without class token and registers.
    factor: how far above.
  """
  norms = np.asarray(norms)
  return norms > factor * np.median(norms, axis=-1, keepdims=True)
