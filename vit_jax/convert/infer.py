# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Number of heads and image size, which arrays alone do not determine.

They come from the caller, a manifest or config.json, the name of the file, or
the tables of models.
"""

from collections.abc import Collection
from typing import Any

from etils import epath

from vit_jax.config import describe, fits
from vit_jax.convert.fields import get_heads, infer_size
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import Format
from vit_jax.convert.manifest import Manifest
from vit_jax.convert.npz import POSITION
from vit_jax.convert.published import find_resolution
from vit_jax.convert.table import Arrays, read_rows
from vit_jax.data.preprocess import Side

GIVEN, FITS = "given", "fits"
DEFAULT = "the default of"  # Begins the origin of what nothing states.

# Fields that show in no array and change logits unless they fit the weights.
ASSUMED = (
  *("gelu", "layer_norm_eps", "group_norm_eps"),
  *("std_conv_eps", "std_conv_eps_in"),
)

DEFAULT_SIZE = (224, 224)  # Where nothing depends on it.

# Image sides that models are published at, in pixels; tried in this order where
# nothing states at which size a file's positions were trained.
SIDES = (224, 384, 512, 518, 256, 448, 240, 288, 336, 160, 128, 196)


def trace_fields(
  allowed: Collection[str],
  form: Format | None,
  manifest: Manifest,
  overrides: Collection[str],
) -> dict[str, str]:
  """Tells where the values of fields come from: field -> origin.

  Args:
    allowed: fields of the model.
    form: format of the file; None for a run.
    manifest: checked.
    overrides: fields that the caller gives.
  """
  origins = {x: f"{DEFAULT} vit_jax" for x in ASSUMED if x in allowed}
  if form is not None:
    origins |= dict.fromkeys(form.fields, f"{DEFAULT} {form.name}")
  origins |= dict.fromkeys(manifest["model"], manifest["source"])
  return origins | dict.fromkeys(overrides, GIVEN)


def infer_heads(arrays: Arrays, form: Format, known: dict[str, Any]) -> int:
  """Number of heads (K), which arrays of PyTorch formats do not show.

  Raises:
    CheckpointError: if nothing states it, or it does not divide the width.
  """
  if form.suffix == ".npz":
    return 1
  norm = arrays.get("blocks.0.norm1.weight", arrays.get("vit.layernorm.weight"))
  width = 0 if norm is None else norm.size
  one = arrays.get("blocks.0.attn.q_norm.weight")
  heads = known.get("num_heads") or get_heads(width)
  if one is not None and "num_heads" not in known:
    heads = width // max(1, one.size)
  if not heads:
    raise CheckpointError(
      f"number of heads unknown for width {width}: neither a config.json "
      f"beside the file nor the table of models has it; pass num_heads=K, on "
      f"the command line --num_heads=K"
    )
  if width % heads:
    raise CheckpointError(
      f"num_heads={heads} does not divide the width, {width}"
    )
  return heads


def find_stated_size(
  source_size: tuple[int, int] | None,
  manifest: Manifest,
  location: epath.Path,
) -> tuple[tuple[int, int] | None, str]:
  """Finds the stated size of the training images: ((H, W) or None, origin).

  Args:
    source_size: (H, W) from the caller, who is asked first.
    manifest: checked.
    location: path of the file, whose name may be a published one.

  Raises:
    CheckpointError: if `source_size` is not a size of images.
  """
  if source_size is not None:
    if not fits(source_size, tuple[Side, Side]):
      raise CheckpointError(
        f"source_size={source_size!r} must be {describe(tuple[Side, Side])}"
      )
    return source_size, GIVEN
  stated = manifest["preprocess"]
  if stated:
    return stated.size, manifest["source"]
  published = find_resolution(str(location))
  if published:
    return (published, published), "the file name"
  return None, ""


def infer_positions(
  form: Format,
  arrays: Arrays,
  known: dict[str, Any],
  size: tuple[int, int] | None,
  origin: str,
) -> tuple[int, tuple[int, int], str]:
  """Infers the image size that position embeddings were trained at.

  Args:
    form: format of the arrays.
    arrays: normalised, name -> array.
    known: fields of the model that are known already.
    size: (H, W) as stated, or None.
    origin: where `size` comes from.

  Returns:
    Number of rows that belong to no patch (class token, registers), (H, W), and
    where the size comes from.

  Raises:
    CheckpointError: if the rows fit neither the stated nor any usual size.
  """
  found = read_rows(
    form.choose_rows(arrays), arrays, known.get("num_heads") or 1
  )
  extras = form.list_extra(arrays)
  position = found.whole.get(POSITION)
  if form.kind == "mixer":
    kernel = found.layers.get("MixerBlock/token_mixing/Dense_0/kernel", {})
    position = next(iter(kernel.values()), None)
    position = None if position is None else position[None]
  kernel = found.whole.get("embedding/kernel", found.whole.get("stem/kernel"))
  # Arrays of a wrong rank are reported by `check_shapes`, with all others.
  plain = (
    position is not None
    and position.ndim == 3
    and kernel is not None
    and kernel.ndim == 4
    and kernel.size
  )
  if not plain:
    return extras[0], size or DEFAULT_SIZE, origin or "no positions"
  stride = kernel.shape[0]
  if "conv_root/kernel" in found.whole:
    stages = {p.partition("/")[0] for p in found.whole if p.startswith("block")}
    stride *= 4 * 2 ** max(0, len(stages) - 1)
  length = position.shape[1]
  counts = tuple(length - extra for extra in extras)
  name = found.names.get((POSITION, None), "tokens")
  try:
    size, count = infer_size(counts, stride, size, SIDES)
  except CheckpointError as error:
    raise CheckpointError(f"{name}: {error}") from error
  return length - count, size, origin or f"{FITS} its {count} patches"
