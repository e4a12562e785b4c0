# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ResNets with weight standardisation and group normalisation.

Two kinds: `ResNet` is BiT's (Kolesnikov et al., 2020, arXiv 1912.11370), with
activations before the convolutions, the convolutional baseline of the ViT
paper. `make_stem` is the stem of the hybrids (ViT paper, section 3.1
and appendix B.2), with activations after them.

Their epsilons differ. BiT's, in the three programs of its release (JAX,
TensorFlow, PyTorch; github.com/google-research/big_transfer) and in big_vision,
are 1e-5 in GroupNorm and 1e-10, added to the variance, in the kernels; those of
the hybrids' release are 1e-6, and 1e-5 added to the standard deviation.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vit_jax.config import Count, Positive
from vit_jax.models.convolution import convolve
from vit_jax.models.heads import make_head
from vit_jax.sharding import constrain

GROUPS = 32


class StdConv(nn.Module):
  """A convolution with weight standardisation over H, W and input channels.

  (Qiao et al., 2019, arXiv 1903.10520.)

  Attributes:
    features: number of output channels.
    size: side of the square kernel.
    stride: stride along both axes.
    padding: "SAME" as in the hybrids, or "FIXED", which does not depend on the
      stride, as in BiT.
    eps: epsilon of the standardisation.
    eps_in: what it is added to, the "std" or the "variance".
    dtype: dtype of the convolution; the kernel is standardised in float32.
  """

  features: int
  size: int
  stride: int = 1
  padding: Literal["SAME", "FIXED"] = "SAME"
  eps: float = 1e-5
  eps_in: Literal["std", "variance"] = "std"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    axes = (0, 1, 2)
    mean = jnp.mean(kernel, axes, keepdims=True)
    if self.eps_in == "std":
      std = jnp.std(kernel, axes, keepdims=True) + self.eps
    else:
      std = jnp.sqrt(jnp.var(kernel, axes, keepdims=True) + self.eps)
    kernel = (kernel - mean) / std
    side = (self.size // 2, (self.size - 1) // 2)
    return convolve(
      x.astype(self.dtype),
      kernel.astype(self.dtype),
      window_strides=(self.stride, self.stride),
      padding="SAME" if self.padding == "SAME" else (side, side),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class Unit(nn.Module):
  """A bottleneck of a hybrid's stem: convolution, norm, then activation.

  Attributes:
    width: channels of the middle; four times as many come out.
    stride: stride of the 3x3 convolution.
    group_norm_eps: epsilon of the normalisations.
    std_conv_eps, std_conv_eps_in: `eps` and `eps_in` of the convolutions.
    dtype: dtype of activations.
  """

  width: int
  stride: int
  group_norm_eps: float
  std_conv_eps: float
  std_conv_eps_in: str
  dtype: DTypeLike

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    def conv(name, features, size, stride=1):
      return StdConv(
        features,
        size,
        stride,
        eps=self.std_conv_eps,
        eps_in=self.std_conv_eps_in,
        dtype=self.dtype,
        name=name,
      )

    def norm(name, scale=nn.initializers.ones):
      return nn.GroupNorm(
        GROUPS,
        epsilon=self.group_norm_eps,
        scale_init=scale,
        dtype=self.dtype,
        name=name,
      )

    out = 4 * self.width
    residual = x
    if x.shape[-1] != out or self.stride != 1:
      residual = norm("gn_proj")(conv("conv_proj", out, 1, self.stride)(x))
    y = nn.relu(norm("gn1")(conv("conv1", self.width, 1)(x)))
    y = nn.relu(norm("gn2")(conv("conv2", self.width, 3, self.stride)(y)))
    y = norm("gn3", nn.initializers.zeros)(conv("conv3", out, 1)(y))
    return constrain(nn.relu(residual + y), "B h w D")


class Stage(nn.Module):
  """Units at one resolution; the first may halve it.

  Attributes:
    units: number of units.
    width: `width` of every unit.
    stride: stride of the first unit; the others have 1.
    unit_fields: the remaining fields of every unit.
  """

  units: int
  width: int
  stride: int
  unit_fields: Mapping[str, Any]

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    for i in range(self.units):
      stride = self.stride if i == 0 else 1
      x = Unit(self.width, stride, **self.unit_fields, name=f"unit{i + 1}")(x)
    return x


def make_norm(eps: float, dtype: DTypeLike, **options: Any) -> nn.GroupNorm:
  """Makes a normalisation of BiT.

  In float32 its variance is a mean of squared deviations, as in the release: of
  activations that many units added up, the mean of squares less the squared
  mean loses digits, 0.026 of the result where a mean is 100 deviations. Rounded
  to bfloat16 they have lost more already, and the second pass takes time.
  """
  fast = jnp.dtype(dtype) != jnp.float32
  return nn.GroupNorm(
    GROUPS, epsilon=eps, use_fast_variance=fast, dtype=dtype, **options
  )


class PreNormConv(nn.Module):
  """A third of a BiT unit: norm, activation, convolution, in this order.

  Attributes:
    features: number of output channels.
    size: side of the square kernel.
    stride: stride of the convolution.
    projection: (channels, stride) of a second, 1x1, convolution of the same
      activations; None for no second one.
    group_norm_eps: epsilon of the normalisation.
    std_conv_eps, std_conv_eps_in: `eps` and `eps_in` of the convolutions.
    dtype: dtype of activations.
  """

  features: int
  size: int
  stride: int
  projection: tuple[int, int] | None
  group_norm_eps: float
  std_conv_eps: float
  std_conv_eps_in: str
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "B h w c"]
  ) -> tuple[Float[Array, "B H W D"], Float[Array, "B H2 W2 D2"] | None]:
    fields = dict(
      padding="FIXED",
      eps=self.std_conv_eps,
      eps_in=self.std_conv_eps_in,
      dtype=self.dtype,
    )
    norm = make_norm(self.group_norm_eps, self.dtype, name="group_norm")
    x = nn.relu(norm(x))
    conv = StdConv(
      self.features,
      self.size,
      self.stride,
      **fields,
      name="standardized_conv2d",
    )
    if self.projection is None:
      return conv(x), None
    features, stride = self.projection
    return conv(x), Projection(features, stride, fields, name="proj")(x)


