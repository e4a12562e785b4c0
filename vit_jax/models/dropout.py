# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Dropout at the cost of a few instructions an element.

JAX's generator computes about a hundred instructions for a random number. At a
number for every activation that is as much time as the rest of a block takes
on a TPU (docs/performance.md). Here the generator draws two words for every
token; an element's number is a hash of these and of its channel.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, UInt32


def draw_elements(
  words: UInt32[Array, "... 2"], channels: int
) -> UInt32[Array, "... D"]:
  """Draws a random number of 32 bits for every channel of every row.

  Two rounds of multiplication and shift, with the constants of Wellons' hash
  lowbias32; each round takes in one of the row's words. The last shift of that
  hash is left out, as it leaves the upper half as it is, by which dropout
  decides.

  Args:
    words: two random words for each row.
    channels: D.
  """
  # Weyl's sequence: neighbouring channels begin far apart.
  start = jnp.arange(channels, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
  x = words[..., :1] + lax.expand_dims(start, range(words.ndim - 1))
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D) + words[..., 1:]
  return (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def drop_elements(
  x: Float[Array, "... D"], words: UInt32[Array, "... 2"], rate: float
) -> Float[Array, "... D"]:
  """Sets elements to zero with a probability, and scales up the others.

  The backward pass draws the same numbers again: only `words` are kept.

  Args:
    x: array.
    words: two random words for each row.
    rate: probability in (0, 1).
  """
  keep = draw_elements(words, x.shape[-1]) >= jnp.uint32(round(rate * 2**32))
  return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def _drop_forward(x, words, rate):
  return drop_elements(x, words, rate), words


def _drop_backward(rate, words, gradient):
  return drop_elements(gradient, words, rate), None


drop_elements.defvjp(_drop_forward, _drop_backward)


class Dropout(nn.Module):
  """Dropout (Srivastava et al., 2014); the random key is "dropout".

  Attributes:
    rate: probability with which an element is set to zero, in [0, 1).
  """

  rate: float

  @nn.compact
  def __call__(
    self, x: Float[Array, "... D"], train: bool
  ) -> Float[Array, "... D"]:
    if self.rate == 0 or not train:
      return x
    key = self.make_rng("dropout")
    words = jax.random.bits(key, (*x.shape[:-1], 2), jnp.uint32)
    return drop_elements(x, words, self.rate)
