# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Vision Transformer (Dosovitskiy et al., 2021, arXiv 2010.11929).

Parameter paths are those of the authors' checkpoints, except that the blocks
are stacked under `Transformer/encoderblock` with a leading L, whether the scan
over them is unrolled or not.
"""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.config import (
  Count,
  Positive,
  Rate,
  check_image_size,
  check_multiple,
)
from vit_jax.models.attention import MultiHeadDotProductAttention
from vit_jax.models.heads import make_head
from vit_jax.models.position import LearnedPositionEmbedding
from vit_jax.models.resnet import apply_stem, make_stem
from vit_jax.sharding import constrain

GELU = {
  "tanh": functools.partial(nn.gelu, approximate=True),
  "exact": functools.partial(nn.gelu, approximate=False),
}

REMAT = {
  "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  "full": jax.checkpoint_policies.nothing_saveable,
}


class MlpBlock(nn.Module):
  """Two dense layers with a GELU in between (appendix A, eq. 3)."""

  mlp_dim: int
  gelu: str
  dropout: float
  dtype: DTypeLike

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
    drop = nn.Dropout(self.dropout, deterministic=not train)
    width = x.shape[-1]
    x = dense(self.mlp_dim, name="Dense_0")(x)  # [B N M]
    x = drop(GELU[self.gelu](constrain(x, "B N M")))
    return drop(dense(width, name="Dense_1")(x))


class EncoderBlock(nn.Module):
  """Pre-norm attention and MLP with residuals (eq. 2 and 3); a scan's body."""

  mlp_dim: int
  num_heads: int
  gelu: str
  layer_norm_eps: float
  dropout: float
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], train: bool
  ) -> tuple[Float[Array, "B N D"], None]:
    norm = functools.partial(
      nn.LayerNorm, epsilon=self.layer_norm_eps, dtype=self.dtype
    )
    drop = nn.Dropout(self.dropout, deterministic=not train)
    y = norm(name="LayerNorm_0")(x)
    y = MultiHeadDotProductAttention(
      self.num_heads, self.dtype, name="MultiHeadDotProductAttention_0"
    )(y)
    x = constrain(x + drop(y), "B N D")
    y = norm(name="LayerNorm_1")(x)
    y = MlpBlock(
      self.mlp_dim, self.gelu, self.dropout, self.dtype, name="MlpBlock_0"
    )(y, train)
    return constrain(x + y, "B N D"), None


class Encoder(nn.Module):
  """Position embedding, L stacked blocks and the final LayerNorm."""

  depth: int
  mlp_dim: int
  num_heads: int
  gelu: str
  layer_norm_eps: float
  dropout: float
  remat: str
  unroll: int
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], train: bool
  ) -> Float[Array, "B N D"]:
    x = LearnedPositionEmbedding(name="posembed_input")(x)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    block = EncoderBlock
    if self.remat != "none":
      # The scan's loop already keeps XLA from merging the recomputation away;
      # unrolled blocks need the barrier of `prevent_cse`.
      block = nn.remat(
        block,
        policy=REMAT[self.remat],
        prevent_cse=self.unroll > 1,
        static_argnums=(2,),
      )
    blocks = nn.scan(
      block,
      variable_axes={"params": 0},
      split_rngs={"params": True, "dropout": True},
      in_axes=nn.broadcast,
      length=self.depth,
      unroll=self.unroll,
    )
    x, _ = blocks(
      self.mlp_dim,
      self.num_heads,
      self.gelu,
      self.layer_norm_eps,
      self.dropout,
      self.dtype,
      name="encoderblock",
    )(x, train)
    return nn.LayerNorm(
      epsilon=self.layer_norm_eps, dtype=self.dtype, name="encoder_norm"
    )(x)