class Projection(nn.Module):
  """The 1x1 convolution on the shortcut of a BiT unit."""

  features: int
  stride: int
  fields: Mapping[str, Any]

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    return StdConv(
      self.features, 1, self.stride, **self.fields, name="standardized_conv2d"
    )(x)


class PreNormUnit(nn.Module):
  """A bottleneck unit of BiT (arXiv 1912.11370, section 3.1)."""

  width: int
  stride: int
  fields: Mapping[str, Any]

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    out = 4 * self.width
    projects = x.shape[-1] != out or self.stride != 1
    projection = (out, self.stride) if projects else None
    y, shortcut = PreNormConv(
      self.width, 1, 1, projection, **self.fields, name="a"
    )(x)
    y, _ = PreNormConv(
      self.width, 3, self.stride, None, **self.fields, name="b"
    )(y)
    y, _ = PreNormConv(out, 1, 1, None, **self.fields, name="c")(y)
    return constrain((shortcut if projects else x) + y, "B h w D")


class PreNormStage(nn.Module):
  """BiT units at one resolution."""

  units: int
  width: int
  stride: int
  fields: Mapping[str, Any]

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    for i in range(self.units):
      stride = self.stride if i == 0 else 1
      name = f"unit{i + 1:02d}"
      x = PreNormUnit(self.width, stride, self.fields, name=name)(x)
    return x


class RootBlock(nn.Module):
  """BiT's first convolution; the pooling after it has no parameters."""

  features: int
  fields: Mapping[str, Any]

  @nn.compact
  def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B H W D"]:
    return StdConv(
      self.features, 7, 2, **self.fields, name="standardized_conv2d"
    )(x)


