# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The masked autoencoder (MAE; He et al., 2022, arXiv 2111.06377).

The encoder sees the visible patches alone, a light decoder all positions, with
a learned [mask] where nothing was seen.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vit_jax.models.position import (
  Layout,
  join_axes,
  make_sincos,
  take_tokens,
)
from vit_jax.models.vit import ViT
from vit_jax.sharding import constrain


class Sizes(NamedTuple):
  """Sizes of a decoder: D, L and K; its MLPs are 4 D wide."""

  width: int
  depth: int
  num_heads: int


def make_blocks(encoder: ViT, sizes: Sizes, height: int, width: int) -> ViT:
  """Makes the ViT whose blocks decode, with the settings of an encoder.

  Args:
    encoder: the encoder.
    sizes: of the decoder.
    height: height of the images in pixels.
    width: width of the images in pixels.
  """
  unroll: Any = encoder.unroll
  blocks = encoder.clone(
    # Bound to no module, as the encoder may be.
    parent=None,
    name=None,
    num_classes=0,
    width=sizes.width,
    depth=sizes.depth,
    mlp_dim=4 * sizes.width,
    num_heads=sizes.num_heads,
    pool="gap",
    representation_size=None,
    position="none",
    position_at="input",
    registers=0,
    stochastic_depth=0.0,
    fc_norm=False,
    adapter=None,  # All of it is trained.
    unroll=unroll if unroll == "auto" else min(unroll, sizes.depth),
  )
  if blocks.find_errors(height, width):  # The encoder's kernel is none for it.
    blocks = blocks.clone(attention="xla", parent=None, name=None)
  return blocks


class Decoder(nn.Module, kw_only=True):
  """Encoded visible patches -> the pixels of all patches.

  Attributes:
    make: makes the ViT whose blocks decode.
  """

  make: Callable[[], ViT]

  def setup(self):
    self.vit = self.make()
    nn.share_scope(self, self.vit)
    width = self.vit.width
    self.embed = nn.Dense(
      width,
      kernel_init=nn.initializers.xavier_uniform(),
      dtype=self.vit.dtype,
    )
    self.mask = self.param(
      "mask", nn.initializers.normal(0.02), (1, 1, width), jnp.float32
    )

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "B n D"],
    place: Int[Array, "B N"],
    layout: Layout,
    outputs: int,
    train: bool,
  ) -> Float[Array, "B m F"]:
    """Predicts `outputs` numbers of each patch, in float32.

    Args:
      x: encoded tokens.
      place: where each token of the sequence is among them; n for [mask].
      layout: the tokens of the sequence.
      outputs: F.
      train: turns dropout on.
    """
    x = self.embed(x)
    batch, _, width = x.shape
    mask = jnp.broadcast_to(self.mask.astype(x.dtype), (batch, 1, width))
    x = take_tokens(jnp.concatenate([x, mask], axis=1), place)
    x = constrain(x + make_positions(layout, width).astype(x.dtype), "B N D")
    x, _ = self.vit.Transformer(x, layout, train, False)
    head = nn.Dense(
      outputs,
      kernel_init=nn.initializers.xavier_uniform(),
      dtype=jnp.float32,
      name="head",
    )
    return constrain(head(x[:, layout.prefix :].astype(jnp.float32)), "B N Y")


def make_positions(layout: Layout, width: int) -> Float[Array, "1 N D"]:
  """Sines and cosines of columns and rows, zero for tokens before the patches.

  The frequencies are those of the authors' code, in which the last is one step
  short of 1 / 10,000.
  """
  rows, columns = layout.grid
  x, y = (make_sincos(n, width // 2, last=False) for n in (columns, rows))
  return jnp.pad(join_axes(x, y), ((layout.prefix, 0), (0, 0)))[None]


class MaskedAutoencoder(nn.Module, kw_only=True):
  """An encoder that sees some patches, and a decoder that predicts all.

  The encoder's parameters keep their paths; those of `mae`, the decoder, lie
  beside them.

  Attributes:
    encoder: a ViT.
    decoder: sizes of the decoder.
  """

  encoder: ViT
  decoder: Sizes

  def setup(self):
    nn.share_scope(self, self.encoder)

  @nn.compact
  def __call__(
    self,
    image: Float[Array, "B H W c"],
    visible: Int[Array, "B v"] | None = None,
    *,
    train: bool = False,
  ) -> Float[Array, "B m F"]:
    """Predicts the P * P * c numbers of each patch.

    Args:
      image: images of values in [-1, 1].
      visible: the patches that the encoder sees, in raster order; None is all.
      train: turns dropout and stochastic depth on.
    """
    encoder = self.encoder
    layout = encoder.make_layout(*image.shape[1:3])
    prefix, patches = layout.prefix, math.prod(layout.grid)
    if visible is None:
      order = jnp.arange(patches, dtype=jnp.int32)[None]
      visible = jnp.broadcast_to(order, (image.shape[0], patches))
    kept, place = place_tokens(visible, prefix, patches)
    x, _ = encoder.Transformer(encoder.embed(image), layout, train, False, kept)
    if self.is_initializing():  # What the head of a later model reads.
      encoder.represent(x, False)
    make = functools.partial(
      make_blocks, encoder, Sizes(*self.decoder), *image.shape[1:3]
    )
    outputs = encoder.patch_size**2 * image.shape[-1]
    return Decoder(make=make, name="mae")(x, place, layout, outputs, train)


def place_tokens(
  visible: Int[Array, "B v"], prefix: int, patches: int
) -> tuple[Int[Array, "B n"], Int[Array, "B N"]]:
  """Finds where tokens are before and after others are left out.

  Args:
    visible: the patches that are kept, in raster order.
    prefix: number of tokens before the patches, which are all kept.
    patches: number of patches.

  Returns:
    The tokens that are kept; and for each token its place among them, or their
    number where it is not kept.
  """
  batch, count = visible.shape
  first = jnp.broadcast_to(jnp.arange(prefix)[None], (batch, prefix))
  kept = jnp.concatenate([first, visible + prefix], axis=1)
  seen = (visible[:, :, None] == jnp.arange(patches)[None, None]).any(axis=1)
  place = jnp.cumsum(seen, axis=1) - 1 + prefix
  place = jnp.where(seen, place, prefix + count)
  return kept, jnp.concatenate([first, place], axis=1)
