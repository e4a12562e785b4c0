# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The transfer section: how the weights that `init` names are read."""

import dataclasses
from typing import Any, Literal

from vit_jax.config import Count
from vit_jax.convert.published import find_recommended, parse_name
from vit_jax.convert.weights import Weights, load_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
  """The transfer section of a config: options for reading `init`.

  Attributes:
    head: "auto" keeps the head if it has the same classes and reads the same
      representation, "drop" always makes a new one, "keep" raises an error
      where it cannot be kept.
    resample: kernel that resamples positions: "align_corners_bilinear" as in
      the ViT authors' code, "bilinear" or "bicubic" (a = -0.75) with half-pixel
      centres, as in PyTorch. "none" makes those of another grid anew.
    antialias: widens the latter two when a grid shrinks.
    source_size: (H, W) at which the positions were trained, if neither the file
      nor metadata beside it states it.
    num_heads: number of heads (K), likewise.
    directory: directory of AugReg's index.csv and files, for an `init` that
      names a model, e.g. "augreg:B/16".
  """

  head: Literal["auto", "drop", "keep"] = "auto"
  resample: Literal["align_corners_bilinear", "bilinear", "bicubic", "none"] = (
    "align_corners_bilinear"
  )
  antialias: bool = False
  source_size: tuple[Count, Count] | None = None
  num_heads: Count | None = None
  directory: str | None = None


def find_source(name: str, directory: str | None) -> str:
  """Finds the file of a name such as "augreg:B/16"; returns paths as is."""
  parsed = parse_name(name)
  if parsed is None:
    return name
  return str(find_recommended(parsed[1], directory))


def load_source(init: str, transfer: Transfer) -> Weights:
  """Reads the weights that a run starts from.

  Raises:
    ConfigError: as `load_weights` and `find_recommended`.
  """
  heads: dict[str, Any] = {}
  if transfer.num_heads:
    heads["num_heads"] = transfer.num_heads
  path = find_source(init, transfer.directory)
  return load_weights(path, source_size=transfer.source_size, **heads)
