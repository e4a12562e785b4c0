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

# Embeddings that are added to the tokens; the others act within attention.
ADDED = ("learned_1d", "learned_2d", "sincos_2d")

SINCOS_PERIOD = 10_000.0
ROPE_PERIOD = 100.0


@dataclasses.dataclass(frozen=True)
class Layout:
  """The tokens of a sequence: class token, registers, patches, in this order.

  Attributes:
    grid: (h, w), rows and columns of patches.
    class_tokens: 0 or 1.
    registers: number of registers.
  """

  grid: tuple[int, int]
  class_tokens: int
  registers: int

  @property
  def prefix(self) -> int:
    """Number of tokens before the patches."""
    return self.class_tokens + self.registers

  @property
  def num_positions(self) -> int:
    """Number of positions in the 1-D order: of all tokens but registers."""
    return self.class_tokens + math.prod(self.grid)

  @property
  def tokens(self) -> int:
    """N, the number of tokens."""
    return self.prefix + math.prod(self.grid)


class PositionEmbedding(nn.Module):
  """Position vectors that are added to the tokens, zero for registers.

  Attributes:
    kind: "learned_1d" has a vector for the class token and each patch in raster
      order; "learned_2d" concatenates one of D/2 for the column and one of D/2
      for the row; "sincos_2d" does so with fixed sines and cosines (Beyer et
      al., 2022, arXiv 2205.01580). In 2-D the class token's vector is zero.
    layout: the tokens of the sequence.
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
      shape = (1, self.layout.num_positions, self.width)
      embedding = self.param("pos_embedding", normal, shape)
      cls, patches = jnp.split(embedding, [self.layout.class_tokens], axis=1)
    else:
      cls = jnp.zeros((1, self.layout.class_tokens, self.width))
      if self.kind == "learned_2d":
        half = self.width // 2
        x = self.param("x_embedding", normal, (columns, half))
        y = self.param("y_embedding", normal, (rows, half))
      else:
        x = make_sincos(columns, self.width // 2)
        y = make_sincos(rows, self.width // 2)
      patches = join_axes(x, y)[None]
    registers = jnp.zeros((1, self.layout.registers, self.width))
    return jnp.concatenate([cls, registers, patches], axis=1)


def join_axes(
  x: Float[Array, "w E"], y: Float[Array, "h E"]
) -> Float[Array, "N D"]:
  """Concatenates column and row vectors for every cell in raster order."""
  shape = (y.shape[0], x.shape[0], x.shape[1])
  x, y = jnp.broadcast_to(x[None], shape), jnp.broadcast_to(y[:, None], shape)
  return jnp.concatenate([x, y], axis=-1).reshape(-1, 2 * shape[-1])


def make_sincos(
  length: int, features: int, last: bool = True
) -> Float[Array, "N E"]:
  """Sines, then cosines, of positions 0 to N - 1 at E/2 frequencies.

  The shortest period is 2 pi, and 2 pi times 10,000 the `last`, or else the one
  that would follow.
  """
  count = features // 2
  steps = max(1, count - 1) if last else count
  exponents = jnp.arange(count, dtype=jnp.float32) / steps
  frequencies = SINCOS_PERIOD**-exponents
  angles = jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies[None]
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def make_rotation_angles(
  layout: Layout, head_size: int
) -> Float[Array, "1 N C2"]:
  """Angles of the axial rotary embedding (RoPE), in radians; C2 is C/2.

  The first half of the feature pairs rotates with the column, the second with
  the row, both counted in patches (Heo et al., 2024, arXiv 2403.13298, section
  3.1). The class token and registers are not rotated.
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
  """Rotates the pairs (feature i, feature i + C/2) by their token's angles."""
  first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
  rotated = [first * cos - second * sin, second * cos + first * sin]
  return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


def make_position_ids(layout: Layout) -> Int[Array, "1 N"]:
  """Each token's position in the 1-D order; -1 for registers."""
  ids = jnp.arange(layout.num_positions)
  cls, patches = jnp.split(ids, [layout.class_tokens])
  registers = jnp.full((layout.registers,), -1, cls.dtype)
  return jnp.concatenate([cls, registers, patches])[None]


class RelativePositionBias(nn.Module):
  """Relative position embedding as a bias on attention logits (appendix D.4).

  An embedding of each offset p_q - p_k in the 1-D order acts as one more key;
  its logits are added to those of the content before the softmax. The bias of
  pairs with a register is zero.

  Attributes:
    num_positions: number of positions in the 1-D order.
  """

  num_positions: int

  @nn.compact
  def __call__(
    self, query: Float[Array, "B N K C"], position_ids: Int[Array, "_ N"]
  ) -> Float[Array, "B K N N"]:
    offsets = 2 * self.num_positions - 1
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
    q, k = position_ids[:, :, None], position_ids[:, None, :]
    # One more offset, whose logit is zero, for pairs with a register.
    logits = jnp.pad(logits, ((0, 0), (0, 0), (0, 0), (0, 1)))
    offset = jnp.where(
      (q < 0) | (k < 0), offsets, q - k + self.num_positions - 1
    )
    return jnp.take_along_axis(logits, offset[:, None], axis=-1)


def take_tokens(x: Array, index: Int[Array, "B n"] | None) -> Array:
  """Takes tokens of an array [B N ...] or [1 N ...]; all if `index` is None."""
  if index is None:
    return x
  index = index.reshape(*index.shape, *(1,) * (x.ndim - 2))
  return jnp.take_along_axis(x, index, axis=1)


def pad_tokens(x: Array, tokens: int) -> Array:
  """Pads an array [B N ...] or [1 N ...] with zeros to a number of tokens."""
  rest = ((0, 0),) * (x.ndim - 2)
  return jnp.pad(x, ((0, 0), (0, tokens - x.shape[1]), *rest))


def sample_tokens(
  key: jax.Array, batch: int, layout: Layout, rate: float
) -> Int[Array, "B n"]:
  """Samples the tokens that each example keeps under patch dropout.

  Every example keeps the same number of patches, at least one, in order, and
  all tokens before them (Liu et al., 2023, arXiv 2208.07220).

  Args:
    key: random key.
    batch: B.
    layout: the tokens of the sequence.
    rate: share of patches that is dropped.
  """
  patches = math.prod(layout.grid)
  kept = max(1, round(patches * (1 - rate)))
  order = jnp.argsort(jax.random.uniform(key, (batch, patches)), axis=1)
  kept = jnp.sort(order[:, :kept], axis=1) + layout.prefix
  prefix = jnp.arange(layout.prefix, dtype=kept.dtype)[None]
  prefix = jnp.broadcast_to(prefix, (batch, layout.prefix))
  return jnp.concatenate([prefix, kept], axis=1)
