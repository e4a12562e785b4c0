# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Self-attention of short sequences for NVIDIA GPUs, as Triton kernels.

(FlashAttention-2: Dao, 2023, arXiv 2307.08691.) Not chosen by "auto": a step
with it was not timed on a card yet (docs/performance.md).

A program computes one head of one example. It reads queries, keys and values
where the product that makes all three has left them, side by side and without
their biases, so that nothing is split, padded or copied around the kernels:

- The bias of the queries is added where they are read.
- That of the keys adds the same number to all logits of a query, which softmax
  does not see: it is left out, and its gradient is 0.
- That of the values is added to the output, for weights sum to 1.
- The biases' gradients are summed where those of queries and values are made.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from vit_jax.models.triton_tiles import (
  TILE,
  add,
  cut,
  cut_head,
  loop,
  mask_tokens,
  multiply,
  multiply_rows,
  pad,
  read_bias,
  read_rows,
  read_tile,
  write_bias,
  write_rows,
  write_tile,
  zeros,
)

INTERPRET = False  # Tests set it: a CPU has no Triton.
LOG2E = math.log2(math.e)  # Powers of 2 are what the GPU computes.


def attend_kernel(
  q_ref, k_ref, v_ref, bias_ref, out_ref, sum_ref, *, tokens, size
):
  """The output, and log2 of the sum of the powers of 2 of a row's logits."""
  q_bias, v_bias = (read_bias(bias_ref, i, size) for i in (0, 2))
  scale = size**-0.5 * LOG2E

  def attend_tile(start, width, _):
    query = add(read_tile(q_ref, start, width, tokens, size), q_bias)

    def visit(at, wide, carry):
      largest, total, mixed = carry
      key = read_tile(k_ref, at, wide, tokens, size)
      logits = multiply_rows(query, key) * scale
      if (mask := mask_tokens(at, wide, tokens)) is not None:
        logits = jnp.where(mask[None], logits, -jnp.inf)
      new = jnp.maximum(largest, logits.max(axis=1))
      weights = jnp.exp2(logits - new[:, None])
      shrink = jnp.exp2(largest - new)
      value = read_tile(v_ref, at, wide, tokens, size)
      mixed = tuple(
        x * shrink[:, None] + multiply(weights.astype(y.dtype), y)
        for x, y in zip(mixed, value, strict=True)
      )
      return new, total * shrink + weights.sum(axis=1), mixed

    # No -inf, of which two differ by NaN; no logit is as small.
    lowest = jnp.full(width, -1e30, jnp.float32)
    begin = lowest, jnp.zeros(width, jnp.float32), zeros(size, width)
    largest, total, mixed = loop(tokens, visit, begin)
    out = [
      x / total[:, None] + bias[None]
      for x, bias in zip(mixed, v_bias, strict=True)
    ]
    write_tile(out_ref, start, width, tokens, size, out)
    write_rows(sum_ref, start, width, tokens, largest + jnp.log2(total))
    return 0

  loop(tokens, attend_tile, 0)


