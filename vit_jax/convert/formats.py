# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The formats of others, each a table and what is peculiar to it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from vit_jax.config import get
from vit_jax.convert import npz, torch_names
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.table import Arrays, Row, write_rows


def _keep(arrays: Arrays) -> Arrays:
  """Changes nothing."""
  return arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
  """How one project names and lays out its arrays.

  Attributes:
    name: as the user gives it.
    suffix: of its files.
    kind: of its models, as `fields.get_fields` says.
    rows: the table.
    choose: (arrays) -> the rows that read a file, where not all may.
    is_like: whether normalised arrays are of this format.
    fields: of the model, where the file does not say.
    holds: field -> the values that the format can express.
    normalize: arrays as they come -> by the names of the table.
    finish: the inverse, when writing.
    get_extra: (arrays) -> how many rows of the positions may be none of a
      patch, most likely first.
    settle: (arrays, extra, gap) -> arrays in the one form that is written,
      once it is known how many rows are extra.
    unfold: our arrays as the table gives them -> as the model wants them.
    fold: the inverse.
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
  get_extra: Callable[[Arrays], tuple[int, ...]] = lambda arrays: (0,)
  settle: Callable[[Arrays, int, bool], Arrays] = lambda arrays, *_: arrays
  unfold: Callable[[Arrays], Arrays] = _keep
  fold: Callable[[Arrays], Arrays] = _keep

  def get_rows(self, arrays: Arrays) -> tuple[Row, ...]:
    """The rows that read a file's arrays."""
    return self.choose(arrays) if self.choose else self.rows

  def get_expected(
    self, params: Mapping[str, Any], heads: int
  ) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a model's arrays in this format.

    Args:
      params: our path -> anything with a shape and a dtype.
      heads: K.
    """
    shapes = jax.eval_shape(
      lambda ours: write_rows(self.rows, self.fold(ours), heads)[0],
      dict(params),
    )
    return {name: tuple(x.shape) for name, x in shapes.items()}


def has(*ends: str) -> Callable[[Arrays], bool]:
  """Whether for every one of these some name ends so."""
  return lambda arrays: all(
    any(name.endswith(end) for name in arrays) for end in ends
  )


def is_authors(arrays: Arrays, mlp: str) -> bool:
  """Whether the blocks of a ViT are spelt so, positions where theirs are."""
  first = "Transformer/encoderblock_0/"
  return (
    any(name.startswith(f"{first}{mlp}/") for name in arrays)
    and "pos_embedding" not in arrays
    and npz.POSITION in arrays
  )


def is_big_vision(arrays: Arrays, scanned: bool) -> bool:
  """Whether it is a ViT with positions, if any, at the top level."""
  block = f"{npz.STACK}/LayerNorm_0/" if scanned else f"{npz.STACK}_0/Layer"
  return (
    any(name.startswith(block) for name in arrays)
    and npz.POSITION not in arrays
  )


# What only some formats have a name for.
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
  get_extra=lambda arrays: (int("cls" in arrays),),
)
BIG_VISION = dict(
  suffix=".npz",
  holds=PLAIN | dict(position=("learned_1d", "sincos_2d"), stem=(None,)),
  fields=dict(position="sincos_2d"),
  unfold=npz.unfold_cls,
  fold=npz.fold_cls,
)


def settle_timm(arrays: Arrays, extra: int, gap: bool) -> Arrays:
  """timm's arrays with a row of the positions for the class token, if any.

  Rows of registers are added to them. Where the mean of the patches is read,
  a class token is a register like any other.

  Args:
    arrays: normalised.
    extra: how many rows of `pos_embed` are none of a patch.
    gap: whether the mean of the patches is read.

  Raises:
    CheckpointError: if there are more rows than tokens.
  """
  if "pos_embed" not in arrays:
    return arrays
  position = arrays["pos_embed"]
  xp = position.__array_namespace__()
  width = position.shape[-1]
  empty = xp.zeros((1, 0, width), dtype=position.dtype)
  cls = arrays.get("cls_token", empty)
  registers = arrays.get("reg_token", empty)
  prefix, patches = position[:, :extra], position[:, extra:]
  missing = cls.shape[1] + registers.shape[1] - extra
  if missing < 0:
    raise CheckpointError(
      f"pos_embed has {extra} rows before those of the patches, for "
      f"{cls.shape[1] + registers.shape[1]} tokens there"
    )
  zeros = xp.zeros((1, missing, width), dtype=position.dtype)
  prefix = xp.concat([prefix, zeros], axis=1)
  settled = {
    name: array
    for name, array in arrays.items()
    if name not in ("cls_token", "reg_token")
  }
  if gap:
    registers = xp.concat([cls, registers], axis=1) + prefix
    prefix = empty
  else:
    count = cls.shape[1]
    registers = registers + prefix[:, count:]
    prefix = prefix[:, :count]
    if count:
      settled["cls_token"] = cls
  if registers.shape[1]:
    settled["reg_token"] = registers
  return settled | {"pos_embed": xp.concat([prefix, patches], axis=1)}


def get_extra_timm(arrays: Arrays) -> tuple[int, ...]:
  """The class token's row, none, or the registers' as well.

  Raises:
    CheckpointError: if tokens and positions are not [1 N D] with one D.
  """
  names = ("pos_embed", "cls_token", "reg_token")
  shapes = {n: tuple(arrays[n].shape) for n in names if n in arrays}
  forms = {(len(shape), *shape[:1], *shape[2:]) for shape in shapes.values()}
  if len(forms) > 1 or not all(form[:2] == (3, 1) for form in forms):
    raise CheckpointError(f"tokens and positions can not have shapes {shapes}")
  cls, registers = (shapes.get(name, (1, 0))[1] for name in names[1:])
  return tuple(dict.fromkeys((cls, 0, cls + registers)))


FORMATS = {
  form.name: form
  for form in (
    Format(
      name="authors",
      rows=npz.get_authors(npz.PRE_LINEN),
      is_like=lambda arrays: is_authors(arrays, npz.PRE_LINEN[3]),
      **AUTHORS,
    ),
    Format(
      name="authors_linen",
      rows=npz.get_authors(npz.LINEN),
      is_like=lambda arrays: is_authors(arrays, npz.LINEN[3]),
      **AUTHORS,
    ),
    Format(
      name="big_vision",
      rows=npz.get_big_vision(False),
      is_like=lambda arrays: is_big_vision(arrays, False),
      **BIG_VISION,
    ),
    Format(
      name="big_vision_scanned",
      rows=npz.get_big_vision(True),
      is_like=lambda arrays: is_big_vision(arrays, True),
      **BIG_VISION,
    ),
    Format(
      name="bit",
      suffix=".npz",
      kind="resnet",
      rows=npz.BIT,
      is_like=has("root_block/standardized_conv2d/kernel"),
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
      get_extra=lambda arrays: (1,),
    ),
    Format(
      name="timm",
      suffix=".safetensors",
      rows=(*torch_names.SWIGLU, *torch_names.TIMM),
      choose=torch_names.get_timm,
      is_like=has("patch_embed.proj.weight", "blocks.0.norm1.weight"),
      fields=dict(
        gelu="exact",
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
      get_extra=get_extra_timm,
      settle=settle_timm,
    ),
  )
}


def sniff(arrays: Arrays) -> tuple[Format, Arrays]:
  """The format of a file's arrays, and the arrays by its table's names.

  Raises:
    CheckpointError: if they are of none.
  """
  inner, _ = npz.strip_prefix(arrays)
  for form in FORMATS.values():
    candidates = inner if form.suffix == ".npz" else arrays
    if form.suffix == ".safetensors" and any("/" in n for n in candidates):
      continue
    normal = form.normalize(candidates)
    if form.is_like(normal):
      return form, normal
  shown = "\n".join(f"  {name}" for name in sorted(arrays)[:8])
  raise CheckpointError(
    f"its {len(arrays)} arrays are named as in none of the formats "
    f"{', '.join(FORMATS)}:\n{shown}"
  )


def get_format(name: str) -> Format:
  """A format by its name; raises ConfigError that names the nearest."""
  return get(FORMATS, name, "format")
