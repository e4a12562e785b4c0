# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels of attention that never write the weights [B K N N] to memory.

(FlashAttention: Dao et al., 2022, arXiv 2205.14135.) They come with JAX, and
compute `attention.dot_product_attention` without a bias; they return no
weights.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.sharding import AXES, get_spec

LANES = 128  # Minor dimension of a TPU register: C is padded to a multiple.
BLOCKS = (512, 384, 256)  # Block sizes: N is padded to a multiple of one.


def cudnn_attention(
  query: Float[Array, "B N K C"],
  key: Float[Array, "B N K C"],
  value: Float[Array, "B N K C"],
) -> Float[Array, "B N K C"]:
  """softmax(Q K^T / sqrt(C)) V by cuDNN, for NVIDIA GPUs."""
  batch, tokens = query.shape[:2]
  # An odd number of tokens is padded: JAX refuses to differentiate with one.
  padding = ((0, 0), (0, tokens % 2), (0, 0), (0, 0))
  lengths = jnp.full(batch, tokens, jnp.int32)
  mixed = jax.nn.dot_product_attention(
    *(jnp.pad(x, padding) for x in (query, key, value)),
    query_seq_lengths=lengths,
    key_value_seq_lengths=lengths,
    implementation="cudnn",
  )
  return mixed[:, :tokens]


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


KERNELS = {"cudnn": cudnn_attention, "flash": flash_attention}
