# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which model a set of arrays is: read from their names and shapes."""

import math
import re
from typing import Any

from vit_jax import models
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.npz import ATTENTION, MAP, POSITION, STACK
from vit_jax.convert.table import Found

Fields = dict[str, Any]

MAX_DEPTH = 512


def get_heads(width: int) -> int | None:
  """The heads of a known width; those that all models of a width share."""
  heads = {
    row["num_heads"] for row in models.VITS.values() if row["width"] == width
  }
  return heads.pop() if len(heads) == 1 else None


class _Shapes:
  """Shapes by our path, one layer's where arrays are stacked."""

  def __init__(self, found: Found, stacks: tuple[str, ...]):
    self.depth = 0
    self._shapes = {}
    for path, array in found.whole.items():
      shape = tuple(array.shape)
      if path.startswith(stacks):
        self.depth = max(self.depth, shape[0])
        shape = shape[1:]
      self._shapes[path] = shape
    for path, layers in found.layers.items():
      self.depth = max(self.depth, max(layers) + 1)
      if self.depth > MAX_DEPTH:
        raise CheckpointError(f"{path} is said to have {self.depth:,} layers")
      self._shapes[path] = tuple(next(iter(layers.values())).shape)

  def __contains__(self, path: str) -> bool:
    return path in self._shapes

  def __getitem__(self, path: str) -> tuple[int, ...]:
    """The shape at a path.

    Raises:
      CheckpointError: if there is none.
    """
    if path not in self._shapes:
      raise CheckpointError(
        f"there is no {path}, in any spelling, to tell the model by"
      )
    return self._shapes[path]

  def get(self, path: str, axis: int, default: Any = None) -> Any:
    """A size, or the default where there is no such array."""
    return self._shapes[path][axis] if path in self._shapes else default

  def get_stages(self, pattern: str) -> tuple[int, ...]:
    """How many units every stage of a ResNet has."""
    units: dict[int, set] = {}
    for path in self._shapes:
      named = re.match(pattern, path)
      if named:
        units.setdefault(int(named[1]), set()).add(int(named[2]))
    return tuple(max(units[stage]) for stage in sorted(units))


def get_fields(found: Found) -> tuple[str, Fields, int]:
  """The model that arrays are of.

  Args:
    found: from `table.read_rows`.

  Returns:
    The kind ("vit", "mixer" or "resnet"), the fields that its arrays
    determine, and Y, 0 where there is no head.

  Raises:
    CheckpointError: if an array is missing that tells the model.
  """
  shapes = _Shapes(found, (f"{STACK}/", "MixerBlock/"))
  classes = shapes.get("head/kernel", -1, 0)
  if "root_block/standardized_conv2d/kernel" in shapes:
    root = shapes["root_block/standardized_conv2d/kernel"]
    stages = shapes.get_stages(r"block(\d+)/unit(\d+)/")
    return "resnet", dict(stages=stages, width_factor=root[-1] // 64), classes
  if "stem/kernel" in shapes:
    stem = shapes["stem/kernel"]
    return "mixer", _get_mixer(shapes, stem), classes
  return "vit", _get_vit(shapes), classes


def _get_mixer(shapes: _Shapes, stem: tuple[int, ...]) -> Fields:
  """The fields of a Mixer."""
  return dict(
    patch_size=stem[0],
    width=stem[-1],
    depth=shapes.depth,
    token_mlp_dim=shapes["MixerBlock/token_mixing/Dense_0/kernel"][-1],
    mlp_dim=shapes["MixerBlock/channel_mixing/Dense_0/kernel"][-1],
  )


def _get_vit(shapes: _Shapes) -> Fields:
  """The fields of a ViT."""
  embedding = shapes["embedding/kernel"]
  attention, mlp = f"{STACK}/{ATTENTION}_0", f"{STACK}/MlpBlock_0"
  pool = "gap"
  if f"{MAP}/probe" in shapes:
    pool = "map"
  elif "cls" in shapes:
    pool = "token"
  fields = dict(
    patch_size=embedding[0],
    width=embedding[-1],
    depth=shapes.depth,
    mlp_dim=shapes[f"{mlp}/Dense_0/kernel"][-1],
    num_heads=shapes[f"{attention}/query/kernel"][-2],
    pool=pool,
    registers=shapes.get("register", 1, 0),
    representation_size=shapes.get("pre_logits/kernel", -1),
    qk_norm=f"{attention}/query_norm/scale" in shapes,
    swiglu=f"{mlp}/gate/kernel" in shapes,
    fc_norm="pooled_norm/scale" in shapes,
  )
  if f"{STACK}/LayerScale_0/scale" in shapes:
    fields["layer_scale"] = 1e-5  # Only where training would start from.
  if POSITION in shapes:
    fields["position"] = "learned_1d"
  if "conv_root/kernel" in shapes:
    fields["stem"] = shapes.get_stages(r"block(\d+)/unit(\d+)/")
  return fields


def get_variant(kind: str, fields: Fields) -> str:
  """The name of the model in the tables, or of one of its kind.

  Whatever differs from it is among the fields, so any name of the kind does.
  """
  tables = dict(vit=models.VITS, mixer=models.MIXERS, resnet=models.RESNETS)
  rows = dict(tables[kind])
  if kind == "vit" and fields.get("stem") is not None:
    rows = dict(models.HYBRIDS)

  def agrees(row):
    return all(fields.get(key) == value for key, value in row.items())

  name = next((n for n, row in rows.items() if agrees(row)), None)
  if name is None:
    name = dict(vit="B", mixer="Mixer-B", resnet="R50x1")[kind]
  return (
    name
    if name in (*models.HYBRIDS, *models.RESNETS)
    else (f"{name}/{fields['patch_size']}")
  )


def get_grid(
  patches: tuple[int, ...],
  stride: int,
  size: tuple[int, int] | None,
  sizes: tuple[int, ...],
) -> tuple[tuple[int, int], int]:
  """The image size that positions were trained at.

  Args:
    patches: how many patches the rows may stand for, most likely first.
    stride: pixels from a patch to the next.
    size: (H, W) as recorded, or None.
    sizes: of square images, tried in order where nothing is recorded.

  Returns:
    (H, W), and which of `patches` it is.

  Raises:
    CheckpointError: if no size fits.
  """
  tried = [size] if size else [(side, side) for side in sizes]
  for count in patches:
    for height, width in tried:
      grid = (height // stride, width // stride)
      whole = height % stride == 0 and width % stride == 0
      if whole and math.prod(grid) == count:
        return (height, width), count
  if size:
    raise CheckpointError(
      f"it is said to be at {size[0]}x{size[1]} px, {size[0] // stride}x"
      f"{size[1] // stride} patches, but has positions of {patches[0]}"
    )
  raise CheckpointError(
    f"its positions are of {patches[0]} patches of {stride} px, and nothing "
    f"says of which grid: no manifest or config.json beside it, no known file "
    f"name, and no size that models are published at. Say it with "
    f"source_size=(H, W), on the command line --source_size=H,W"
  )