class ViT(nn.Module, kw_only=True):
  """Images in, logits out.

  Attributes:
    num_classes: Y.
    patch_size: P, in pixels; with a stem, in cells of its feature map.
    stem: None, or the units of each stage of a hybrid's ResNet; () is its first
      convolution and pooling alone.
    width: D.
    depth: L.
    mlp_dim: M.
    num_heads: K.
    pool: "token" reads the class token, "gap" the mean of the patch tokens and
      has no class token.
    representation_size: R, the width of the pre-training head's tanh layer
      (section 3.2); None for the linear head of fine-tuning.
    dropout: rate after every dense layer but query, key and value, and after
      the position embedding (appendix B.1).
    gelu: "tanh" as in the authors' JAX code, "exact" (erf) as in PyTorch.
    layer_norm_eps: epsilon of every LayerNorm.
    group_norm_eps: epsilon of every GroupNorm of the stem.
    std_conv_eps: added to the standard deviation of the stem's kernels.
    head_bias: initial bias of the head; -10 with the sigmoid loss.
    remat: what the backward pass recomputes: "none", all but matrix products
      ("dots"), or "full" blocks.
    unroll: how many blocks an iteration of the scan holds; `depth` is a fully
      unrolled encoder, faster to run and slower to compile.
    dtype: of activations; parameters, softmax, statistics and logits are
      float32.
  """

  num_classes: int
  patch_size: Count
  stem: tuple[Count, ...] | None = None
  width: Count
  depth: Count
  mlp_dim: Count
  num_heads: Count
  pool: Literal["token", "gap"] = "token"
  representation_size: Count | None = None
  dropout: Rate = 0.0
  gelu: Literal["tanh", "exact"] = "tanh"
  layer_norm_eps: Positive = 1e-6
  group_norm_eps: Positive = 1e-6
  std_conv_eps: Positive = 1e-5
  head_bias: float = 0.0
  remat: Literal["none", "dots", "full"] = "none"
  unroll: Count = 1
  dtype: Literal["float32", "bfloat16"] = "bfloat16"

  def setup(self):
    dtype = jnp.dtype(self.dtype)
    if self.stem is not None:
      modules = make_stem(
        self.stem,
        group_norm_eps=self.group_norm_eps,
        std_conv_eps=self.std_conv_eps,
        dtype=dtype,
      )
      for name, module in modules.items():
        setattr(self, name, module)
    patch = (self.patch_size, self.patch_size)
    self.embedding = nn.Conv(
      self.width, patch, strides=patch, padding="VALID", dtype=dtype
    )
    if self.pool == "token":
      self.cls = self.param(
        "cls", nn.initializers.zeros, (1, 1, self.width), jnp.float32
      )
    # Capitalised because an attribute's name is its parameters' path.
    self.Transformer = Encoder(
      depth=self.depth,
      mlp_dim=self.mlp_dim,
      num_heads=self.num_heads,
      gelu=self.gelu,
      layer_norm_eps=self.layer_norm_eps,
      dropout=self.dropout,
      remat=self.remat,
      unroll=self.unroll,
      dtype=dtype,
    )
    if self.representation_size:
      self.pre_logits = nn.Dense(self.representation_size, dtype=dtype)
    self.head = make_head(self.num_classes, self.head_bias)

  @property
  def stride(self) -> int:
    """Pixels from a patch to the next."""
    if self.stem is None:
      return self.patch_size
    return self.patch_size * 4 * 2 ** max(0, len(self.stem) - 1)

  def get_errors(self, height: int, width: int) -> list[str]:
    """What is wrong with this model for images of `height` by `width` px."""
    heads = self.num_heads
    return check_image_size(height, width, self.stride) + check_multiple(
      "model.width", self.width, heads, "model.num_heads"
    )

  def embed(self, image: Float[Array, "B H W c"]) -> Float[Array, "B N D"]:
    """Patch tokens in raster order, after the class token if there is one."""
    x = image
    if self.stem is not None:
      blocks = [f"block{i + 1}" for i in range(len(self.stem))]
      names = ("conv_root", "gn_root", *blocks)
      x = apply_stem([getattr(self, name) for name in names], image)
    x = self.embedding(x)  # [B h w D]
    batch, rows, columns, width = x.shape
    x = constrain(x.reshape(batch, rows * columns, width), "B N D")
    if self.pool == "token":
      cls = jnp.broadcast_to(self.cls.astype(x.dtype), (batch, 1, width))
      x = jnp.concatenate([cls, x], axis=1)
    return constrain(x, "B N D")

  def encode(
    self, x: Float[Array, "B N D"], *, train: bool = False
  ) -> Float[Array, "B N D"]:
    """The encoder's normalised output tokens."""
    return self.Transformer(x, train)

  def represent(self, x: Float[Array, "B N D"]) -> Float[Array, "B R"]:
    """Encoder output -> the representation that the head reads."""
    x = x[:, 0] if self.pool == "token" else jnp.mean(x, axis=1)
    if self.representation_size:
      x = nn.tanh(self.pre_logits(x))
    return constrain(x, "B R")

  def __call__(
    self, image: Float[Array, "B H W c"], *, train: bool = False
  ) -> Float[Array, "B Y"]:
    """Images of values in [-1, 1] -> float32 logits.

    Args:
      image: H and W must be multiples of the patch size.
      train: turns dropout on; needs the "dropout" key.
    """
    x = self.encode(self.embed(image), train=train)
    return constrain(self.head(self.represent(x)), "B Y")
