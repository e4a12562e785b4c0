# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Inferring a model's fields from the names and shapes of its arrays."""

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

# Kind of model -> its name, and the name of one such variant.
KINDS = dict(vit="ViT", mixer="MLP-Mixer", resnet="ResNet")
EXAMPLES = dict(vit="B/16", mixer="Mixer-B/16", resnet="R50x1")

# Kernels that read the image.
IMAGE = (
  *("conv_root/kernel", "root_block/standardized_conv2d/kernel"),
  *("embedding/kernel", "stem/kernel"),
)


def get_kind(variant: str) -> str:
  """Looks up the kind of a variant; raises ConfigError for an unknown name."""
  constructor, _ = models.get_row(variant)
  return next(
    kind
    for kind, example in EXAMPLES.items()
    if models.get_row(example)[0] is constructor
  )


def get_heads(width: int) -> int | None:
  """Number of heads (K) that all named ViTs of a width share, or None."""
  heads = {
    row["num_heads"] for row in models.VITS.values() if row["width"] == width
  }
  return heads.pop() if len(heads) == 1 else None


class _Shapes:
  """Our path -> shape; that of one layer where arrays are stacked."""

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
      # The most common shape, so that an error names the odd one out.
      shapes = collections.Counter(tuple(x.shape) for x in layers.values())
      shape = self._shapes[path] = shapes.most_common(1)[0][0]
      layer = next(i for i, x in layers.items() if tuple(x.shape) == shape)
      self._names[path] = found.names[path, layer]

  def _deepen(self, path: str, *depth: int) -> None:
    """Records the number of layers of a path.

    Raises:
      CheckpointError: if it exceeds MAX_DEPTH.
    """
    self.depth = max(self.depth, *depth)
    if self.depth > MAX_DEPTH:
      raise CheckpointError(
        f"{path} has {self.depth:,} layers, more than {MAX_DEPTH}"
      )

  def __contains__(self, path: str) -> bool:
    return path in self._shapes

  def get(self, path: str, axis: int, default: Any = None) -> Any:
    """The size of an array along an axis; the default if there is no array.

    Raises:
      CheckpointError: if the array lacks the axis, or is empty.
    """
    if path not in self._shapes:
      return default
    shape = self._shapes[path]
    sizes = dict(enumerate(shape)) | dict(enumerate(shape, -len(shape)))
    if not sizes.get(axis):
      raise CheckpointError(
        f"{self._names[path]} has shape {shape}, which fits no model"
      )
    return sizes[axis]

  def need(self, path: str, axis: int) -> int:
    """The size of an array along an axis.

    Raises:
      CheckpointError: as `get`, and if there is no such array.
    """
    if path not in self._shapes:
      odd = sorted(self._odd.items())[:8]
      names = ", ".join(f"{name} {shape}" for name, shape in odd)
      hint = f"; arrays of the wrong shape: {names}" if odd else ""
      raise CheckpointError(
        f"no array {path}, in any spelling, to identify the model by{hint}"
      )
    return self.get(path, axis)

  def count_units(self, pattern: str) -> tuple[int, ...]:
    """Number of units in each stage of a ResNet.

    Args:
      pattern: matches paths; its groups are the stage and the unit.
    """
    units: dict[int, set] = {}
    for path in self._shapes:
      named = re.match(pattern, path)
      if named:
        units.setdefault(int(named[1]), set()).add(int(named[2]))
        self._deepen(path, int(named[2]))
    return tuple(max(units[stage]) for stage in sorted(units))


def infer_fields(found: Found) -> tuple[str, Fields, int, int]:
  """Infers the fields of a model from its arrays.

  Args:
    found: from `table.read_rows`.

  Returns:
    Kind ("vit", "mixer" or "resnet"), the fields that the arrays determine,
    number of classes (Y; 0 without a head), and number of channels (c).

  Raises:
    CheckpointError: if an array that identifies the model is missing, or has a
      shape that fits no model.
  """
  shapes = _Shapes(found, (f"{STACK}/", "MixerBlock/"))
  classes = shapes.get("head/kernel", -1, 0)
  channels = next((shapes.need(path, 2) for path in IMAGE if path in shapes), 0)
  root = "root_block/standardized_conv2d/kernel"
  if root in shapes:
    stages = shapes.count_units(r"block(\d+)/unit(\d+)/")
    factor = max(1, shapes.need(root, 3) // 64)
    kind, fields = "resnet", dict(stages=stages, width_factor=factor)
  elif "stem/kernel" in shapes:
    kind, fields = "mixer", _infer_mixer(shapes)
  else:
    kind, fields = "vit", _infer_vit(shapes)
  return kind, fields, classes, channels


def _infer_mixer(shapes: _Shapes) -> Fields:
  """Infers the fields of a Mixer."""
  return dict(
    patch_size=shapes.need("stem/kernel", 0),
    width=shapes.need("stem/kernel", 3),
    depth=shapes.depth,
    token_mlp_dim=shapes.need("MixerBlock/token_mixing/Dense_0/kernel", 1),
    mlp_dim=shapes.need("MixerBlock/channel_mixing/Dense_0/kernel", 1),
  )


def _infer_vit(shapes: _Shapes) -> Fields:
  """Infers the fields of a ViT."""
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
    # Arrays show that there is one, but not its initial value.
    layer_scale=f"{STACK}/LayerScale_0/scale" in shapes or None,
    stem=None,
  )
  if POSITION in shapes:
    fields["position"] = "learned_1d"
  if "conv_root/kernel" in shapes:
    fields["stem"] = shapes.count_units(r"block(\d+)/unit(\d+)/")
  return fields


def find_variant(kind: str, fields: Fields) -> str:
  """Finds a named variant with these fields, or one of the same kind.

  Fields that differ from the variant's are stored beside it, so any variant of
  the kind will do.
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


def infer_size(
  patches: tuple[int, ...],
  stride: int,
  size: tuple[int, int] | None,
  sizes: tuple[int, ...],
) -> tuple[tuple[int, int], int]:
  """Infers the image size that position embeddings were trained at.

  Args:
    patches: candidates for the number of patches, most likely first.
    stride: distance between neighbouring patches, in pixels.
    size: (H, W) as stated, or None.
    sizes: sides of square images, tried in order if nothing is stated.

  Returns:
    (H, W), and the candidate that fits it.

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
    rows, columns = size[0] // stride, size[1] // stride
    if rows * columns in patches:
      whole = rows * stride, columns * stride
      raise CheckpointError(
        f"stated size {size[0]}x{size[1]} px is no multiple of patches of "
        f"{stride} px, of which {rows}x{columns} fit; models here take no part "
        f"of one: pass source_size={whole}, on the command line "
        f"--source_size={whole[0]},{whole[1]}"
      )
    raise CheckpointError(
      f"stated size {size[0]}x{size[1]} px has {rows}x{columns} patches, but "
      f"there are {patches[0]} positions"
    )
  raise CheckpointError(
    f"image size unknown for {patches[0]} positions of {stride} px patches: no "
    f"manifest or config.json beside the file, no published file name, and no "
    f"usual square size fits; pass source_size=(H, W), on the command line "
    f"--source_size=H,W"
  )
