# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Formats of weight files: a table each, and what else they need."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vit_jax.config import get
from vit_jax.convert import npz, torch_names
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.foreign import (
  check_foreign,
  check_lacking,
  strip_wrapper,
)
from vit_jax.convert.lazy import load
from vit_jax.convert.table import Arrays, Row, write_rows
from vit_jax.data.resize import Resize


def _keep(arrays: Arrays) -> Arrays:
  """Returns the arrays unchanged."""
  return arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
  """A project's names and layout of arrays.

  Attributes:
    name: as a user gives it.
    suffix: suffix of its files.
    kind: kind of its models, see `fields.KINDS`.
    rows: the conversion table.
    choose: (arrays) -> the rows that read a file; None for all rows.
    is_like: (arrays) -> True if normalised arrays have this format.
    fields: fields of the model where the file does not state them.
    holds: field -> the values that the format can express.
    normalize: renames and reshapes arrays of a file for the table.
    finish: the inverse of `normalize`, for writing.
    list_extra: (arrays) -> candidates for the number of position rows that
      belong to no patch, most likely first.
    canonicalize: (arrays, extra, gap) -> arrays in the form that is written;
      `extra` is the number of such rows, `gap` is as in `canonicalize_timm`.
    unfold: changes our arrays, as the table gives them, to the model's.
    fold: the inverse of `unfold`.
    resize: how its programs resize images, where nothing is stated.
  """

  name: str
  suffix: str
  kind: str = "vit"
  rows: tuple[Row, ...]
  choose: Callable[[Arrays], tuple[Row, ...]] | None = None
  is_like: Callable[[Arrays], bool]
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  holds: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
  normalize: Callable[[Arrays], Arrays] = _keep
  finish: Callable[[Arrays], Arrays] = _keep
  list_extra: Callable[[Arrays], tuple[int, ...]] = lambda arrays: (0,)
  canonicalize: Callable[[Arrays, int, bool], Arrays] = lambda x, *_: x
  unfold: Callable[[Arrays], Arrays] = _keep
  fold: Callable[[Arrays], Arrays] = _keep
  resize: Resize = "bilinear"

  def choose_rows(self, arrays: Arrays) -> tuple[Row, ...]:
    """Chooses the rows that read these arrays."""
    return self.choose(arrays) if self.choose else self.rows

  def compute_shapes(
    self, params: Mapping[str, Any], heads: int
  ) -> dict[str, tuple[int, ...]]:
    """Computes name -> shape of a model's arrays in this format.

    Args:
      params: our path -> array, or its shape and dtype.
      heads: number of heads (K).
    """
    shapes = jax.eval_shape(
      lambda ours: {
        name: make()
        for name, make in write_rows(self.rows, self.fold(ours), heads)[
          0
        ].items()
      },
      dict(params),
    )
    return {name: tuple(x.shape) for name, x in shapes.items()}


def has(*ends: str) -> Callable[[Arrays], bool]:
  """Makes a test for arrays: each of `ends` ends the name of one."""
  return lambda arrays: all(
    any(name.endswith(end) for name in arrays) for end in ends
  )


def is_authors(arrays: Arrays, mlp: str) -> bool:
  """True for a ViT of the authors whose MLP blocks are named `mlp`."""
  first = "Transformer/encoderblock_0/"
  return (
    any(name.startswith(f"{first}{mlp}/") for name in arrays)
    and "pos_embedding" not in arrays
    and npz.POSITION in arrays
  )


def is_big_vision(arrays: Arrays, scanned: bool) -> bool:
  """True for a ViT of big_vision: positions, if any, are at the top level."""
  block = f"{npz.STACK}/LayerNorm_0/" if scanned else f"{npz.STACK}_0/Layer"
  return (
    any(name.startswith(block) for name in arrays)
    and npz.POSITION not in arrays
  )


# Values of fields for which only some formats have names.
PLAIN = dict(
  position_at=("input",),
  registers=(0,),
  layer_scale=(None,),
  qk_norm=(False,),
  swiglu=(False,),
  fc_norm=(False,),
)
AUTHORS = dict(
  suffix=".npz",
  holds=PLAIN | dict(pool=("token", "gap"), position=("learned_1d",)),
  normalize=npz.spread_norms,
  list_extra=lambda arrays: (int("cls" in arrays),),
)
BIG_VISION = dict(
  suffix=".npz",
  holds=PLAIN | dict(position=("learned_1d", "sincos_2d"), stem=(None,)),
  fields=dict(position="sincos_2d"),
  unfold=npz.unfold_cls,
  fold=npz.fold_cls,
)


def canonicalize_timm(arrays: Arrays, extra: int, gap: bool) -> Arrays:
  """Gives timm's positions one row for the class token and none for registers.

  Positions of registers are added to the registers. With global average
  pooling a class token is a register like any other.

  Args:
    arrays: normalised, name -> array.
    extra: number of rows of `pos_embed` that belong to no patch.
    gap: True if the head reads the mean of the patches.

  Raises:
    CheckpointError: if there are more such rows than tokens.
  """
  if "pos_embed" not in arrays:
    return arrays
  position = load(arrays["pos_embed"])
  width = position.shape[-1]
  empty = np.zeros((1, 0, width), dtype=position.dtype)
  cls = load(arrays.get("cls_token", empty))
  registers = load(arrays.get("reg_token", empty))
  prefix, patches = position[:, :extra], position[:, extra:]
  missing = cls.shape[1] + registers.shape[1] - extra
  if missing < 0:
    raise CheckpointError(
      f"pos_embed has {extra} rows before those of the patches, and there are "
      f"{cls.shape[1] + registers.shape[1]} class tokens and registers"
    )
  zeros = np.zeros((1, missing, width), dtype=position.dtype)
  prefix = np.concatenate([prefix, zeros], axis=1)
  settled = {
    name: array
    for name, array in arrays.items()
    if name not in ("cls_token", "reg_token")
  }
  if gap:
    registers = np.concatenate([cls, registers], axis=1) + prefix
    prefix = empty
  else:
    count = cls.shape[1]
    registers = registers + prefix[:, count:]
    prefix = prefix[:, :count]
    if count:
      settled["cls_token"] = cls
  if registers.shape[1]:
    settled["reg_token"] = registers
  joined = np.concatenate([prefix, patches], axis=1)
  return settled | {"pos_embed": joined}


