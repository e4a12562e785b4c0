# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Transformer encoder of a ViT (paper, section 3.1, eq. 2 to 4).

Blocks are stacked under `encoderblock` with a leading L, whether the scan over
them is unrolled or not.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from vit_jax.models.adapter import Adapter, adapt
from vit_jax.models.attention import LOGITS, MultiHeadDotProductAttention
from vit_jax.models.attention_kernels import EVEN
from vit_jax.models.dropout import Dropout
from vit_jax.models.position import (
  ADDED,
  Layout,
  PositionEmbedding,
  make_position_ids,
  make_rotation_angles,
  pad_tokens,
  sample_tokens,
  take_tokens,
)
from vit_jax.sharding import constrain


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def gelu(x: Float[Array, "B N M"], approximate: bool) -> Float[Array, "B N M"]:
  """GELU in float32, of which only the input is kept for the backward pass."""
  return nn.gelu(x.astype(jnp.float32), approximate).astype(x.dtype)


def _gelu_forward(x, approximate):
  return gelu(x, approximate), x


def _gelu_backward(approximate, x, gradient):
  """The derivative as a formula: one pass over the input and the gradient."""
  # Without the barrier XLA finds the same tanh or erf in both passes, and keeps
  # it in float32 from one to the other: 7 GiB in a step of B/16.
  y = lax.optimization_barrier(x).astype(jnp.float32)
  if approximate:
    scale = math.sqrt(2 / math.pi)
    tanh = jnp.tanh(scale * (y + 0.044715 * y**3))
    inner = scale * (1 + 3 * 0.044715 * y**2)
    slope = 0.5 * (1 + tanh) + 0.5 * y * (1 - tanh**2) * inner
  else:
    density = jnp.exp(-0.5 * y**2) / math.sqrt(2 * math.pi)
    slope = 0.5 * (1 + lax.erf(y / math.sqrt(2))) + y * density
  return ((slope * gradient.astype(jnp.float32)).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)

GELU = {
  "tanh": functools.partial(gelu, approximate=True),
  "exact": functools.partial(gelu, approximate=False),
}
# The name by which REMAT knows the input of every block.
BLOCK_INPUT = "block_input"
REMAT = {
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  "full": jax.checkpoint_policies.nothing_saveable,
  # Only a block's input, which "full" keeps too: the results of its matrix
  # products would be nine times as many bytes to move.
  "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
    names_which_can_be_saved=[],
    names_which_can_be_offloaded=[BLOCK_INPUT],
    offload_src="device",
    offload_dst="pinned_host",
  ),
}


class Positions(NamedTuple):
  """Position inputs of every block; None for those not in use.

  Attributes:
    added: vectors added to the tokens in every block [_ N D].
    angles: rotation angles of the axial rotary embedding [_ N C/2].
    position_ids: positions in the 1-D order, for relative embeddings [_ N].
    index: tokens of the sequence that are kept [B N]; None is all.
  """

  added: Float[Array, "_ N D"] | None = None
  angles: Float[Array, "_ N C2"] | None = None
  position_ids: Int[Array, "_ N"] | None = None
  index: Int[Array, "B N"] | None = None


class LayerScale(nn.Module):
  """A learned factor per channel (Touvron et al., 2021, arXiv 2103.17239)."""

  init: float

  @nn.compact
  def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
    start = nn.initializers.constant(self.init)
    scale = self.param("scale", start, x.shape[-1:])
    return x * scale.astype(x.dtype)[None, None]


