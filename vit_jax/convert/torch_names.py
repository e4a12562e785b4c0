# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of PyTorch formats: Hugging Face's ViT, timm's vit_*.

Their dense kernels are [out, in], ours [in, out]; their convolutions are OIHW,
ours HWIO.
"""

import re
from collections.abc import Iterator

import numpy as np

from vit_jax.convert.lazy import load
from vit_jax.convert.npz import ATTENTION, MAP, POSITION, STACK
from vit_jax.convert.table import SAME, Arrays, Row, Transform

DENSE = Transform(lambda x, heads: x.T, lambda x, heads: x.T)
CONV = Transform(
  lambda x, heads: x.transpose(2, 3, 1, 0),
  lambda x, heads: x.transpose(3, 2, 0, 1),
)
# [D D] <-> [D K C], and biases [D] <-> [K C].
INTO_HEADS = Transform(
  lambda x, heads: x.T.reshape(x.shape[1], heads, -1),
  lambda x, heads: x.reshape(x.shape[0], -1).T,
)
BIAS_INTO_HEADS = Transform(
  lambda x, heads: x.reshape(heads, -1), lambda x, heads: x.reshape(-1)
)
# [D D] <-> [K C D].
OUT_OF_HEADS = Transform(
  lambda x, heads: x.T.reshape(heads, -1, x.shape[0]),
  lambda x, heads: x.reshape(-1, x.shape[-1]).T,
)


def split(count: int, each: Transform) -> Transform:
  """Splits an array of theirs along axis 0 into `count` of ours."""

  def read(x, heads):
    parts = x.reshape(count, x.shape[0] // count, *x.shape[1:])
    return tuple(each.read(part, heads) for part in parts)

  def write(parts, heads):
    xp = parts[0].__array_namespace__()
    return xp.concat([each.write(part, heads) for part in parts], axis=0)

  return Transform(read, write)


def make_norm(theirs: str, ours: str) -> Iterator[Row]:
  """Rows of a normalisation."""
  yield Row(f"{theirs}.weight", f"{ours}/scale")
  yield Row(f"{theirs}.bias", f"{ours}/bias")


def make_dense(
  theirs: str, ours: str, kernel: Transform = DENSE
) -> Iterator[Row]:
  """Rows of a dense layer or a convolution."""
  yield Row(f"{theirs}.weight", f"{ours}/kernel", kernel)
  yield Row(f"{theirs}.bias", f"{ours}/bias")


def make_projections(theirs: str, ours: str, *names: str) -> Iterator[Row]:
  """Rows of query, key or value, of one or several in one array of theirs."""
  paths = [f"{ours}/{name}" for name in names]
  for leaf, mine, each in (
    ("weight", "kernel", INTO_HEADS),
    ("bias", "bias", BIAS_INTO_HEADS),
  ):
    targets = tuple(f"{path}/{mine}" for path in paths)
    if len(targets) == 1:
      yield Row(f"{theirs}.{leaf}", targets[0], each)
    else:
      yield Row(f"{theirs}.{leaf}", targets, split(len(targets), each))


_HF = "vit.encoder.layer.{i}"
_ATTENTION = f"{STACK}/{ATTENTION}_0"

HUGGING_FACE = (
  Row("vit.embeddings.cls_token", "cls"),
  Row("vit.embeddings.position_embeddings", POSITION),
  *make_dense("vit.embeddings.patch_embeddings.projection", "embedding", CONV),
  *(
    row
    for name in ("query", "key", "value")
    for row in make_projections(
      f"{_HF}.attention.attention.{name}", _ATTENTION, name
    )
  ),
  *make_dense(
    f"{_HF}.attention.output.dense", f"{_ATTENTION}/out", OUT_OF_HEADS
  ),
  *make_dense(f"{_HF}.intermediate.dense", f"{STACK}/MlpBlock_0/Dense_0"),
  *make_dense(f"{_HF}.output.dense", f"{STACK}/MlpBlock_0/Dense_1"),
  *make_norm(f"{_HF}.layernorm_before", f"{STACK}/LayerNorm_0"),
  *make_norm(f"{_HF}.layernorm_after", f"{STACK}/LayerNorm_1"),
  *make_norm("vit.layernorm", "Transformer/encoder_norm"),
  *make_dense("vit.pooler.dense", "pre_logits"),
  *make_dense("classifier", "head"),
)

# Names of transformers 5 -> those of earlier versions.
_RENAMED = (
  (r"vit\.layers\.", "vit.encoder.layer."),
  (r"\.attention\.q_proj\.", ".attention.attention.query."),
  (r"\.attention\.k_proj\.", ".attention.attention.key."),
  (r"\.attention\.v_proj\.", ".attention.attention.value."),
  (r"\.attention\.o_proj\.", ".attention.output.dense."),
  (r"\.mlp\.fc1\.", ".intermediate.dense."),
  (r"\.mlp\.fc2\.", ".output.dense."),
)


def normalize_hugging_face(arrays: Arrays) -> Arrays:
  """Renames to the names of transformers before 5, with the prefix `vit.`."""
  renamed = {}
  for name, array in arrays.items():
    if name.startswith("decoder."):  # Of a masked autoencoder.
      continue
    if not name.startswith(("vit.", "classifier.")):
      name = f"vit.{name}"
    for pattern, replacement in _RENAMED:
      name = re.sub(pattern, replacement, name)
    renamed[name] = array
  if any(name.startswith("classifier.") for name in renamed):
    # A classifier reads the class token itself, not the pooler's output.
    renamed = {n: x for n, x in renamed.items() if ".pooler." not in n}
  return renamed


def _make_stem() -> Iterator[Row]:
  """Rows of timm's ResNet stem; R+Ti/16, a root alone, omits `.stem`."""
  root = "patch_embed.backbone"
  yield Row(f"{root}.stem.conv.weight", "conv_root/kernel", CONV)
  yield from make_norm(f"{root}.stem.norm", "gn_root")
  unit, ours = f"{root}.stages.{{b-1}}.blocks.{{u-1}}", "block{b}/unit{u}"
  for n in (1, 2, 3):
    yield Row(f"{unit}.conv{n}.weight", f"{ours}/conv{n}/kernel", CONV)
    yield from make_norm(f"{unit}.norm{n}", f"{ours}/gn{n}")
  yield Row(f"{unit}.downsample.conv.weight", f"{ours}/conv_proj/kernel", CONV)
  yield from make_norm(f"{unit}.downsample.norm", f"{ours}/gn_proj")


