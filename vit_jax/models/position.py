# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Position embeddings (ViT paper, section 3.1 and appendix D.4).

Tokens come in the order class token, registers, patches in raster order.
Registers have no position of any kind.
"""

import dataclasses
import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Kinds that are vectors added to tokens; the others act within attention.
ADDED = ("learned_1d", "learned_2d", "sincos_2d")

SINCOS_PERIOD = 10_000.0
ROPE_PERIOD = 100.0


@dataclasses.dataclass(frozen=True)
class Layout:
  """Where the tokens of a sequence come from.

  Attributes:
    grid: (h, w) of the patches.
    class_tokens: 0 or 1.
    registers: how many.
  """

  grid: tuple[int, int]
  class_tokens: int
  registers: int

  @property
  def prefix(self) -> int:
    """How many tokens come before the patches."""
    return self.class_tokens + self.registers

  @property
  def places(self) -> int:
    """How many tokens have a place in the 1-D order: all but registers."""
    return self.class_tokens + math.prod(self.grid)

  @property
  def tokens(self) -> int:
    """N."""
    return self.prefix + math.prod(self.grid)


class PositionEmbedding(nn.Module):
  """A vector for every token, to be added to it.

  Attributes:
    kind: "learned_1d", one vector a token in raster order, that of the class
      token first; "learned_2d", one of D/2 a column beside one of D/2 a row;
      "sincos_2d", fixed sines and cosines of column and row (Beyer et al.,
      2022, arXiv 2205.01580). In two dimensions the class token's is zero.
    layout: of the tokens.
    width: D.
  """

  kind: Literal["learned_1d", "learned_2d", "sincos_2d"]
  layout: Layout
  width: int

  @nn.compact
  def __call__(self) -> Float[Array, "1 N D"]:
    rows, columns = self.layout.grid
    normal = nn.initializers.normal(0.02)
    if self.kind == "learned_1d":
      shape = (1, self.layout.places, self.width)
      placed = self.param("pos_embedding", normal, shape)
      cls, patches = jnp.split(placed, [self.layout.class_tokens], axis=1)
    else:
      cls = jnp.zeros((1, self.layout.class_tokens, self.width))
      if self.kind == "learned_2d":
        half = self.width // 2
        x = self.param("x_embedding", normal, (columns, half))
        y = self.param("y_embedding", normal, (rows, half))
      else:
        x = get_sincos(columns, self.width // 2)
        y = get_sincos(rows, self.width // 2)
      patches = join_axes(x, y)[None]
    registers = jnp.zeros((1, self.layout.registers, self.width))
    return jnp.concatenate([cls, registers, patches], axis=1)


def join_axes(
  x: Float[Array, "w E"], y: Float[Array, "h E"]
) -> Float[Array, "N D"]:
  """A vector a column beside a vector a row, for every cell in raster order."""
  shape = (y.shape[0], x.shape[0], x.shape[1])
  x, y = jnp.broadcast_to(x[None], shape), jnp.broadcast_to(y[:, None], shape)
  return jnp.concatenate([x, y], axis=-1).reshape(-1, 2 * shape[-1])


def get_sincos(length: int, features: int) -> Float[Array, "N E"]:
  """Sines, then cosines, of places 0 to N - 1 at E/2 frequencies.

  The longest period is 2 pi times 10,000, the shortest 2 pi.
  """
  count = features // 2
  exponents = jnp.arange(count, dtype=jnp.float32) / max(1, count - 1)
  frequencies = SINCOS_PERIOD**-exponents
  angles = jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies[None]
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def get_rotation(layout: Layout, head_size: int) -> Float[Array, "1 N C2"]:
  """Angles of the axial rotary embedding, in radians; C2 is C/2.

  The first half of the pairs of features turns with the column, the second
  with the row, in patches (Heo et al., 2024, arXiv 2403.13298, section 3.1).
  The class token and registers are not turned.
  """
  rows, columns = layout.grid
  count = head_size // 4
  exponents = jnp.arange(count, dtype=jnp.float32) / count
  frequencies = ROPE_PERIOD**-exponents
  x, y = (
    jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies[None]
    for length in (columns, rows)
  )
  return jnp.pad(join_axes(x, y), ((layout.prefix, 0), (0, 0)))[None]


def rotate(
  x: Float[Array, "B N K C"], angles: Float[Array, "_ N C2"]
) -> Float[Array, "B N K C"]:
  """Turns the pairs (feature i, feature i + C/2) by their token's angles."""
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
  turned = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def get_places(layout: Layout) -> Int[Array, "1 N"]:
  """Each token's place in the 1-D order; -1 for registers."""
  cls, patches = jnp.split(jnp.arange(layout.places), [layout.class_tokens])
  registers = jnp.full((layout.registers,), -1, cls.dtype)
  return jnp.concatenate([cls, registers, patches])[None]


class RelativePositionBias(nn.Module):
  """Logits of every query for the offset of every key (appendix D.4).

  An embedding of each offset p_q - p_k in the 1-D order acts as one more key;
  its logits are added to those of the content before the softmax. A pair with
  a register in it gets zero.

  Attributes:
    places: how many places the 1-D order has.
  """

  places: int

  @nn.compact
  def __call__(
    self, query: Float[Array, "B N K C"], places: Int[Array, "_ N"]
  ) -> Float[Array, "B K N N"]:
    offsets = 2 * self.places - 1
    embedding = self.param(
      "embedding", nn.initializers.normal(0.02), (offsets, *query.shape[2:])
    )
    scaled = query * query.shape[-1] ** -0.5
    logits = jnp.einsum(
      "BNKC,OKC->BKNO",
      scaled,
      embedding.astype(query.dtype),
      preferred_element_type=jnp.float32,
    )
    q, k = places[:, :, None], places[:, None, :]
    # One offset more, whose logit is zero, for pairs without an offset.
    logits = jnp.pad(logits, ((0, 0), (0, 0), (0, 0), (0, 1)))
    offset = jnp.where((q < 0) | (k < 0), offsets, q - k + self.places - 1)
    return jnp.take_along_axis(logits, offset[:, None], axis=-1)


def take_tokens(x: Array, index: Int[Array, "B n"] | None) -> Array:
  """Some tokens of an array [B N ...] or [1 N ...]; all if `index` is None."""
  if index is None:
    return x
  index = index.reshape(*index.shape, *(1,) * (x.ndim - 2))
  return jnp.take_along_axis(x, index, axis=1)


def sample_tokens(
  key: jax.Array, batch: int, layout: Layout, rate: float
) -> Int[Array, "B n"]:
  """Which tokens each example keeps, in order, when patches are dropped.

  Every example keeps the same number of patches, at least one, and all tokens
  before them (Liu et al., 2023, arXiv 2208.07220).
  """
  patches = math.prod(layout.grid)
  kept = max(1, round(patches * (1 - rate)))
  order = jnp.argsort(jax.random.uniform(key, (batch, patches)), axis=1)
  kept = jnp.sort(order[:, :kept], axis=1) + layout.prefix
  prefix = jnp.arange(layout.prefix, dtype=kept.dtype)[None]
  prefix = jnp.broadcast_to(prefix, (batch, layout.prefix))
  return jnp.concatenate([prefix, kept], axis=1)
