# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Vision Transformer (Dosovitskiy et al., 2021, arXiv 2010.11929).

Parameter paths are those of the authors' checkpoints, except that the blocks
are stacked under `Transformer/encoderblock` with a leading L.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.config import (
  Count,
  Natural,
  Positive,
  Rate,
  check_image_size,
  check_multiple,
  raise_all,
)
from vit_jax.models.convolution import convolve
from vit_jax.models.encoder import Encoder
from vit_jax.models.heads import MAPHead, make_head
from vit_jax.models.kernels import KERNELS
from vit_jax.models.position import Layout
from vit_jax.models.resnet import apply_stem, make_stem
from vit_jax.sharding import constrain


class ViT(nn.Module, kw_only=True):
  """Images in, logits out.

  Attributes:
    num_classes: Y; 0 is without a head, the representation comes out.
    patch_size: P, in pixels; with a stem, in cells of its feature map.
    stem: None, or the units of each stage of a hybrid's ResNet; () is its first
      convolution and pooling alone.
    width: D.
    depth: L.
    mlp_dim: M.
    num_heads: K.
    pool: "token" reads the class token, "gap" the mean of the patch tokens,
      "map" an attention pooling of them; the latter two have no class token.
    representation_size: R, the width of the pre-training head's tanh layer
      (section 3.2); None for the linear head of fine-tuning.
    position: "learned_1d" as in the paper, or another of appendix D.4: "none",
      "learned_2d", "relative"; or "sincos_2d" or "rope", which are fixed.
    position_at: where a learned position is added (table 8): "input" once,
      "every_layer" to the input of every block, "shared" the same.
    registers: learned tokens beside the patches, read by nobody (Darcet et
      al., 2024, arXiv 2309.16588).
    dropout: rate after every dense layer but query, key and value, and after
      the position embedding (appendix B.1).
    stochastic_depth: rate at which the last block's branches are left out for
      an example in training; rises linearly from 0 in the first.
    patch_dropout: share of the patches that is left out in training.
    layer_scale: initial factor on every branch, learned a channel; None is
      without.
    qk_norm: a LayerNorm over C of queries and keys.
    swiglu: SwiGLU in the MLPs, with a third matrix; take 2/3 of M for the same
      size.
    fc_norm: the final LayerNorm after pooling instead of before it.
    gelu: "tanh" as in the authors' JAX code, "exact" (erf) as in PyTorch.
    layer_norm_eps: epsilon of every LayerNorm.
    group_norm_eps: epsilon of every GroupNorm of the stem.
    std_conv_eps: added to the standard deviation of the stem's kernels.
    std_conv_eps_in: "std", or "variance": added to the variance instead.
    head_bias: initial bias of the head; -10 with the sigmoid loss.
    remat: what the backward pass recomputes: "none", all but matrix products
      ("dots"), or "full" blocks; "offload" is "full" with what is kept, every
      block's input, in the memory of the host.
    unroll: how many blocks an iteration of the scan holds; `depth` is a fully
      unrolled encoder, faster to run and slower to compile.
    attention: "xla"; "flash", a TPU's kernel, or "cudnn", a GPU's, which need
      no memory for the weights; "auto" is what `choose_attention` says, and
      XLA where nobody asks it. Intermediates are always of XLA.
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
  pool: Literal["token", "gap", "map"] = "token"
  representation_size: Count | None = None
  position: Literal[
    "none", "learned_1d", "learned_2d", "relative", "sincos_2d", "rope"
  ] = "learned_1d"
  position_at: Literal["input", "every_layer", "shared"] = "input"
  registers: Natural = 0
  dropout: Rate = 0.0
  stochastic_depth: Rate = 0.0
  patch_dropout: Rate = 0.0
  layer_scale: Positive | None = None
  qk_norm: bool = False
  swiglu: bool = False
  fc_norm: bool = False
  gelu: Literal["tanh", "exact"] = "tanh"
  layer_norm_eps: Positive = 1e-6
  group_norm_eps: Positive = 1e-6
  std_conv_eps: Positive = 1e-5
  std_conv_eps_in: Literal["std", "variance"] = "std"
  head_bias: float = 0.0
  remat: Literal["none", "dots", "full", "offload"] = "none"
  unroll: Count = 1
  attention: Literal["auto", "xla", "flash", "cudnn"] = "auto"
  dtype: Literal["float32", "bfloat16"] = "bfloat16"

  def setup(self):
    dtype = jnp.dtype(self.dtype)
    if self.stem is not None:
      modules = make_stem(
        self.stem,
        group_norm_eps=self.group_norm_eps,
        std_conv_eps=self.std_conv_eps,
        std_conv_eps_in=self.std_conv_eps_in,
        dtype=dtype,
      )
      for name, module in modules.items():
        setattr(self, name, module)
    patch = (self.patch_size, self.patch_size)
    self.embedding = nn.Conv(
      self.width,
      patch,
      strides=patch,
      padding="VALID",
      dtype=dtype,
      conv_general_dilated=convolve,
    )
    if self.pool == "token":
      self.cls = self.param(
        "cls", nn.initializers.zeros, (1, 1, self.width), jnp.float32
      )
    if self.registers:
      self.register = self.param(
        "register",
        nn.initializers.normal(0.02),
        (1, self.registers, self.width),
      )
    # Capitalised because an attribute's name is its parameters' path.
    self.Transformer = Encoder(
      depth=self.depth,
      block=dict(
        mlp_dim=self.mlp_dim,
        num_heads=self.num_heads,
        gelu=self.gelu,
        swiglu=self.swiglu,
        layer_norm_eps=self.layer_norm_eps,
        qk_norm=self.qk_norm,
        layer_scale=self.layer_scale,
      ),
      position=self.position,
      position_at=self.position_at,
      dropout=self.dropout,
      stochastic_depth=self.stochastic_depth,
      patch_dropout=self.patch_dropout,
      final_norm=not self.fc_norm,
      remat=self.remat,
      unroll=self.unroll,
      attention=self.attention,
      dtype=dtype,
    )
    norm = dict(epsilon=self.layer_norm_eps, dtype=dtype)
    if self.pool == "map":
      self.MAPHead_0 = MAPHead(
        self.mlp_dim, self.num_heads, self.gelu, self.layer_norm_eps, dtype
      )
    if self.fc_norm:
      self.pooled_norm = nn.LayerNorm(**norm)
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
    errors = check_image_size(height, width, self.stride) + check_multiple(
      "model.width", self.width, heads, "model.num_heads"
    )
    needs = {
      "learned_2d": ("width", self.width, 2),
      "sincos_2d": ("width", self.width, 4),
      "rope": ("width / num_heads", self.width // heads, 4),
    }
    if self.position in needs:
      what, value, divisor = needs[self.position]
      errors += check_multiple(
        f"model.{what}", value, divisor, f"for model.position={self.position!r}"
      )
    learned = self.position in ("learned_1d", "learned_2d")
    if self.position_at != "input" and not learned:
      errors.append(
        f"model.position_at={self.position_at!r} is for learned positions: "
        f"model.position={self.position!r} takes 'input'"
      )
    if self.attention in KERNELS and self.position == "relative":
      errors.append(
        f"model.attention={self.attention!r} adds no bias, and "
        f"model.position='relative' is one: take 'xla'"
      )
    size = self.width // heads
    small = self.dtype == "bfloat16" and size % 8 == 0 and size <= 128
    if self.attention == "cudnn" and not small:
      errors.append(
        f"model.attention='cudnn' takes model.dtype='bfloat16' and heads of a "
        f"multiple of 8 up to 128, and these are {self.dtype} of {size}: take "
        f"'xla'"
      )
    return errors

  def get_layout(self, height: int, width: int) -> Layout:
    """Where the tokens of an image of so many pixels come from."""
    grid = (height // self.stride, width // self.stride)
    return Layout(grid, int(self.pool == "token"), self.registers)

  def embed(self, image: Float[Array, "B H W c"]) -> Float[Array, "B N D"]:
    """Class token if there is one, registers, and patches in raster order."""
    x = image
    if self.stem is not None:
      blocks = [f"block{i + 1}" for i in range(len(self.stem))]
      names = ("conv_root", "gn_root", *blocks)
      x = apply_stem([getattr(self, name) for name in names], image)
    x = self.embedding(x)  # [B h w D]
    batch, rows, columns, width = x.shape
    x = constrain(x.reshape(batch, rows * columns, width), "B N D")
    tokens = [self.cls] if self.pool == "token" else []
    tokens += [self.register] if self.registers else []
    tokens = [
      jnp.broadcast_to(t.astype(x.dtype), (batch, *t.shape[1:])) for t in tokens
    ]
    return constrain(jnp.concatenate([*tokens, x], axis=1), "B N D")

  def encode(
    self,
    x: Float[Array, "B N D"],
    layout: Layout,
    *,
    train: bool = False,
    intermediates: bool = False,
  ) -> tuple[Float[Array, "B n D"], dict[str, Array]]:
    """The encoder's output tokens, in training those that are not dropped.

    Args:
      x: from `embed`.
      layout: of its tokens, from `get_layout`.
      train: turns everything random on; needs the "dropout" key.
      intermediates: whether to return what the blocks computed.

    Returns:
      The tokens, and if asked `embedded` [B N D], which enters the first block,
      and of every block `residual` [L B N D], its output, and `attention`
      [L B K N N], its weights.
    """
    return self.Transformer(x, layout, train, intermediates)

  def represent(self, x: Float[Array, "B N D"]) -> Float[Array, "B R"]:
    """Encoder output -> the representation that the head reads."""
    patches = x[:, int(self.pool == "token") + self.registers :]
    if self.pool == "token":
      x = x[:, 0]
    elif self.pool == "gap":
      x = jnp.mean(patches, axis=1)
    else:
      x = self.MAPHead_0(patches)
    if self.fc_norm:
      x = self.pooled_norm(x)
    if self.representation_size:
      x = nn.tanh(self.pre_logits(x))
    return constrain(x, "B R")

  def __call__(
    self,
    image: Float[Array, "B H W c"],
    *,
    train: bool = False,
    intermediates: bool = False,
  ) -> Float[Array, "B Y"] | tuple[Float[Array, "B Y"], dict[str, Array]]:
    """Images of values in [-1, 1] -> float32 logits.

    Args:
      image: H and W must be multiples of the patch size.
      train: turns dropout and the like on; needs the "dropout" key.
      intermediates: whether to return what lies between as well.

    Returns:
      The logits; if intermediates are asked for, beside a dictionary of those
      of `encode`, `encoded` [B N D] and `pre_logits` [B R].

    Raises:
      ConfigError: as `get_errors`.
    """
    raise_all(self.get_errors(*image.shape[1:3]))
    layout = self.get_layout(*image.shape[1:3])
    encoded, found = self.encode(
      self.embed(image), layout, train=train, intermediates=intermediates
    )
    representation = self.represent(encoded)
    logits = constrain(self.head(representation), "B Y")
    if not intermediates:
      return logits
    return logits, found | {"encoded": encoded, "pre_logits": representation}
