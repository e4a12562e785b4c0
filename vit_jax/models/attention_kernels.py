# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels: attention in other forms than XLA's, each for a kind of device.

They compute `attention.dot_product_attention` without a bias and return no
weights. Those for accelerators never write the weights [B K N N] to memory
(FlashAttention: Dao et al., 2022, arXiv 2205.14135). "cudnn" and "flash" come
with JAX; "vmem" is `vmem_attention.py`, and "heads", for CPUs,
`heads_attention.py`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from vit_jax.models import heads_attention
from vit_jax.sharding import AXES, get_spec

LANES = 128  # Minor dimension of a TPU register: C is padded to a multiple.
BLOCKS = (512, 384, 256)  # Block sizes: N is padded to a multiple of one.


def cudnn_attention(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B N K C"],
  value: Float[Array, "B N K C"],
  tokens: int | None = None,
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V by cuDNN, for NVIDIA GPUs.

  Args:
    query, key, value: N is even: JAX refuses to differentiate with an odd one.
    tokens: number of tokens that are attended to; behind them is padding. None
      is all.
  """
  lengths = None
  if tokens is not None and tokens < query.shape[1]:
    lengths = jnp.full(query.shape[0], tokens, jnp.int32)
  return jax.nn.dot_product_attention(
    query,
    key,
    value,
    query_seq_lengths=lengths,
    key_value_seq_lengths=lengths,
    implementation="cudnn",
  )


def flash_attention(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B N K C"],
  value: Float[Array, "B N K C"],
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V by JAX's Pallas kernel, for TPUs.

  The compiler cannot partition a kernel, so every device of the current mesh
  runs it on its own examples and heads.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not set(AXES) <= set(mesh.axis_names):
    return _attend(query, key, value)
  spec = get_spec("B N K C", query.shape, dict(mesh.shape))
  attend = jax.shard_map(
    _attend, in_specs=(spec, spec, spec), out_specs=spec, check_vma=False
  )
  return attend(query, key, value)


def vmem_attention(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B N K C"],
  value: Float[Array, "B N K C"],
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V by a kernel for TPUs and short sequences.

  Every device runs it on its own examples and heads, as `flash_attention`.
  """
  from vit_jax.models import vmem_attention as pallas

  shape = query.shape
  # Flat before the kernel's own sharding, so that XLA sees no change of shape
  # between a projection and the kernel, for which it would copy.
  flat = (x.reshape(*shape[:2], -1) for x in (query, key, value))
  attend: Callable = functools.partial(pallas.attend, size=shape[-1])
  mesh = jax.sharding.get_abstract_mesh()
  if set(AXES) <= set(mesh.axis_names):
    *spec, _ = get_spec("B N K C", shape, dict(mesh.shape))
    spec = PartitionSpec(*spec)
    attend = jax.shard_map(
      attend, in_specs=(spec, spec, spec), out_specs=spec, check_vma=False
    )
  return attend(*flat).reshape(shape)


def triton_attention(
  qkv: Float[Array, "B N 3 K C"], bias: Float[Array, "3 K C"]
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V of `qkv + bias` by kernels for NVIDIA GPUs.

  Every device runs them on its own examples and heads, as `flash_attention`.
  """
  from vit_jax.models import triton_attention as pallas

  attend: Callable = pallas.attend
  mesh = jax.sharding.get_abstract_mesh()
  if set(AXES) <= set(mesh.axis_names):
    sizes = dict(mesh.shape)
    batch, tokens, _, heads, size = get_spec("B N _ K C", qkv.shape, sizes)
    attend = jax.shard_map(
      attend,
      in_specs=(
        PartitionSpec(batch, tokens, None, heads, size),
        PartitionSpec(None, heads, size),
      ),
      out_specs=PartitionSpec(batch, tokens, heads, size),
      check_vma=False,
    )
  return attend(qkv, bias)


def choose_block_size(tokens: int) -> int:
  """The side of a block with the least padding, and the largest such."""
  return min(BLOCKS, key=lambda block: -tokens % block)


def _attend(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B N K C"],
  value: Float[Array, "B N K C"],
) -> Float[Array, "B N K C"]:
  """Runs the kernel on the examples and heads of one device."""
  from jax.experimental.pallas.ops.tpu import flash_attention as pallas

  batch, tokens, _, size = query.shape
  block = choose_block_size(tokens)
  padding = ((0, 0), (0, -tokens % block), (0, 0), (0, -size % LANES))
  query, key, value = (
    jnp.pad(x, padding).swapaxes(1, 2) for x in (query, key, value)
  )
  # Tokens attend within their segment, so padding attends to padding.
  segment = jnp.arange(query.shape[2]) >= tokens
  segment = jnp.broadcast_to(segment.astype(jnp.int32), (batch, len(segment)))
  mixed = pallas.flash_attention(
    query,
    key,
    value,
    segment_ids=pallas.SegmentIds(segment, segment),
    sm_scale=size**-0.5,
    block_sizes=pallas.BlockSizes(
      block_b=1,
      **dict.fromkeys(
        (
          *("block_q", "block_k_major", "block_k"),
          *("block_q_major_dkv", "block_k_major_dkv"),
          *("block_q_dkv", "block_k_dkv"),
          *("block_k_major_dq", "block_q_dq", "block_k_dq"),
        ),
        block,
      ),
    ),
  )
  return mixed.swapaxes(1, 2)[:, :tokens, :, :size]


KERNELS = {
  "cudnn": cudnn_attention,
  "flash": flash_attention,
  "heads": heads_attention.attend,
  "vmem": vmem_attention,
}
EVEN = ("cudnn",)  # Those that need an even number of tokens.