class MlpBlock(nn.Module):
  """Two dense layers with a GELU or SwiGLU in between.

  Attributes:
    mlp_dim: M.
    gelu: "tanh" or "exact", a key of GELU.
    dropout: rate after each of the two layers.
    dtype: dtype of activations.
    swiglu: silu(x G) * (x V) in place of GELU(x V) (Shazeer, 2020, arXiv
      2002.05202); the third matrix, G, is named `gate`.
    adapter: size of the adapters of all matrices.
  """

  mlp_dim: int
  gelu: str
  dropout: float
  dtype: DTypeLike
  swiglu: bool = False
  adapter: Adapter | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], train: bool
  ) -> Float[Array, "B N D"]:
    dense = functools.partial(
      nn.Dense,
      kernel_init=nn.initializers.xavier_uniform(),
      bias_init=nn.initializers.normal(1e-6),
      dtype=self.dtype,
    )
    drop = Dropout(self.dropout)
    first = dense(self.mlp_dim, name="Dense_0")
    last = dense(x.shape[-1], name="Dense_1")
    y = constrain(adapt(first, self.adapter, x, first(x)), "B N M")
    if self.swiglu:
      gate = dense(self.mlp_dim, name="gate")
      gated = constrain(adapt(gate, self.adapter, x, gate(x)), "B N M")
      y = nn.silu(gated) * y
    else:
      y = GELU[self.gelu](y)
    y = drop(y, train)
    return drop(adapt(last, self.adapter, y, last(y)), train)


def drop_branch(
  key: jax.Array, x: Float[Array, "B N D"], rate: Float[Array, ""]
) -> Float[Array, "B N D"]:
  """Stochastic depth: drops a branch for some examples, scales up the others.

  (Huang et al., 2016, arXiv 1603.09382.)
  """
  keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1))
  return jnp.where(keep, x / (1 - rate).astype(x.dtype), 0)


class EncoderBlock(nn.Module):
  """Pre-norm attention and MLP with residuals (eq. 2 and 3); a scan's body.

  The attributes are those of `ViT`, and `tokens`: the number of tokens before
  the padding, None without padding.
  """

  mlp_dim: int
  num_heads: int
  gelu: str
  swiglu: bool
  layer_norm_eps: float
  qk_norm: bool
  layer_scale: float | None
  adapter: Adapter | None
  dropout: float
  position: str | None
  layout: Layout
  attention: str
  tokens: int | None
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    drop_rate: Float[Array, ""] | None,
    positions: Positions,
    train: bool,
    intermediates: bool,
  ) -> tuple[Float[Array, "B N D"], dict[str, Array] | None]:
    norm = functools.partial(
      nn.LayerNorm, epsilon=self.layer_norm_eps, dtype=self.dtype
    )
    drop = Dropout(self.dropout)

    def branch(name, y):
      """Applies LayerScale and stochastic depth to a branch."""
      if self.layer_scale is not None:
        y = LayerScale(self.layer_scale, name=name)(y)
      if drop_rate is not None:
        y = drop_branch(self.make_rng("dropout"), y, drop_rate)
      return y

    x = checkpoint_name(x, BLOCK_INPUT)
    added = positions.added
    if self.position is not None:
      own = PositionEmbedding(
        self.position, self.layout, x.shape[-1], name="posembed"
      )
      added = pad_tokens(take_tokens(own(), positions.index), x.shape[1])
    if added is not None:
      x = constrain(x + added.astype(x.dtype), "B N D")
    y = norm(name="LayerNorm_0")(x)
    y, weights = MultiHeadDotProductAttention(
      self.num_heads,
      self.dtype,
      self.layer_norm_eps if self.qk_norm else None,
      "xla" if intermediates else self.attention,
      self.adapter,
      name="MultiHeadDotProductAttention_0",
    )(
      y,
      angles=positions.angles,
      position_ids=positions.position_ids,
      num_positions=self.layout.num_positions,
      tokens=self.tokens,
      return_weights=intermediates,
    )
    x = constrain(x + branch("LayerScale_0", drop(y, train)), "B N D")
    y = norm(name="LayerNorm_1")(x)
    y = MlpBlock(
      self.mlp_dim,
      self.gelu,
      self.dropout,
      self.dtype,
      self.swiglu,
      self.adapter,
      name="MlpBlock_0",
    )(y, train)
    x = constrain(x + branch("LayerScale_1", y), "B N D")
    if intermediates:
      return x, {"residual": x, "attention": weights}
    return x, None


