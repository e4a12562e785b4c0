# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tiles of tokens in the kernels of `triton_attention.py`.

The sequence is cut into tiles of TILE tokens, and a last one as short as the
matrix units take: 197 are computed as 208, not 256.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

TILE = 64  # Tokens; measured on an H100 beside 32, 128 and 256.
SMALLEST = 16  # Rows and columns that a product of matrices has at least.

ROWS = ((1,), (1,))  # A product of rows with rows: a b^T.

# The arrays [rows C] of a tile: C in parts that are powers of 2.
Parts = Sequence[Any]


def cut(size: int, tile: int) -> list[tuple[int, int]]:
  """Starts and widths of the tiles behind the whole ones; powers of 2."""
  found, start = [], size - size % tile
  while start < size:
    left = size - start
    width = max(SMALLEST, 1 << (left - 1).bit_length())
    if width > SMALLEST and width - left > width // 4:
      width //= 2
    found.append((start, width))
    start += width
  return found


def cut_head(size: int) -> list[tuple[int, int]]:
  """Starts and widths of the parts of a head: 80 is 64 and 16."""
  largest = max(SMALLEST, 1 << (size.bit_length() - 1))
  return (
    [(0, largest), *cut(size, largest)] if size > largest else [(0, largest)]
  )


def pad(size: int, cuts: list[tuple[int, int]]) -> int:
  """The size with which all that is cut can be read."""
  return max([size, *(start + width for start, width in cuts)])


def loop(tokens: int, body: Callable[[Any, int, Any], Any], carry: Any) -> Any:
  """carry = body(start, width, carry) for all tiles of a sequence."""
  if whole := tokens // TILE:
    carry = lax.fori_loop(
      0, whole, lambda i, carry: body(i * TILE, TILE, carry), carry
    )
  for start, width in cut(tokens, TILE):
    carry = body(start, width, carry)
  return carry


def mask_tokens(start: Any, width: int, tokens: int) -> Any:
  """Which rows of a tile are tokens; None if all are."""
  if isinstance(start, int) and start + width > tokens:
    return start + jnp.arange(width) < tokens
  return None


def mask_part(start: int, width: int, size: int) -> Any:
  """Which columns of a part belong to the head; None if all do."""
  if start + width > size:
    return start + jnp.arange(width) < size
  return None


def mask_tile(
  start: Any, width: int, tokens: int, part: tuple[int, int], size: int
) -> Any:
  """Both as [width, width of the part]; None if all are there."""
  rows = mask_tokens(start, width, tokens)
  columns = mask_part(*part, size)
  if rows is None and columns is None:
    return None
  rows = jnp.ones(width, bool) if rows is None else rows
  columns = jnp.ones(part[1], bool) if columns is None else columns
  return rows[:, None] & columns[None]


def read(ref: Any, index: Any, mask: Any, other: float = 0.0) -> Any:
  """Reads what the mask has, and `other` elsewhere."""
  other = None if mask is None else other
  return triton.load(ref.at[index], mask=mask, other=other)


def read_tile(
  ref: Any, start: Any, width: int, tokens: int, size: int
) -> Parts:
  """The parts of a tile; 0 where nothing is."""
  return [
    read(
      ref,
      (pl.ds(start, width), pl.ds(*part)),
      mask_tile(start, width, tokens, part, size),
    )
    for part in cut_head(size)
  ]


def write_tile(
  ref: Any,
  start: Any,
  width: int,
  tokens: int,
  size: int,
  parts: Parts,
  slot: tuple[int, ...] = (),
) -> None:
  """Writes a tile's parts; `slot` are indices between rows and columns."""
  for part, x in zip(cut_head(size), parts, strict=True):
    triton.store(
      ref.at[pl.ds(start, width), *map(jnp.int32, slot), pl.ds(*part)],
      x.astype(ref.dtype),
      mask=mask_tile(start, width, tokens, part, size),
    )


def read_rows(
  ref: Any, start: Any, width: int, tokens: int, other: float
) -> Any:
  """A number for each token of a tile; `other` where there is none."""
  mask = mask_tokens(start, width, tokens)
  return read(ref, (pl.ds(start, width),), mask, other)


def write_rows(ref: Any, start: Any, width: int, tokens: int, x: Any) -> None:
  """Writes a number for each token of a tile."""
  mask = mask_tokens(start, width, tokens)
  triton.store(ref.at[pl.ds(start, width)], x, mask=mask)


def read_bias(ref: Any, row: int, size: int) -> Parts:
  """One of the three biases, in float32."""
  return [
    read(ref, (jnp.int32(row), pl.ds(*part)), mask_part(*part, size)).astype(
      jnp.float32
    )
    for part in cut_head(size)
  ]


def write_bias(ref: Any, size: int, parts: Parts) -> None:
  """Writes the gradient of a bias, of this example and head."""
  for part, x in zip(cut_head(size), parts, strict=True):
    triton.store(ref.at[pl.ds(*part)], x, mask=mask_part(*part, size))


def multiply(a: Any, b: Any, contracted: Any = ((1,), (0,))) -> Any:
  """A product of matrices, summed in float32."""
  return lax.dot_general(
    a, b, (contracted, ((), ())), preferred_element_type=jnp.float32
  )


def multiply_rows(a: Parts, b: Parts) -> Any:
  """a b^T of parts of C."""
  return sum(multiply(x, y, ROWS) for x, y in zip(a, b, strict=True))


def add(parts: Parts, biases: Parts) -> Parts:
  """Adds a bias to each row, in float32."""
  return [
    (x.astype(jnp.float32) + bias[None]).astype(x.dtype)
    for x, bias in zip(parts, biases, strict=True)
  ]


def zeros(size: int, *rows: int) -> tuple[Any, ...]:
  """The parts of an array of zeros in float32."""
  return tuple(
    jnp.zeros((*rows, width), jnp.float32) for _, width in cut_head(size)
  )
