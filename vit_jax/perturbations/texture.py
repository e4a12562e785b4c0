# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Removal of texture: smoothing that stops at edges, without further data.

Perona and Malik, 1990, "Scale-space and edge detection using anisotropic
diffusion", equations 7 and 8, with the first of their functions of the
gradient, and one gradient for all channels. Studies of texture and shape
(Geirhos et al., 2019, arXiv 1811.12231) paint images in another style, which
needs data; this flattens the fine and faint and keeps strong edges, so what
texture has strong edges stays.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LARGEST = 0.125  # Step; at 0.25, still stable, neighbours would take turns.


def flatten(
  image: Float[Array, "H W c"], sigma: Float[Array, ""], edge: float
) -> Float[Array, "H W c"]:
  """Diffuses an image for as long as without edges would blur it by sigma.

  Args:
    image: pixels.
    sigma: standard deviation of that blur in pixels.
    edge: difference of neighbours, as a root mean square over the channels, at
      which the flow between them is 1/e of its part without an edge.
  """
  # A step of size t adds 2 t to the variance.
  count = jnp.ceil(sigma**2 / (2 * LARGEST)).astype(jnp.int32)
  size = sigma**2 / (2 * jnp.maximum(count, 1))

  def flow(x, axis):
    """What pixels give to their neighbours along an axis, and get."""
    gap = jnp.diff(x, axis=axis)
    square = jnp.mean(gap**2, axis=2, keepdims=True)
    moved = gap * jnp.exp(-square / edge**2)
    pads = [(0, 0)] * 3
    pads[axis] = (1, 1)
    return jnp.diff(jnp.pad(moved, pads), axis=axis)

  def step(_, x):
    return x + size * (flow(x, 0) + flow(x, 1))

  return jax.lax.fori_loop(0, count, step, image)