class Encoder(nn.Module, kw_only=True):
  """Position embedding, L stacked blocks and the final LayerNorm.

  The attributes are those of `ViT`; `block` has the fields of `EncoderBlock`
  that it does not set itself, and `final_norm` turns the LayerNorm on.
  """

  depth: int
  block: Mapping[str, Any]
  position: str
  position_at: str
  dropout: float
  stochastic_depth: float
  patch_dropout: float
  final_norm: bool
  remat: str
  unroll: int
  attention: str
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B N D"],
    layout: Layout,
    train: bool,
    intermediates: bool,
    kept: Int[Array, "B n"] | None = None,
  ) -> tuple[Float[Array, "B n D"], dict[str, Array]]:
    """Encodes tokens; `kept` are those that it sees, None for all."""
    found = {}
    x, positions = self._add_positions(x, layout, train, kept)
    x = Dropout(self.dropout)(x, train)
    if intermediates:
      found["embedded"] = x
    tokens = None
    if x.shape[1] % 2 and self.attention in EVEN and not intermediates:
      # Once, for padding queries, keys and values in every block costs more.
      tokens = x.shape[1]
      positions = positions._replace(
        **{
          name: pad_tokens(table, tokens + 1)
          for name in ("added", "angles")
          if (table := getattr(positions, name)) is not None
        }
      )
      x = constrain(pad_tokens(x, tokens + 1), "B N D")
    block = EncoderBlock
    if self.remat != "none":
      # The scan's loop already keeps XLA from merging the recomputation away;
      # unrolled blocks need the barrier of `prevent_cse`.
      block = nn.remat(
        block,
        policy=REMAT[self.remat],
        prevent_cse=self.unroll > 1,
        static_argnums=(4, 5),
      )
    blocks = nn.scan(
      block,
      variable_axes={"params": 0, LOGITS: 0},
      split_rngs={"params": True, "dropout": True},
      in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
      length=self.depth,
      unroll=self.unroll,
      # It traces a block once more, and takes the callbacks of a kernel that is
      # interpreted for a variable that blocks share. It draws keys, too, on
      # which initial values and dropout depend.
      check_constancy_invariants=train or self.is_initializing(),
    )
    drop_rates = None
    if train and self.stochastic_depth:
      # From zero in the first block, as Huang et al. have it.
      first = 0.0 if self.depth > 1 else self.stochastic_depth
      drop_rates = jnp.linspace(first, self.stochastic_depth, self.depth)
    own = self.position if self.position_at == "every_layer" else None
    x, layers = blocks(
      **self.block,
      dropout=self.dropout,
      position=own,
      layout=layout,
      attention=self.attention,
      tokens=tokens,
      dtype=self.dtype,
      name="encoderblock",
    )(x, drop_rates, positions, train, intermediates)
    x = x[:, :tokens]
    found |= layers or {}
    if self.final_norm:
      x = nn.LayerNorm(
        epsilon=self.block["layer_norm_eps"],
        dtype=self.dtype,
        name="encoder_norm",
      )(x)
    return x, found

  def _add_positions(
    self,
    x: Float[Array, "B N D"],
    layout: Layout,
    train: bool,
    index: Int[Array, "B n"] | None,
  ) -> tuple[Float[Array, "B n D"], Positions]:
    """Adds the position embedding of the input, and drops tokens.

    Returns:
      The tokens, and the position inputs of the blocks.
    """
    width = x.shape[-1]
    added = angles = position_ids = None
    if self.position in ADDED and self.position_at != "every_layer":
      added = PositionEmbedding(
        self.position, layout, width, name="posembed_input"
      )()
      if self.position_at == "input":
        x, added = x + added.astype(x.dtype), None
    elif self.position == "rope":
      angles = make_rotation_angles(layout, width // self.block["num_heads"])
    elif self.position == "relative":
      position_ids = make_position_ids(layout)
    if index is None and train and self.patch_dropout:
      key = self.make_rng("dropout")
      index = sample_tokens(key, x.shape[0], layout, self.patch_dropout)
    if index is not None:
      x = constrain(take_tokens(x, index), "B N D")
      added, angles, position_ids = (
        None if table is None else take_tokens(table, index)
        for table in (added, angles, position_ids)
      )
    return x, Positions(added, angles, position_ids, index)