class ResNet(nn.Module, kw_only=True):
  """A BiT ResNet: images -> logits.

  Attributes:
    num_classes: Y; 0 leaves out the head and returns the representation.
    stages: number of units in each of the four stages.
    width_factor: factor on the width of every layer, 3 in R50x3.
    head_bias: initial bias of the head.
    group_norm_eps: epsilon of every GroupNorm.
    std_conv_eps: epsilon of the standardisation of every kernel.
    std_conv_eps_in: what it is added to, the "std" or the "variance".
    dtype: dtype of activations; parameters, statistics and logits are float32.
  """

  num_classes: int
  stages: tuple[Count, ...]
  width_factor: Count
  head_bias: float = 0.0
  group_norm_eps: Positive = 1e-5
  std_conv_eps: Positive = 1e-10
  std_conv_eps_in: Literal["std", "variance"] = "variance"
  dtype: Literal["float32", "bfloat16"] = "bfloat16"

  def setup(self):
    dtype = jnp.dtype(self.dtype)
    width = 64 * self.width_factor
    convs = dict(
      padding="FIXED",
      eps=self.std_conv_eps,
      eps_in=self.std_conv_eps_in,
      dtype=dtype,
    )
    units = dict(
      group_norm_eps=self.group_norm_eps,
      std_conv_eps=self.std_conv_eps,
      std_conv_eps_in=self.std_conv_eps_in,
      dtype=dtype,
    )
    self.root_block = RootBlock(width, convs)
    for i, count in enumerate(self.stages):
      stage = PreNormStage(count, width * 2**i, 1 if i == 0 else 2, units)
      setattr(self, f"block{i + 1}", stage)
    self.group_norm = make_norm(self.group_norm_eps, dtype)
    self.head = make_head(self.num_classes, self.head_bias)

  def find_errors(self, height: int, width: int) -> list[str]:
    """Problems of this model with images of this size: none."""
    del height, width
    return []

  def __call__(
    self,
    image: Float[Array, "B H W c"],
    *,
    train: bool = False,
    intermediates: bool = False,
  ) -> Float[Array, "B Y"] | tuple[Float[Array, "B Y"], dict[str, Array]]:
    """Images of values in [-1, 1] -> float32 logits.

    Args:
      image: images of any height and width.
      train: has no effect.
      intermediates: also return a dictionary of `block1` and so on [B h w D],
        the output of every stage, and `pre_logits` [B R].
    """
    del train
    found = {}
    x = self.root_block(image)
    border = ((0, 0), (1, 1), (1, 1), (0, 0))
    # BiT's release pads with zeros, which may exceed what is pooled; the model
    # in big_vision pads with minus infinity. Published files want zeros: with
    # them timm finds 82.82 % for the distilled R50x1, its authors 82.8 %.
    x = nn.max_pool(jnp.pad(x, border), (3, 3), strides=(2, 2))
    for name in (f"block{i + 1}" for i in range(len(self.stages))):
      x = found[name] = getattr(self, name)(x)
    x = nn.relu(self.group_norm(x)).mean(axis=(1, 2))
    x = found["pre_logits"] = constrain(x, "B R")
    logits = constrain(self.head(x), "B Y")
    return (logits, found) if intermediates else logits


def make_stem(
  stages: Sequence[int], **unit_fields: Any
) -> dict[str, nn.Module]:
  """Makes the stem of the hybrids, as modules by the authors' names, in order.

  Args:
    stages: number of units in each stage; () is the first convolution and
      pooling only.
    **unit_fields: group_norm_eps, std_conv_eps, std_conv_eps_in and dtype.
  """
  eps, dtype = unit_fields["group_norm_eps"], unit_fields["dtype"]
  modules = {
    "conv_root": StdConv(
      64,
      7,
      2,
      eps=unit_fields["std_conv_eps"],
      eps_in=unit_fields["std_conv_eps_in"],
      dtype=dtype,
    ),
    "gn_root": nn.GroupNorm(GROUPS, epsilon=eps, dtype=dtype),
  }
  for i, units in enumerate(stages):
    stride = 1 if i == 0 else 2
    modules[f"block{i + 1}"] = Stage(units, 64 * 2**i, stride, unit_fields)
  return modules


def apply_stem(
  modules: Sequence[nn.Module], image: Float[Array, "B H W c"]
) -> Float[Array, "B h w D"]:
  """Images -> the feature map of which a hybrid's patches are made."""
  conv_root, gn_root, *blocks = modules
  x = nn.relu(gn_root(conv_root(image)))
  x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
  for block in blocks:
    x = block(x)
  return x