def query_kernel(
  q_ref, k_ref, v_ref, bias_ref, out_ref, sum_ref, d_out_ref,
  d_q_ref, delta_ref, d_bias_ref, *, tokens, size,
):  # fmt: skip
  """The gradient of the queries and their bias, and a sum for `key_kernel`."""
  q_bias, v_bias = (read_bias(bias_ref, i, size) for i in (0, 2))
  scale = size**-0.5

  def differentiate(start, width, summed):
    query = add(read_tile(q_ref, start, width, tokens, size), q_bias)
    d_out = read_tile(d_out_ref, start, width, tokens, size)
    out = read_tile(out_ref, start, width, tokens, size)
    sums = read_rows(sum_ref, start, width, tokens, jnp.inf)
    delta = sum(
      (x.astype(jnp.float32) * (y.astype(jnp.float32) - bias[None])).sum(axis=1)
      for x, y, bias in zip(d_out, out, v_bias, strict=True)
    )
    write_rows(delta_ref, start, width, tokens, delta)

    def visit(at, wide, d_query):
      key = read_tile(k_ref, at, wide, tokens, size)
      value = read_tile(v_ref, at, wide, tokens, size)
      logits = multiply_rows(query, key) * (scale * LOG2E)
      if (mask := mask_tokens(at, wide, tokens)) is not None:
        logits = jnp.where(mask[None], logits, -jnp.inf)
      weights = jnp.exp2(logits - sums[:, None])
      d_logits = weights * (multiply_rows(d_out, value) - delta[:, None])
      return tuple(
        x + multiply(d_logits.astype(y.dtype), y)
        for x, y in zip(d_query, key, strict=True)
      )

    d_query = [x * scale for x in loop(tokens, visit, zeros(size, width))]
    write_tile(d_q_ref, start, width, tokens, size, d_query)
    return tuple(
      x + y.sum(axis=0) for x, y in zip(summed, d_query, strict=True)
    )

  write_bias(d_bias_ref, size, loop(tokens, differentiate, zeros(size)))


def key_kernel(
  q_ref, k_ref, v_ref, bias_ref, sum_ref, delta_ref, d_out_ref, _,
  d_kv_ref, d_bias_ref, *, tokens, size,
):  # fmt: skip
  """The gradients of keys, values and the bias of the values."""
  q_bias = read_bias(bias_ref, 0, size)
  scale = size**-0.5

  def differentiate(at, wide, summed):
    key = read_tile(k_ref, at, wide, tokens, size)
    value = read_tile(v_ref, at, wide, tokens, size)
    # What the bias of the queries adds to the logits of each key.
    added = sum(
      (x.astype(jnp.float32) * bias[None]).sum(axis=1)
      for x, bias in zip(key, q_bias, strict=True)
    )

    def visit(start, width, carry):
      d_key, d_value, d_added = carry
      query = read_tile(q_ref, start, width, tokens, size)
      d_out = read_tile(d_out_ref, start, width, tokens, size)
      sums = read_rows(sum_ref, start, width, tokens, jnp.inf)
      delta = read_rows(delta_ref, start, width, tokens, 0.0)
      logits = multiply_rows(key, query) + added[:, None]
      weights = jnp.exp2(logits * (scale * LOG2E) - sums[None])
      if (mask := mask_tokens(at, wide, tokens)) is not None:
        weights = jnp.where(mask[:, None], weights, 0.0)
      d_logits = weights * (multiply_rows(value, d_out) - delta[None])
      d_value = tuple(
        x + multiply(weights.astype(y.dtype), y)
        for x, y in zip(d_value, d_out, strict=True)
      )
      d_key = tuple(
        x + multiply(d_logits.astype(y.dtype), y)
        for x, y in zip(d_key, query, strict=True)
      )
      return d_key, d_value, d_added + d_logits.sum(axis=1)

    begin = zeros(size, wide), zeros(size, wide), jnp.zeros(wide, jnp.float32)
    d_key, d_value, d_added = loop(tokens, visit, begin)
    d_key = [
      (x + d_added[:, None] * bias[None]) * scale
      for x, bias in zip(d_key, q_bias, strict=True)
    ]
    write_tile(d_kv_ref, at, wide, tokens, size, d_key, (1,))
    write_tile(d_kv_ref, at, wide, tokens, size, d_value, (2,))
    return tuple(
      x + y.sum(axis=0) for x, y in zip(summed, d_value, strict=True)
    )

  write_bias(d_bias_ref, size, loop(tokens, differentiate, zeros(size)))