_POOL = f"{MAP}/{ATTENTION}_0"
_MLP = f"{STACK}/MlpBlock_0"

# Their fc1 holds both matrices of SwiGLU.
SWIGLU = tuple(
  Row(
    f"blocks.{{i}}.mlp.fc1.{leaf}",
    (f"{_MLP}/gate/{mine}", f"{_MLP}/Dense_0/{mine}"),
    split(2, each),
  )
  for leaf, mine, each in (("weight", "kernel", DENSE), ("bias", "bias", SAME))
)

TIMM = (
  Row("cls_token", "cls"),
  Row("reg_token", "register"),
  Row("pos_embed", POSITION),
  *make_dense("patch_embed.proj", "embedding", CONV),
  *_make_stem(),
  *make_norm("blocks.{i}.norm1", f"{STACK}/LayerNorm_0"),
  *make_norm("blocks.{i}.norm2", f"{STACK}/LayerNorm_1"),
  *make_projections("blocks.{i}.attn.qkv", _ATTENTION, "query", "key", "value"),
  *make_norm("blocks.{i}.attn.q_norm", f"{_ATTENTION}/query_norm"),
  *make_norm("blocks.{i}.attn.k_norm", f"{_ATTENTION}/key_norm"),
  *make_dense("blocks.{i}.attn.proj", f"{_ATTENTION}/out", OUT_OF_HEADS),
  Row("blocks.{i}.ls1.gamma", f"{STACK}/LayerScale_0/scale"),
  Row("blocks.{i}.ls2.gamma", f"{STACK}/LayerScale_1/scale"),
  *make_dense("blocks.{i}.mlp.fc1", f"{_MLP}/Dense_0"),
  *make_dense("blocks.{i}.mlp.fc2", f"{_MLP}/Dense_1"),
  *make_norm("norm", "Transformer/encoder_norm"),
  *make_norm("fc_norm", "pooled_norm"),
  Row("attn_pool.latent", f"{MAP}/probe"),
  *make_projections("attn_pool.q", _POOL, "query"),
  *make_projections("attn_pool.kv", _POOL, "key", "value"),
  *make_dense("attn_pool.proj", f"{_POOL}/out", OUT_OF_HEADS),
  *make_norm("attn_pool.norm", f"{MAP}/LayerNorm_0"),
  *make_dense("attn_pool.mlp.fc1", f"{MAP}/MlpBlock_0/Dense_0"),
  *make_dense("attn_pool.mlp.fc2", f"{MAP}/MlpBlock_0/Dense_1"),
  *make_dense("head", "head"),
)


def choose_timm(arrays: Arrays) -> tuple[Row, ...]:
  """Chooses timm's table, with SwiGLU if fc1 is twice as wide as fc2."""
  first = arrays.get("blocks.0.mlp.fc1.weight")
  second = arrays.get("blocks.0.mlp.fc2.weight")
  if first is None or second is None or first.ndim != 2 or second.ndim != 2:
    return TIMM
  packed = first.shape[0] == 2 * second.shape[1]
  return (*SWIGLU, *TIMM) if packed else TIMM


_BARE, _STEM = "patch_embed.backbone.", "patch_embed.backbone.stem."


def normalize_timm(arrays: Arrays) -> Arrays:
  """Renames a root without stages to the names of one that has stages."""
  return {
    re.sub(rf"^{re.escape(_BARE)}(conv|norm)\.", rf"{_STEM}\1.", name): array
    for name, array in arrays.items()
  }


def finish_timm(arrays: Arrays) -> Arrays:
  """The inverse of `normalize_timm`; adds a zero position for each register.

  Where the class token has a position, timm expects one for every register too.
  """
  if "cls_token" in arrays and "reg_token" in arrays:
    position = load(arrays["pos_embed"])
    zeros = np.zeros(arrays["reg_token"].shape, position.dtype)
    parts = (position[:, :1], zeros, position[:, 1:])
    arrays = arrays | {"pos_embed": np.concatenate(parts, axis=1)}
  if any(name.startswith(f"{_BARE}stages.") for name in arrays):
    return arrays
  return {name.replace(_STEM, _BARE): array for name, array in arrays.items()}
