# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Vision Transformer (Dosovitskiy et al., 2021, arXiv 2010.11929).

Parameter paths are those of the authors' checkpoints, except that blocks are
stacked under `Transformer/encoderblock` with a leading L.
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
from vit_jax.models.adapter import find_adapter_errors, parse_adapter
from vit_jax.models.attention_kernels import KERNELS
from vit_jax.models.convolution import convolve
from vit_jax.models.encoder import Encoder
from vit_jax.models.heads import MAPHead, make_head
from vit_jax.models.position import Layout
from vit_jax.models.resnet import apply_stem, make_stem
from vit_jax.models.vmem_budget import supports_vmem
from vit_jax.sharding import constrain


class ViT(nn.Module, kw_only=True):
  """A Vision Transformer: images -> logits.

  Attributes:
    num_classes: Y; 0 leaves out the head and returns the representation.
    patch_size: P, in pixels; with a stem, in cells of its feature map.
    stem: for a hybrid, the number of units in each stage of its ResNet; () is
      the first convolution and pooling only. None for no stem.
    width: D.
    depth: L.
    mlp_dim: M.
    num_heads: K.
    pool: representation that the head reads: "token" is the class token, "gap"
      the mean of the patch tokens, "map" attention pooling of them. The latter
      two have no class token.
    representation_size: R, the width of the pre-training head's tanh layer
      (section 3.2); None for the linear head of fine-tuning.
    position: position embedding: "learned_1d" as in the paper; "none",
      "learned_2d" or "relative" of its appendix D.4; or "sincos_2d" or "rope",
      which are fixed.
    position_at: where a learned embedding is added (table 8): "input" to the
      first block's input, "every_layer" one of its own to each block's input,
      "shared" the same one to each.
    registers: number of learned tokens that the head does not read (Darcet et
      al., 2024, arXiv 2309.16588).
    dropout: rate after every dense layer except query, key and value, and after
      the position embedding (appendix B.1).
    stochastic_depth: rate at which the branches of the last block are dropped
      for an example in training; rises linearly from 0 in the first block.
    patch_dropout: share of the patches that is dropped in training.
    layer_scale: initial value of a learned factor per channel on every branch;
      None for no factor.
    qk_norm: applies a LayerNorm over C to queries and keys.
    swiglu: SwiGLU in the MLPs, with a third matrix; with 2/3 of M an MLP has as
      many parameters as without.
    fc_norm: applies the final LayerNorm after pooling instead of before it.
    gelu: "tanh" as in the authors' JAX code, "exact" (erf) as in PyTorch.
    layer_norm_eps: epsilon of every LayerNorm.
    group_norm_eps: epsilon of every GroupNorm of the stem.
    std_conv_eps: epsilon of the standardisation of the stem's kernels.
    std_conv_eps_in: what it is added to, the "std" or the "variance".
    head_bias: initial bias of the head; -10 with the sigmoid loss.
    adapter: "lora:RANK" adds adapters of low rank (Hu et al., 2022, arXiv
      2106.09685) to the kernels of attention (query, key, value, out) and MLPs:
      W + (alpha / rank) A B, where B starts at zero. Alpha is the rank, or
      another number in "lora:RANK:ALPHA". Only adapters and the head (`head`
      and `pre_logits`, and what an objective trains beside the model) are
      trained, as PEFT does with the head among its modules_to_save: everything
      else, LayerNorms and biases too, is frozen unless a pattern of
      optim.multipliers matches it. None for no adapters.
    remat: what the backward pass recomputes: "none"; "dots", everything except
      matrix products; "full", whole blocks, so that only their inputs are kept;
      "offload", the same with these inputs in the memory of the host. A run
      replaces "auto" by the first of them that fits (`devices.fitting`);
      elsewhere it is "none".
    unroll: number of blocks per iteration of the scan over blocks; `depth`
      unrolls all, which is faster to run and slower to compile. A run replaces
      "auto" (`devices.auto`); elsewhere it is 1.
    attention: "xla"; "vmem" (short sequences) or "flash" for TPUs, "cudnn" or
      "triton" (with one product for queries, keys and values; to be tried) for
      GPUs, kernels that need no memory for the attention weights; "heads" for
      CPUs, in float32. A run replaces "auto" by one of them, never "triton"
      (`devices.auto`); elsewhere it is "xla", and for intermediates always.
    dtype: dtype of activations; parameters, softmax, statistics and logits are
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
  adapter: str | None = None
  remat: Literal["auto", "none", "dots", "full", "offload"] = "auto"
  unroll: Literal["auto"] | Count = "auto"
  attention: Literal[
    "auto", "xla", "vmem", "flash", "cudnn", "triton", "heads"
  ] = "auto"
  dtype: Literal["float32", "bfloat16"] = "bfloat16"

  def setup(self):
    dtype, lora = jnp.dtype(self.dtype), parse_adapter(self.adapter)
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
        adapter=lora,
      ),
      position=self.position,
      position_at=self.position_at,
      dropout=self.dropout,
      stochastic_depth=self.stochastic_depth,
      patch_dropout=self.patch_dropout,
      final_norm=not self.fc_norm,
      remat="none" if self.remat == "auto" else self.remat,
      unroll=1 if self.unroll == "auto" else self.unroll,
      attention="xla" if self.attention == "auto" else self.attention,
      dtype=dtype,
    )
    norm = dict(epsilon=self.layer_norm_eps, dtype=dtype)
    if self.pool == "map":
      self.MAPHead_0 = MAPHead(
        *(self.mlp_dim, self.num_heads, self.gelu),
        *(self.layer_norm_eps, dtype, lora),
      )
    if self.fc_norm:
      self.pooled_norm = nn.LayerNorm(**norm)
    if self.representation_size:
      self.pre_logits = nn.Dense(self.representation_size, dtype=dtype)
    self.head = make_head(self.num_classes, self.head_bias)

  @property
  def stride(self) -> int:
    """Pixels from one patch to the next."""
    if self.stem is None:
      return self.patch_size
    return self.patch_size * 4 * 2 ** max(0, len(self.stem) - 1)

  def find_errors(self, height: int, width: int) -> list[str]:
    """Problems of this model with images of `height` by `width` pixels."""
    heads = self.num_heads
    errors = check_image_size(height, width, self.stride) + check_multiple(
      "model.width", self.width, heads, "model.num_heads"
    )
    errors += find_adapter_errors(self.adapter, self.width, self.mlp_dim)
    needs = {
      "learned_2d": ("width", self.width, 2),
      "sincos_2d": ("width", self.width, 4),
      "rope": ("width / num_heads", self.width // heads, 4),
    }
    if self.position in needs:
      name, value, divisor = needs[self.position]
      errors += check_multiple(
        f"model.{name}", value, divisor, f"for model.position={self.position!r}"
      )
    learned = self.position in ("learned_1d", "learned_2d")
    if self.position_at != "input" and not learned:
      errors.append(
        f"model.position_at={self.position_at!r} needs model.position="
        f"'learned_1d' or 'learned_2d', not {self.position!r}: set it to "
        f"'input'"
      )
    kernels = (*KERNELS, "triton")
    if self.attention in kernels and self.position == "relative":
      errors.append(
        f"model.attention={self.attention!r} cannot add the bias of "
        f"model.position='relative': set it to 'xla'"
      )
    size = self.width // heads
    tokens = self.make_layout(height, width).tokens
    if self.attention == "vmem" and not supports_vmem(
      tokens, heads, size, self.dtype
    ):
      errors.append(
        f"model.attention='vmem' cannot hold {tokens} tokens of {heads} heads "
        f"of {size} in {self.dtype}: set it to 'flash' or 'xla'"
      )
    if self.attention == "heads" and self.dtype != "float32":
      errors.append(
        f"model.attention='heads' needs model.dtype='float32', not "
        f"{self.dtype}: set it to 'xla'"
      )
    small = self.dtype == "bfloat16" and size % 8 == 0 and size <= 128
    if self.attention in ("cudnn", "triton") and not small:
      errors.append(
        f"model.attention={self.attention!r} needs model.dtype='bfloat16' and "
        f"a head size (model.width / model.num_heads) that is a multiple of 8 "
        f"up to 128, not {self.dtype} and {size}: set it to 'xla'"
      )
    changed = {
      "model.qk_norm": self.qk_norm,
      "model.position='rope'": self.position == "rope",
      "model.adapter": self.adapter is not None,
    }
    for name, given in changed.items():
      if self.attention == "triton" and given:
        errors.append(
          f"model.attention='triton' reads queries and keys as one product has "
          f"made them, and {name} changes them: set it to 'cudnn'"
        )
    return errors

  def make_layout(self, height: int, width: int) -> Layout:
    """The tokens of an image of `height` by `width` pixels."""
    grid = (height // self.stride, width // self.stride)
    return Layout(grid, int(self.pool == "token"), self.registers)

  def embed(self, image: Float[Array, "B H W c"]) -> Float[Array, "B N D"]:
    """Embeds an image: class token, registers, patches in raster order."""
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

  def represent(
    self, x: Float[Array, "B N D"], intermediates: bool
  ) -> tuple[Float[Array, "B R"], dict[str, Array]]:
    """Pools the encoder's output to the representation that the head reads."""
    found = {}
    patches = x[:, int(self.pool == "token") + self.registers :]
    if self.pool == "token":
      x = x[:, 0]
    elif self.pool == "gap":
      x = jnp.mean(patches, axis=1)
    else:
      x, weights = self.MAPHead_0(patches, return_weights=intermediates)
      found = {} if weights is None else {"pooling": weights}
    if self.fc_norm:
      x = self.pooled_norm(x)
    if self.representation_size:
      x = nn.tanh(self.pre_logits(x))
    return constrain(x, "B R"), found

  def __call__(
    self,
    image: Float[Array, "B H W c"],
    *,
    train: bool = False,
    intermediates: bool = False,
  ) -> Float[Array, "B Y"] | tuple[Float[Array, "B Y"], dict[str, Array]]:
    """Images of values in [-1, 1] -> float32 logits.

    Args:
      image: H and W must be multiples of `stride`.
      train: turns on dropout, stochastic depth and patch dropout; needs the
        random key "dropout".
      intermediates: also return the arrays in between.

    Returns:
      The logits. With intermediates (logits, found), where `found` has
      `embedded` [B N D], the first block's input; `residual` [L B N D] and
      `attention` [L B K N N], every block's output and attention weights;
      `encoded` [B n D], the encoder's output; with pool="map" `pooling`
      [B K n'], the weights of its patches; and `pre_logits` [B R], the head's
      input. In training with patch dropout, N is the n tokens kept.

    Raises:
      ConfigError: for the problems that `find_errors` finds.
    """
    raise_all(self.find_errors(*image.shape[1:3]))
    layout = self.make_layout(*image.shape[1:3])
    tokens, found = self.Transformer(
      self.embed(image), layout, train, intermediates
    )
    representation, pooling = self.represent(tokens, intermediates)
    logits = constrain(self.head(representation), "B Y")
    if not intermediates:
      return logits
    found |= pooling | {"encoded": tokens, "pre_logits": representation}
    return logits, found
