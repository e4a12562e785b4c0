# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the .npz formats: the authors' ViTs and hybrids, big_vision's ViTs,
BiT's ResNets, MLP-Mixers."""

from collections.abc import Iterator

from vit_jax.convert.table import Arrays, Row, Transform

STACK = "Transformer/encoderblock"
ATTENTION = "MultiHeadDotProductAttention"

# Normalisations of the hybrids lie there as (1, 1, 1, W).
SPREAD = Transform(
  lambda x, heads: x.reshape(-1),
  lambda x, heads: x.reshape(1, 1, 1, -1),
)
# The head of BiT is a 1x1 convolution.
POINTWISE = Transform(
  lambda x, heads: x.reshape(x.shape[-2:]),
  lambda x, heads: x.reshape(1, 1, *x.shape),
)

LINEN = ("LayerNorm_0", f"{ATTENTION}_0", "LayerNorm_1", "MlpBlock_0")
# Before Linen, submodules were numbered across kinds.
PRE_LINEN = ("LayerNorm_0", f"{ATTENTION}_1", "LayerNorm_2", "MlpBlock_3")


def get_block(theirs: str, ours: str, spelling: tuple) -> Iterator[Row]:
  """Rows of an encoder block under a prefix of names."""
  norm1, attention, norm2, mlp = spelling
  for name, path in ((norm1, LINEN[0]), (norm2, LINEN[2])):
    yield Row(f"{theirs}/{name}/{{leaf}}", f"{ours}/{path}/{{leaf}}")
  for name, path in ((attention, LINEN[1]), (mlp, LINEN[3])):
    yield Row(
      f"{theirs}/{name}/{{part}}/{{leaf}}", f"{ours}/{path}/{{part}}/{{leaf}}"
    )


def get_same(*names: str) -> Iterator[Row]:
  """Rows of names that are ours."""
  for name in names:
    yield Row(name, name)


# What ViTs of all .npz formats share.
SHARED = tuple(
  get_same(
    "cls",
    "embedding/{leaf}",
    "Transformer/encoder_norm/{leaf}",
    "pre_logits/{leaf}",
    "head/{leaf}",
  )
)

STEM = (
  Row("conv_root/kernel", "conv_root/kernel"),
  Row("gn_root/{leaf}", "gn_root/{leaf}", SPREAD),
  *(
    Row(
      f"block{{b}}/unit{{u}}/{name}/{{leaf}}",
      f"block{{b}}/unit{{u}}/{name}/{{leaf}}",
      SPREAD if name.startswith("gn") else Row.transform,
    )
    for kind in ("conv", "gn")
    for name in (f"{kind}1", f"{kind}2", f"{kind}3", f"{kind}_proj")
  ),
)

POSITION = "Transformer/posembed_input/pos_embedding"
MAP = "MAPHead_0"


def get_authors(spelling: tuple) -> tuple[Row, ...]:
  """The authors' table, in a spelling of the blocks."""
  return (
    *SHARED,
    *STEM,
    *get_same(POSITION),
    *get_block(f"{STACK}_{{i}}", STACK, spelling),
  )


def get_big_vision(scanned: bool) -> tuple[Row, ...]:
  """big_vision's table."""
  return (
    *SHARED,
    Row("pos_embedding", POSITION),
    *get_block(STACK if scanned else f"{STACK}_{{i}}", STACK, LINEN),
    *get_same(
      f"{MAP}/probe",
      f"{MAP}/LayerNorm_0/{{leaf}}",
      f"{MAP}/{ATTENTION}_0/{{part}}/{{leaf}}",
      f"{MAP}/MlpBlock_0/{{part}}/{{leaf}}",
    ),
  )


BIT = (
  Row(
    "resnet/root_block/standardized_conv2d/kernel",
    "root_block/standardized_conv2d/kernel",
  ),
  *(
    Row(
      f"resnet/block{{b}}/unit{{unit}}/{{third}}/{theirs}",
      f"block{{b}}/unit{{unit}}/{{third}}/{ours}",
    )
    for theirs, ours in (
      ("standardized_conv2d/kernel", "standardized_conv2d/kernel"),
      ("proj/standardized_conv2d/kernel", "proj/standardized_conv2d/kernel"),
      ("group_norm/gamma", "group_norm/scale"),
      ("group_norm/beta", "group_norm/bias"),
    )
  ),
  Row("resnet/group_norm/gamma", "group_norm/scale"),
  Row("resnet/group_norm/beta", "group_norm/bias"),
  Row("resnet/head/conv2d/kernel", "head/kernel", POINTWISE),
  Row("resnet/head/conv2d/bias", "head/bias"),
)

MIXER = (
  *get_same("stem/{leaf}", "pre_head_layer_norm/{leaf}", "head/{leaf}"),
  *(
    Row(f"MixerBlock_{{i}}/{name}", f"MixerBlock/{name}")
    for name in (
      *(f"LayerNorm_{n}/{{leaf}}" for n in (0, 1)),
      "token_mixing/{part}/{leaf}",
      "channel_mixing/{part}/{leaf}",
    )
  ),
)

PREFIXES = ("opt/target/", "params/img/", "params/", "target/", "")
ANCHORS = (
  *("embedding/kernel", "stem/kernel"),
  "resnet/root_block/standardized_conv2d/kernel",
)


def strip_prefix(arrays: Arrays) -> tuple[Arrays, str]:
  """The arrays of a model where a training state or other towers lie around it.

  Returns:
    The arrays under the first prefix that holds a model, without it, and the
    prefix.
  """
  for prefix in PREFIXES:
    if any(prefix + anchor in arrays for anchor in ANCHORS):
      inner = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
      }
      return inner, prefix
  return arrays, ""


def spread_norms(arrays: Arrays) -> Arrays:
  """Normalisations of a hybrid as (1, 1, 1, W), also where a file has (W,)."""

  def spread(name, array):
    inside = name.startswith(("gn_root/", "block")) and "gn" in name
    return array.reshape(1, 1, 1, -1) if inside and array.ndim == 1 else array

  return {name: spread(name, array) for name, array in arrays.items()}


def unfold_cls(ours: Arrays) -> Arrays:
  """big_vision's positions have no row of the class token: it becomes zero."""
  position = ours.get(POSITION)
  if position is None or "cls" not in ours:
    return ours
  xp = position.__array_namespace__()
  zero = xp.zeros((1, 1, position.shape[-1]), dtype=position.dtype)
  return ours | {POSITION: xp.concat([zero, position], axis=1)}


def fold_cls(ours: Arrays) -> Arrays:
  """The class token's row of the positions goes into the token."""
  position = ours.get(POSITION)
  if position is None or "cls" not in ours:
    return ours
  cls = ours["cls"] + position[:, :1]
  return ours | {"cls": cls, POSITION: position[:, 1:]}
