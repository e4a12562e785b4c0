# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention of short sequences on a TPU, with a whole sequence in its VMEM.

A step of the kernel holds all tokens of an example and some of its heads, side
by side as the projections leave them, [N K*C]. Logits and weights live in
registers and VMEM only; the backward pass computes them again from queries,
keys and the logarithm of the softmax's denominator, one float32 a query.

Everything is transposed: weights are [S N], keys by queries. The softmax then
sums over rows, which a TPU adds without moving them, and every product but the
logits' two is [C .] times weights, whose rows are the C that are needed; as
[. C] it would be padded to 128. Heads are taken several at a time, stage by
stage: one head's matrix products hide the latency of another's.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float

from vit_jax.models.vmem_budget import choose_heads

LOG2_E = math.log2(math.e)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def attend(
  query: Float[Array, "B N D"],
  key: Float[Array, "B N D"],
  value: Float[Array, "B N D"],
  size: int,
) -> Float[Array, "B N D"]:
  """Attention of heads of `size` (C) that lie side by side."""
  return _attend_forward(query, key, value, size)[0]


def _attend_forward(query, key, value, size):
  mixed, sums = _call(
    _forward, "attention", (query, key, value), size, arrays=1, products=2
  )
  return mixed, (query, key, value, sums)


def _attend_backward(size, saved, cotangent):
  query, key, value, sums = saved
  arrays = (query, key, value, cotangent)
  return _call(
    _backward, "attention_backward", arrays, size, sums, arrays=3, products=5
  )


attend.defvjp(_attend_forward, _attend_backward)


def _call(
  kernel: Callable,
  name: str,
  inputs: tuple[Float[Array, "B N D"], ...],
  size: int,
  sums: Float[Array, "B _ _ N"] | None = None,
  *,
  arrays: int,
  products: int,
) -> Any:
  """Runs a kernel over all examples and groups of heads.

  Args:
    kernel: `_forward` or `_backward`.
    name: its name in a profile.
    inputs: arrays that it reads.
    size: C.
    sums: logarithms of the softmax's denominators; made if None, else read.
    arrays: number of arrays like the inputs that it makes.
    products: number of its matrix products, for the compiler's schedule.
  """
  batch, tokens, width = inputs[0].shape
  dtype = inputs[0].dtype
  chosen = choose_heads(tokens, width // size, size, dtype)
  if chosen is None:
    raise ValueError(
      f"attention='vmem' cannot hold {tokens} tokens of {width // size} heads "
      f"of {size} in {dtype}: use 'flash' or 'xla'"
    )
  held, together = chosen
  groups = width // (held * size)
  like = jax.ShapeDtypeStruct(inputs[0].shape, dtype)
  block = pl.BlockSpec((1, tokens, held * size), lambda i, j: (i, 0, j))
  row = pl.BlockSpec((1, 1, held, tokens), lambda i, j: (i, j, 0, 0))
  in_specs, out_specs = [block] * len(inputs), [block] * arrays
  out_shape = [like] * arrays
  if sums is None:
    out_specs.append(row)
    out_shape.append(
      jax.ShapeDtypeStruct((batch, groups, held, tokens), jnp.float32)
    )
  else:
    in_specs.append(row)
    inputs = (*inputs, sums)
  moved = (len(in_specs) + arrays - (sums is not None)) * inputs[0].nbytes
  return pl.pallas_call(
    functools.partial(kernel, size=size, together=together),
    grid=(batch, groups),
    in_specs=in_specs,
    out_specs=out_specs,
    out_shape=out_shape,
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel")
    ),
    cost_estimate=pl.CostEstimate(
      flops=2 * products * batch * tokens**2 * width,
      transcendentals=batch * tokens**2 * width // size,
      bytes_accessed=moved,
    ),
    name=name,
  )(*inputs)


def _dot(a: jax.Array, b: jax.Array, i: int, j: int) -> jax.Array:
  """Sums over dimension i of one matrix and j of another, in float32."""
  dimensions = (((i,), (j,)), ((), ()))
  return lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


def _make_stages(width: int, size: int, together: int) -> list[list[slice]]:
  """Columns of the heads that are computed at a time."""
  heads = [slice(i, i + size) for i in range(0, width, size)]
  return [heads[i : i + together] for i in range(0, len(heads), together)]


def _split(x: jax.Array, size: int) -> list[jax.Array]:
  """Splits the rows of a matrix into those of its heads."""
  return [x[i : i + size] for i in range(0, x.shape[0], size)]


def _forward(
  query_ref, key_ref, value_ref, mixed_ref, sums_ref, *, size, together
):
  """Mixed values of an example's heads, and log2 of their denominators.

  Powers are of two, as the hardware has them, so that scaling the logits and
  changing the base is one multiplication.
  """
  scale = size**-0.5 * LOG2_E
  for heads in _make_stages(query_ref.shape[-1], size, together):
    columns = slice(heads[0].start, heads[-1].stop)
    values = value_ref[0, :, columns]
    logits = [
      _dot(key_ref[0, :, head], query_ref[0, :, head], 1, 1) for head in heads
    ]
    largest = [x.max(axis=0, keepdims=True) for x in logits]
    weights = [
      jnp.exp2((x - m) * scale) for x, m in zip(logits, largest, strict=True)
    ]
    totals = [x.sum(axis=0, keepdims=True) for x in weights]
    mixed = [
      _dot(value_ref[0, :, head], x.astype(values.dtype), 0, 0) * (1 / total)
      for head, x, total in zip(heads, weights, totals, strict=True)
    ]
    mixed_ref[0, :, columns] = jnp.concatenate(mixed).T.astype(values.dtype)
    for head, m, total in zip(heads, largest, totals, strict=True):
      index = head.start // size
      sums_ref[0, 0, index : index + 1] = m * scale + jnp.log2(total)


def _backward(
  query_ref,
  key_ref,
  value_ref,
  mixed_ref,
  sums_ref,
  d_query_ref,
  d_key_ref,
  d_value_ref,
  *,
  size,
  together,
):
  """Gradients of an example's heads; `mixed_ref` holds that of its result."""
  scale, dtype = size**-0.5, query_ref.dtype
  for heads in _make_stages(query_ref.shape[-1], size, together):
    columns = slice(heads[0].start, heads[-1].stop)
    first = heads[0].start // size
    logits = [
      _dot(key_ref[0, :, head], query_ref[0, :, head], 1, 1) for head in heads
    ]
    weights = [
      jnp.exp2(x * (scale * LOG2_E) - sums_ref[0, 0, i : i + 1])
      for i, x in enumerate(logits, first)
    ]
    d_weights = [
      _dot(value_ref[0, :, head], mixed_ref[0, :, head], 1, 1) for head in heads
    ]
    products = [x * d for x, d in zip(weights, d_weights, strict=True)]
    means = [x.sum(axis=0, keepdims=True) for x in products]
    d_logits = [
      (product - x * mean).astype(dtype)
      for product, x, mean in zip(products, weights, means, strict=True)
    ]
    weights = [x.astype(dtype) for x in weights]
    for target_ref, source_ref, factors, dimension, factor in (
      (d_value_ref, mixed_ref, weights, 1, 1.0),
      (d_key_ref, query_ref, d_logits, 1, scale),
      (d_query_ref, key_ref, d_logits, 0, scale),
    ):
      found = [
        _dot(x, y, 1, dimension) * factor
        for x, y in zip(
          _split(source_ref[0, :, columns].T, size), factors, strict=True
        )
      ]
      target_ref[0, :, columns] = jnp.concatenate(found).T.astype(dtype)