def list_extra_timm(arrays: Arrays) -> tuple[int, ...]:
  """Lists candidates: the class token's row, none, or those of registers too.

  Raises:
    CheckpointError: if tokens and positions are not [1 N D] of one width.
  """
  names = ("pos_embed", "cls_token", "reg_token")
  shapes = {n: tuple(arrays[n].shape) for n in names if n in arrays}
  forms = {(len(shape), *shape[:1], *shape[2:]) for shape in shapes.values()}
  if len(forms) > 1 or not all(form[:2] == (3, 1) for form in forms):
    raise CheckpointError(
      f"tokens and positions have incompatible shapes {shapes}"
    )
  cls, registers = (shapes.get(name, (1, 0))[1] for name in names[1:])
  return tuple(dict.fromkeys((cls, 0, cls + registers)))


FORMATS = {
  form.name: form
  for form in (
    Format(
      name="authors",
      rows=npz.make_authors(npz.PRE_LINEN),
      is_like=lambda arrays: is_authors(arrays, npz.PRE_LINEN[3]),
      **AUTHORS,
    ),
    Format(
      name="authors_linen",
      rows=npz.make_authors(npz.LINEN),
      is_like=lambda arrays: is_authors(arrays, npz.LINEN[3]),
      **AUTHORS,
    ),
    Format(
      name="big_vision",
      rows=npz.make_big_vision(False),
      is_like=lambda arrays: is_big_vision(arrays, False),
      **BIG_VISION,
    ),
    Format(
      name="big_vision_scanned",
      rows=npz.make_big_vision(True),
      is_like=lambda arrays: is_big_vision(arrays, True),
      **BIG_VISION,
    ),
    Format(
      name="bit",
      suffix=".npz",
      kind="resnet",
      rows=npz.BIT,
      is_like=has("root_block/standardized_conv2d/kernel"),
      fields=dict(
        group_norm_eps=1e-5, std_conv_eps=1e-10, std_conv_eps_in="variance"
      ),
    ),
    Format(
      name="mixer",
      suffix=".npz",
      kind="mixer",
      rows=npz.MIXER,
      is_like=has("stem/kernel", "MixerBlock_0/LayerNorm_0/scale"),
    ),
    Format(
      name="hugging_face",
      suffix=".safetensors",
      rows=torch_names.HUGGING_FACE,
      is_like=has("embeddings.cls_token", "embeddings.position_embeddings"),
      fields=dict(gelu="exact", layer_norm_eps=1e-12),
      holds=PLAIN
      | dict(
        pool=("token",),
        position=("learned_1d",),
        stem=(None,),
      ),
      normalize=torch_names.normalize_hugging_face,
      resize="bilinear_antialias",
      list_extra=lambda arrays: (1,),
    ),
    Format(
      name="timm",
      suffix=".safetensors",
      rows=(*torch_names.SWIGLU, *torch_names.TIMM),
      choose=torch_names.choose_timm,
      is_like=has("patch_embed.proj.weight", "blocks.0.norm1.weight"),
      fields=dict(
        gelu="exact",
        layer_norm_eps=1e-6,
        group_norm_eps=1e-5,
        std_conv_eps=1e-8,
        std_conv_eps_in="variance",
      ),
      holds=dict(
        position=("learned_1d",),
        position_at=("input",),
        representation_size=(None,),
      ),
      normalize=torch_names.normalize_timm,
      finish=torch_names.finish_timm,
      list_extra=list_extra_timm,
      canonicalize=canonicalize_timm,
      resize="bicubic",
    ),
  )
}


@dataclasses.dataclass(frozen=True)
class Detected:
  """The arrays of a file whose format is known.

  Attributes:
    form: the format.
    arrays: normalised for its table.
    prefix: what preceded their names in the file.
    beside: names of the arrays without the prefix, which are not read.
  """

  form: Format
  arrays: Arrays
  prefix: str
  beside: tuple[str, ...]


def detect_format(arrays: Arrays) -> Detected:
  """Detects the format of a file's arrays.

  Raises:
    CheckpointError: if they have no known format; names foreign models, and
      what ours have and theirs lack.
  """
  check_foreign(arrays)
  for form in FORMATS.values():
    strip = npz.strip_prefix
    if form.suffix == ".safetensors":
      if any("/" in name for name in arrays):
        continue
      strip = strip_wrapper
    inner, prefix = strip(arrays)
    normal = form.normalize(inner)
    if form.is_like(normal):
      if form.name == "timm":
        check_lacking(normal)
      beside = [name for name in arrays if not name.startswith(prefix)]
      return Detected(form, normal, prefix, tuple(beside))
  shown = "\n".join(f"  {name}" for name in sorted(arrays)[:8])
  raise CheckpointError(
    f"unknown format: the names of its {len(arrays)} arrays fit none of "
    f"{', '.join(FORMATS)}:\n{shown}"
  )


def get_format(name: str) -> Format:
  """Looks up a format; raises ConfigError that names the nearest."""
  return get(FORMATS, name, "format")
