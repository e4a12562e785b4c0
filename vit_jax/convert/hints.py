# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What arrays alone do not tell, heads and (H, W), from whoever says it."""

from typing import Any

from etils import epath

from vit_jax.config import describe, fits
from vit_jax.convert.fields import get_grid, get_heads
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import Format
from vit_jax.convert.manifest import Side
from vit_jax.convert.npz import POSITION
from vit_jax.convert.records import Record
from vit_jax.convert.table import Arrays, read_rows
from vit_jax.models.public import get_resolution

GIVEN, FITS = "as you say", "what fits"

DEFAULT_SIZE = (224, 224)  # Where nothing depends on it.

# Sides that models are published at, in px, tried in this order where nothing
# says at which a file's positions were trained.
SIDES = (224, 384, 512, 518, 256, 448, 240, 288, 336, 160, 128, 196)


def settle_heads(arrays: Arrays, form: Format, known: dict[str, Any]) -> int:
  """K, which PyTorch's formats do not lay out.

  Raises:
    CheckpointError: if nothing says it, or what is said can not be.
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
      f"nothing says into how many heads its width of {width} is cut: neither "
      f"a config.json beside it nor the table of models. Say it with "
      f"num_heads=K, on the command line --num_heads=K"
    )
  if width % heads:
    raise CheckpointError(
      f"num_heads={heads} does not divide its width of {width}"
    )
  return heads


def settle_size(
  source_size: tuple[int, int] | None,
  record: Record,
  location: epath.Path,
) -> tuple[tuple[int, int] | None, str]:
  """(H, W) that positions are said to be of, if anybody says it, and who does.

  Raises:
    CheckpointError: if that can be of no image.
  """
  if source_size is not None:
    if not fits(source_size, tuple[Side, Side]):
      raise CheckpointError(
        f"source_size={source_size!r} must be {describe(tuple[Side, Side])}"
      )
    return source_size, GIVEN
  said = record["preprocess"]
  if said:
    return (said["height"], said["width"]), record["source"]
  published = get_resolution(str(location))
  if published:
    return (published, published), "the name of the file"
  return None, ""


def settle_positions(
  form: Format,
  arrays: Arrays,
  known: dict[str, Any],
  size: tuple[int, int] | None,
  origin: str,
) -> tuple[int, tuple[int, int], str]:
  """How many rows of the positions are of no patch, (H, W), and who says so.

  Raises:
    CheckpointError: if the positions are of no known size.
  """
  found = read_rows(form.get_rows(arrays), arrays, known.get("num_heads") or 1)
  extras = form.get_extra(arrays)
  position = found.whole.get(POSITION)
  if form.kind == "mixer":
    kernel = found.layers.get("MixerBlock/token_mixing/Dense_0/kernel", {})
    position = next(iter(kernel.values()), None)
    position = None if position is None else position[None]
  kernel = found.whole.get("embedding/kernel", found.whole.get("stem/kernel"))
  # What is of another form than in any model is told by whoever compares all.
  plain = (
    position is not None
    and position.ndim == 3
    and kernel is not None
    and kernel.ndim == 4
    and kernel.size
  )
  if not plain:
    return extras[0], size or DEFAULT_SIZE, origin or "it has no positions"
  stride = kernel.shape[0]
  if "conv_root/kernel" in found.whole:
    stages = {p.partition("/")[0] for p in found.whole if p.startswith("block")}
    stride *= 4 * 2 ** max(0, len(stages) - 1)
  rows = position.shape[1]
  counts = tuple(rows - extra for extra in extras)
  name = found.names.get((POSITION, None), "of its tokens")
  try:
    size, count = get_grid(counts, stride, size, SIDES)
  except CheckpointError as error:
    raise CheckpointError(f"{name}: {error}") from error
  return rows - count, size, origin or f"{FITS} its {count} patches"
