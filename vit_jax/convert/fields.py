# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Which model a set of arrays is: read from their names and shapes."""

import collections
import math
import re
from typing import Any

from vit_jax import models
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.npz import ATTENTION, MAP, POSITION, STACK
from vit_jax.convert.table import Found

Fields = dict[str, Any]

MAX_DEPTH = 512

# Kinds of models in words, and one of each.
KINDS = dict(vit="ViT", mixer="MLP-Mixer", resnet="ResNet")
EXAMPLES = dict(vit="B/16", mixer="Mixer-B/16", resnet="R50x1")

# What sees the image.
IMAGE = (
  *("conv_root/kernel", "root_block/standardized_conv2d/kernel"),
  *("embedding/kernel", "stem/kernel"),
)


def get_kind(variant: str) -> str:
  """The kind of a model; raises ConfigError for an unknown name."""
  constructor, _ = models.get_row(variant)
  return next(
    kind
    for kind, example in EXAMPLES.items()
    if models.get_row(example)[0] is constructor
  )


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
    self._odd = found.odd
    self._shapes, self._names = {}, {}
    for path, array in found.whole.items():
      shape = tuple(array.shape)
      if path.startswith(stacks):
        self._deepen(path, *shape[:1], 0)
        shape = shape[1:]
      self._shapes[path] = shape
      self._names[path] = found.names[path, None]
    for path, layers in found.layers.items():
      self._deepen(path, max(layers) + 1)
      # That of most, so that an error names the odd one out.
      shapes = collections.Counter(tuple(x.shape) for x in layers.values())
      shape = self._shapes[path] = shapes.most_common(1)[0][0]
      layer = next(i for i, x in layers.items() if tuple(x.shape) == shape)
      self._names[path] = found.names[path, layer]

  def _deepen(self, path: str, *depth: int) -> None:
    """Notes that a path has so many layers.

    Raises:
      CheckpointError: if no model is so deep.
    """
    self.depth = max(self.depth, *depth)
    if self.depth > MAX_DEPTH:
      raise CheckpointError(f"{path} is said to have {self.depth:,} layers")

  def __contains__(self, path: str) -> bool:
    return path in self._shapes

  def get(self, path: str, axis: int, default: Any = None) -> Any:
    """A size, or the default where there is no such array.

    Raises:
      CheckpointError: if there is such an array, of no such size.
    """
    if path not in self._shapes:
      return default
    shape = self._shapes[path]
    sizes = dict(enumerate(shape)) | dict(enumerate(shape, -len(shape)))
    if not sizes.get(axis):
      raise CheckpointError(
        f"{self._names[path]} is of shape {shape}, as in no model"
      )
    return sizes[axis]

  def need(self, path: str, axis: int) -> int:
    """A size.

    Raises:
      CheckpointError: if there is no such array, or it is of no such size.
    """
    if path not in self._shapes:
      odd = sorted(self._odd.items())[:8]
      names = ", ".join(f"{name} {shape}" for name, shape in odd)
      hint = f"; of the wrong form are {names}" if odd else ""
      raise CheckpointError(
        f"there is no {path}, in any spelling, to tell the model by{hint}"
      )
    return self.get(path, axis)

  def get_stages(self, pattern: str) -> tuple[int, ...]:
    """How many units every stage of a ResNet has."""
    units: dict[int, set] = {}
    for path in self._shapes:
      named = re.match(pattern, path)
      if named:
        units.setdefault(int(named[1]), set()).add(int(named[2]))
        self._deepen(path, int(named[2]))
    return tuple(max(units[stage]) for stage in sorted(units))


def get_fields(found: Found) -> tuple[str, Fields, int, int]:
  """The model that arrays are of.

  Args:
    found: from `table.read_rows`.

  Returns:
    The kind ("vit", "mixer" or "resnet"), the fields that its arrays
    determine, Y, 0 where there is no head, and c.

  Raises:
    CheckpointError: if an array that tells the model is missing, or is of a
      shape that no model has.
  """
  shapes = _Shapes(found, (f"{STACK}/", "MixerBlock/"))
  classes = shapes.get("head/kernel", -1, 0)
  channels = next((shapes.need(path, 2) for path in IMAGE if path in shapes), 0)
  root = "root_block/standardized_conv2d/kernel"
  if root in shapes:
    stages = shapes.get_stages(r"block(\d+)/unit(\d+)/")
    factor = max(1, shapes.need(root, 3) // 64)
    kind, fields = "resnet", dict(stages=stages, width_factor=factor)
  elif "stem/kernel" in shapes:
    kind, fields = "mixer", _get_mixer(shapes)
  else:
    kind, fields = "vit", _get_vit(shapes)
  return kind, fields, classes, channels


def _get_mixer(shapes: _Shapes) -> Fields:
  """The fields of a Mixer."""
  return dict(
    patch_size=shapes.need("stem/kernel", 0),
    width=shapes.need("stem/kernel", 3),
    depth=shapes.depth,
    token_mlp_dim=shapes.need("MixerBlock/token_mixing/Dense_0/kernel", 1),
    mlp_dim=shapes.need("MixerBlock/channel_mixing/Dense_0/kernel", 1),
  )


def _get_vit(shapes: _Shapes) -> Fields:
  """The fields of a ViT."""
  attention, mlp = f"{STACK}/{ATTENTION}_0", f"{STACK}/MlpBlock_0"
  pool = "gap"
  if f"{MAP}/probe" in shapes:
    pool = "map"
  elif "cls" in shapes:
    pool = "token"
  fields = dict(
    patch_size=shapes.need("embedding/kernel", 0),
    width=shapes.need("embedding/kernel", 3),
    depth=shapes.depth,
    mlp_dim=shapes.need(f"{mlp}/Dense_0/kernel", 1),
    num_heads=shapes.need(f"{attention}/query/kernel", 1),
    pool=pool,
    registers=shapes.get("register", 1, 0),
    representation_size=shapes.get("pre_logits/kernel", -1),
    qk_norm=f"{attention}/query_norm/scale" in shapes,
    swiglu=f"{mlp}/gate/kernel" in shapes,
    fc_norm="pooled_norm/scale" in shapes,
    # Only that it is there shows, not what it was initialised to.
    layer_scale=f"{STACK}/LayerScale_0/scale" in shapes or None,
    stem=None,
  )
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
