# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of .npz formats: ViTs and hybrids of the ViT authors, ViTs of
big_vision, ResNets of BiT, MLP-Mixers."""

from collections.abc import Iterator

from vit_jax.convert.lazy import defer
from vit_jax.convert.table import Arrays, Row, Transform

STACK = "Transformer/encoderblock"
ATTENTION = "MultiHeadDotProductAttention"

# Their hybrids keep scales and biases of normalisations as [1 1 1 D].
SPREAD = Transform(
  lambda x, heads: x.reshape(-1),
  lambda x, heads: x.reshape(1, 1, 1, -1),
)
# BiT's head is a 1x1 convolution.
POINTWISE = Transform(
  lambda x, heads: x.reshape(x.shape[-2:]),
  lambda x, heads: x.reshape(1, 1, *x.shape),
)

LINEN = ("LayerNorm_0", f"{ATTENTION}_0", "LayerNorm_1", "MlpBlock_0")
# Before Linen, submodules of all types were numbered together.
PRE_LINEN = ("LayerNorm_0", f"{ATTENTION}_1", "LayerNorm_2", "MlpBlock_3")


def make_block(theirs: str, ours: str, spelling: tuple) -> Iterator[Row]:
  """Rows of an encoder block.

  Args:
    theirs: prefix of their names.
    ours: prefix of our paths.
    spelling: their names of the two norms, attention and MLP, as LINEN.
  """
  norm1, attention, norm2, mlp = spelling
  for name, path in ((norm1, LINEN[0]), (norm2, LINEN[2])):
    yield Row(f"{theirs}/{name}/{{leaf}}", f"{ours}/{path}/{{leaf}}")
  for name, path in ((attention, LINEN[1]), (mlp, LINEN[3])):
    yield Row(
      f"{theirs}/{name}/{{part}}/{{leaf}}", f"{ours}/{path}/{{part}}/{{leaf}}"
    )


def make_same(*names: str) -> Iterator[Row]:
  """Rows for names that are the same on both sides."""
  for name in names:
    yield Row(name, name)


# Rows that ViTs of all .npz formats share.
SHARED = tuple(
  make_same(
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


def make_authors(spelling: tuple) -> tuple[Row, ...]:
  """Table of the ViT authors; `spelling` as in `make_block`."""
  return (
    *SHARED,
    *STEM,
    *make_same(POSITION),
    *make_block(f"{STACK}_{{i}}", STACK, spelling),
  )


def make_big_vision(scanned: bool) -> tuple[Row, ...]:
  """Table of big_vision; `scanned` if its blocks are stacked to [L ...]."""
  return (
    *SHARED,
    Row("pos_embedding", POSITION),
    *make_block(STACK if scanned else f"{STACK}_{{i}}", STACK, LINEN),
    *make_same(
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
  *make_same("stem/{leaf}", "pre_head_layer_norm/{leaf}", "head/{leaf}"),
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
  """Selects a model's arrays from those of a training state or a larger model.

  Returns:
    The arrays under the first prefix with a model, their names without the
    prefix; and the prefix.
  """
  others = {
    name.removesuffix(anchor)
    for name in arrays
    for anchor in ANCHORS
    if name.endswith(f"/{anchor}")
  }
  known = [*PREFIXES, *(sorted(others) if len(others) == 1 else ())]
  for prefix in known:
    if any(prefix + anchor in arrays for anchor in ANCHORS):
      inner = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
      }
      return inner, prefix
  return arrays, ""


def spread_norms(arrays: Arrays) -> Arrays:
  """Reshapes a hybrid's normalisations from [D] to [1 1 1 D]."""

  def spread(name, array):
    inside = name.startswith(("gn_root/", "block")) and "gn" in name
    if not inside or array.ndim != 1:
      return array
    return defer(lambda x: x.reshape(1, 1, 1, -1), array)

  return {name: spread(name, array) for name, array in arrays.items()}


def unfold_cls(ours: Arrays) -> Arrays:
  """Adds a position of zero for the class token, which big_vision has not."""
  position = ours.get(POSITION)
  if position is None or "cls" not in ours:
    return ours
  xp = position.__array_namespace__()
  zero = xp.zeros((1, 1, position.shape[-1]), dtype=position.dtype)
  return ours | {POSITION: xp.concat([zero, position], axis=1)}


def fold_cls(ours: Arrays) -> Arrays:
  """Adds the class token's position to the token; `unfold_cls` reversed."""
  position = ours.get(POSITION)
  if position is None or "cls" not in ours:
    return ours
  cls = ours["cls"] + position[:, :1]
  return ours | {"cls": cls, POSITION: position[:, 1:]}