class Specs:
  """Where a program, of an example and a head, finds its part of each array."""

  def __init__(self, tokens: int, size: int):
    # Tiles may reach over the end; what lies there is masked.
    tokens, size = pad(tokens, cut(tokens, TILE)), pad(size, cut_head(size))
    self.query, self.key, self.value = (
      pl.BlockSpec(
        (None, tokens, None, None, size), lambda b, h, i=i: (b, 0, i, h, 0)
      )
      for i in range(3)
    )
    self.all = pl.BlockSpec(
      (None, tokens, 3, None, size), lambda b, h: (b, 0, 0, h, 0)
    )
    self.out = pl.BlockSpec(
      (None, tokens, None, size), lambda b, h: (b, 0, h, 0)
    )
    self.rows = pl.BlockSpec((None, None, tokens), lambda b, h: (b, h, 0))
    self.bias = pl.BlockSpec((3, None, size), lambda b, h: (0, h, 0))
    self.d_bias = pl.BlockSpec((None, None, size), lambda b, h: (b, h, 0))


def call(
  kernel: Callable[..., None], qkv: Array, *inputs: Any, **options: Any
) -> Any:
  """Runs a kernel for each example and head."""
  batch, tokens, _, heads, size = qkv.shape
  return pl.pallas_call(
    functools.partial(kernel, tokens=tokens, size=size),
    grid=(batch, heads),
    compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
    interpret=INTERPRET,
    **options,
  )(qkv, qkv, qkv, *inputs)


def shape_rows(qkv: Array) -> Any:
  """A number in float32 for each query [B K N]."""
  batch, tokens, _, heads, _ = qkv.shape
  return jax.ShapeDtypeStruct((batch, heads, tokens), jnp.float32)


@jax.custom_vjp
def attend(
  qkv: Float[Array, "B N 3 K C"], bias: Float[Array, "3 K C"]
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V, where Q, K, V is `qkv + bias`.

  Args:
    qkv: queries, keys and values, without their biases.
    bias: their biases.

  Returns:
    The mixed values in the dtype of `qkv`.
  """
  return _attend(qkv, bias)[0]


def _attend(qkv, bias):
  at = Specs(qkv.shape[1], qkv.shape[-1])
  return call(
    attend_kernel,
    qkv,
    bias,
    in_specs=[at.query, at.key, at.value, at.bias],
    out_specs=[at.out, at.rows],
    out_shape=[
      jax.ShapeDtypeStruct(qkv[:, :, 0].shape, qkv.dtype),
      shape_rows(qkv),
    ],
    name="attention_forward",
  )


def _attend_forward(qkv, bias):
  out, sums = _attend(qkv, bias)
  return out, (qkv, bias, out, sums)


def _attend_backward(saved, d_out):
  qkv, bias, out, sums = saved
  batch, tokens, _, heads, size = qkv.shape
  at = Specs(tokens, size)
  like = jax.ShapeDtypeStruct(qkv.shape, qkv.dtype)
  d_bias = jax.ShapeDtypeStruct((batch, heads, size), jnp.float32)
  d_qkv, delta, d_query_bias = call(
    query_kernel,
    qkv,
    *(bias, out, sums, d_out),
    in_specs=[
      *(at.query, at.key, at.value, at.bias),
      *(at.out, at.rows, at.out),
    ],
    out_specs=[at.query, at.rows, at.d_bias],
    out_shape=[like, shape_rows(qkv), d_bias],
    name="attention_query_gradient",
  )
  # Into the same array, behind the gradients of the queries.
  d_qkv, d_value_bias = call(
    key_kernel,
    qkv,
    *(bias, sums, delta, d_out, d_qkv),
    in_specs=[
      *(at.query, at.key, at.value, at.bias),
      *(at.rows, at.rows, at.out, at.all),
    ],
    out_specs=[at.all, at.d_bias],
    out_shape=[like, d_bias],
    input_output_aliases={7: 0},
    name="attention_key_gradient",
  )
  d_query_bias, d_value_bias = (
    x.sum(axis=0) for x in (d_query_bias, d_value_bias)
  )
  d_bias = [d_query_bias, jnp.zeros_like(d_query_bias), d_value_bias]
  return d_qkv, jnp.stack(d_bias).astype(bias.dtype)


attend.defvjp(_attend_forward, _attend_backward)
