# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""MLP-Mixer (Tolstikhin et al., 2021, arXiv 2105.01601)."""

import functools
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.config import Count, Positive, check_image_size, raise_all
from vit_jax.models.convolution import convolve
from vit_jax.models.encoder import MlpBlock
from vit_jax.models.heads import make_head
from vit_jax.sharding import constrain


class MixerBlock(nn.Module):
  """An MLP over tokens and one over channels, with residuals; a scan's body."""

  token_mlp_dim: int
  mlp_dim: int
  gelu: str
  layer_norm_eps: float
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B N D"], train: bool, intermediates: bool
  ) -> tuple[Float[Array, "B N D"], Float[Array, "B N D"] | None]:
    norm = functools.partial(
      nn.LayerNorm, epsilon=self.layer_norm_eps, dtype=self.dtype
    )
    mlp = functools.partial(
      MlpBlock, gelu=self.gelu, dropout=0.0, dtype=self.dtype
    )
    y = jnp.swapaxes(norm(name="LayerNorm_0")(x), 1, 2)  # [B D N]
    y = mlp(self.token_mlp_dim, name="token_mixing")(y, train)
    x = constrain(x + jnp.swapaxes(y, 1, 2), "B N D")
    y = norm(name="LayerNorm_1")(x)
    y = mlp(self.mlp_dim, name="channel_mixing")(y, train)
    x = constrain(x + y, "B N D")
    return x, x if intermediates else None


class MlpMixer(nn.Module, kw_only=True):
  """An MLP-Mixer: images -> logits.

  Attributes:
    num_classes: Y; 0 leaves out the head and returns the representation.
    patch_size: P, in pixels.
    width: D.
    depth: L.
    token_mlp_dim: width of the MLP over tokens.
    mlp_dim: M, width of the MLP over channels.
    gelu: "tanh" as in the authors' JAX code, "exact" (erf) as in PyTorch.
    layer_norm_eps: epsilon of every LayerNorm.
    head_bias: initial bias of the head.
    unroll: as of `ViT`.
    dtype: dtype of activations; parameters, statistics and logits are float32.
  """

  num_classes: int
  patch_size: Count
  width: Count
  depth: Count
  token_mlp_dim: Count
  mlp_dim: Count
  gelu: Literal["tanh", "exact"] = "tanh"
  layer_norm_eps: Positive = 1e-6
  head_bias: float = 0.0
  unroll: Literal["auto"] | Count = "auto"
  dtype: Literal["float32", "bfloat16"] = "bfloat16"

  def setup(self):
    dtype = jnp.dtype(self.dtype)
    patch = (self.patch_size, self.patch_size)
    self.stem = nn.Conv(
      self.width,
      patch,
      strides=patch,
      padding="VALID",
      dtype=dtype,
      conv_general_dilated=convolve,
    )
    blocks = nn.scan(
      MixerBlock,
      variable_axes={"params": 0},
      split_rngs={"params": True},
      in_axes=nn.broadcast,
      length=self.depth,
      unroll=1 if self.unroll == "auto" else self.unroll,
    )
    # Capitalised because an attribute's name is its parameters' path.
    self.MixerBlock = blocks(
      self.token_mlp_dim, self.mlp_dim, self.gelu, self.layer_norm_eps, dtype
    )
    self.pre_head_layer_norm = nn.LayerNorm(
      epsilon=self.layer_norm_eps, dtype=dtype
    )
    self.head = make_head(self.num_classes, self.head_bias)

  def find_errors(self, height: int, width: int) -> list[str]:
    """Problems of this model with images of `height` by `width` pixels."""
    return check_image_size(height, width, self.patch_size)

  def __call__(
    self,
    image: Float[Array, "B H W c"],
    *,
    train: bool = False,
    intermediates: bool = False,
  ) -> Float[Array, "B Y"] | tuple[Float[Array, "B Y"], dict[str, Array]]:
    """Images of values in [-1, 1] -> float32 logits.

    Args:
      image: H and W must be those of `init`, as an MLP runs over the tokens.
      train: has no effect.
      intermediates: also return a dictionary of `residual` [L B N D], every
        block's output, and `pre_logits` [B R].

    Raises:
      ConfigError: for the problems that `find_errors` finds.
    """
    raise_all(self.find_errors(*image.shape[1:3]))
    x = self.stem(image)  # [B h w D]
    batch, rows, columns, width = x.shape
    x = constrain(x.reshape(batch, rows * columns, width), "B N D")
    x, residual = self.MixerBlock(x, train, intermediates)
    x = constrain(jnp.mean(self.pre_head_layer_norm(x), axis=1), "B R")
    logits = constrain(self.head(x), "B Y")
    if not intermediates:
      return logits
    return logits, {"residual": residual, "pre_logits": x}
