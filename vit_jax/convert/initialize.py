# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Starting a model from the weights of another (ViT paper, section 3.2).

The body is taken over, positions are resampled to the new grid, patch kernels
to a new patch size or number of channels; the head is kept or made anew by a
rule. A report says what became of every array.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import numpy as np

from vit_jax.config import ConfigError, Count
from vit_jax.convert import resample
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.npz import POSITION, STACK
from vit_jax.convert.table import Arrays, check
from vit_jax.convert.weights import Weights, get_abstract_params, load_weights
from vit_jax.models.public import find_recommended, parse_name

# What a model may have and its source not, or the other way round.
OPTIONAL = re.compile(
  r"(head|pre_logits|MAPHead_0|pooled_norm|cls|register)(/.*)?"
  r"|Transformer/(posembed_input|encoder_norm)/.*"
  rf"|{STACK}/(posembed|LayerScale_\d)/.*"
  rf"|{STACK}/.*/(query_norm|key_norm|relative)/.*"
)
POSITIONS = (POSITION, f"{STACK}/posembed/pos_embedding")
AXES = re.compile(r".*/([xy])_embedding")
# Kernels that see the image, [P P c D].
IMAGE = (
  *("embedding/kernel", "stem/kernel", "conv_root/kernel"),
  "root_block/standardized_conv2d/kernel",
)
# What arrays do not show and logits depend on.
SILENT = (
  *("position", "position_at", "gelu"),
  *("layer_norm_eps", "group_norm_eps"),
  *("std_conv_eps", "std_conv_eps_in"),
)
# What decides which representation a head reads.
REPRESENTATION = ("pool", "fc_norm", "representation_size")
# The whole prediction head of pre-training (section 3.2).
HEAD = ("head/", "pre_logits/")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
  """What the transfer section of a config sets: how `init` is read.

  Attributes:
    head: "auto" keeps it where it has the same classes and reads the same
      representation, "drop" makes a new one, "keep" insists.
    resample: how positions get to another grid: "align_corners_bilinear" as in
      the authors' code, "bilinear" or "bicubic" (a = -0.75) with half-pixel
      centres, as in PyTorch.
    antialias: widens the latter two where a grid shrinks.
    source_size: (H, W) that the positions were trained at, where neither the
      file nor what lies beside it says so.
    num_heads: K, likewise.
    directory: where files lie that are asked for by a model's name, as
      init="augreg:B/16"; it has AugReg's index.csv.
  """

  head: Literal["auto", "drop", "keep"] = "auto"
  resample: Literal["align_corners_bilinear", "bilinear", "bicubic"] = (
    "align_corners_bilinear"
  )
  antialias: bool = False
  source_size: tuple[Count, Count] | None = None
  num_heads: Count | None = None
  directory: str | None = None


@dataclasses.dataclass
class Report:
  """What became of every array.

  Attributes:
    source: the file.
    loaded: our paths that were taken as they are.
    resampled: path -> what was done to it.
    new: path -> why it starts anew.
    dropped: path -> why it was not taken.
    warnings: where source and model differ in what no array shows.
  """

  source: str
  loaded: list[str] = dataclasses.field(default_factory=list)
  resampled: dict[str, str] = dataclasses.field(default_factory=dict)
  new: dict[str, str] = dataclasses.field(default_factory=dict)
  dropped: dict[str, str] = dataclasses.field(default_factory=dict)
  warnings: list[str] = dataclasses.field(default_factory=list)

  def __str__(self) -> str:
    """The report for people."""
    lines = [f"from {self.source}: {len(self.loaded)} arrays as they are"]
    for what, group in (
      ("resampled", self.resampled),
      ("new", self.new),
      ("left out", self.dropped),
    ):
      lines += [f"  {what}: {path}, {why}" for path, why in group.items()]
    return "\n".join(lines + [f"  mind: {text}" for text in self.warnings])


def find_source(name: str, directory: str | None) -> str:
  """The path that a user names, itself or by a model's name."""
  parsed = parse_name(name)
  if parsed is None:
    return name
  return str(find_recommended(parsed[1], directory))


def load_source(init: str, transfer: Transfer) -> Weights:
  """The weights that a run starts from.

  Raises:
    ConfigError: as `load_weights` and `find_recommended`.
  """
  heads = {"num_heads": transfer.num_heads} if transfer.num_heads else {}
  path = find_source(init, transfer.directory)
  return load_weights(path, source_size=transfer.source_size, **heads)


def initialize(
  weights: Weights,
  model: nn.Module,
  size: tuple[int, int],
  channels: int,
  transfer: Transfer,
  class_names: Sequence[str] = (),
) -> tuple[Arrays, Report]:
  """A model's parameters from other weights.

  Args:
    weights: where they come from.
    model: what they are for.
    size: (H, W) of its images.
    channels: c.
    transfer: how.
    class_names: of its head, if they are known.

  Returns:
    Path -> array of all that is taken, and the report; what is missing from
    it starts anew.

  Raises:
    CheckpointError: if the bodies differ, with all differences.
    ConfigError: if `transfer` asks for what there is not.
  """
  if transfer.antialias and transfer.resample == resample.KERNELS[0]:
    raise ConfigError(
      f"antialias is for half-pixel centres, so for resample='bilinear' or "
      f"'bicubic', not {transfer.resample!r}"
    )
  report = Report(weights.source)
  wanted = get_abstract_params(model, size, channels)
  source = dict(weights.params)
  why = _judge_head(weights, model, transfer, class_names)
  if why:
    for path in [p for p in source if p.startswith(HEAD)]:
      del source[path]
      if path not in wanted:
        report.dropped[path] = why
  taken = {}
  for path, array in source.items():
    if path not in wanted:
      if OPTIONAL.fullmatch(path):
        report.dropped[path] = "this model has none"
      else:
        taken[path] = array  # For `check` to name.
      continue
    target = tuple(wanted[path].shape)
    fitted, how = _fit(path, array, target, weights, model, size, transfer)
    taken[path] = fitted
    if how:
      report.resampled[path] = how
    else:
      report.loaded.append(path)
  new = [p for p in wanted if p not in taken and OPTIONAL.fullmatch(p)]
  for path in new:
    reason = why if path.startswith(HEAD) else None
    report.new[path] = reason or "the source has none"
  expected = {p: tuple(x.shape) for p, x in wanted.items() if p not in new}
  what = f"{weights.source} ({weights.variant}) does not fit this model"
  if any("relative/" in path for path in wanted):
    what += " (relative positions hold at one resolution)"
  if "stem/kernel" in wanted:
    what += " (a Mixer holds at one resolution)"
  check(taken, expected, what)
  report.warnings = _compare(weights, model)
  return taken, report


def _compare(weights: Weights, model: nn.Module) -> list[str]:
  """Where source and model differ in what no array shows."""
  theirs, warnings = weights.model, []
  for name in SILENT:
    ours, other = getattr(model, name, None), getattr(theirs, name, None)
    if ours != other:
      warnings.append(
        f"model.{name}={ours!r}, and the source has {other!r}: set "
        f"--config.model.{name}={other} for its very logits"
      )
  mean, std = weights.preprocess["mean"], weights.preprocess["std"]
  if {*mean, *std} != {0.5}:
    warnings.append(
      f"the source saw images of mean {mean} and standard deviation {std}, and "
      f"sees values in [-1, 1] here"
    )
  if weights.is_size_guessed:
    warnings.append(weights.describe_size())
  return warnings


def _judge_head(
  weights: Weights,
  model: nn.Module,
  transfer: Transfer,
  class_names: Sequence[str],
) -> str | None:
  """Why the source's head is not taken, or None.

  Raises:
    CheckpointError: if it has to be kept, and can not.
  """
  theirs, ours = weights.num_classes, model.num_classes
  why = None
  if not theirs:
    why = "the source has none"
  elif theirs != ours:
    why = f"{theirs:,} classes there, {ours:,} here"
  elif (
    weights.class_names
    and class_names
    and tuple(weights.class_names) != tuple(class_names)
  ):
    why = "other classes"
  elif any(
    getattr(weights.model, name, None) != getattr(model, name, None)
    for name in REPRESENTATION
  ):
    why = "it reads another representation"
  if transfer.head == "keep" and why:
    raise CheckpointError(
      f"the head of {weights.source} can not be kept: {why}; "
      f"transfer.head='auto' makes a new one"
    )
  return why or ("as asked" if transfer.head == "drop" else None)


def _fit(
  path: str,
  array: np.ndarray,
  target: tuple[int, ...],
  weights: Weights,
  model: nn.Module,
  size: tuple[int, int],
  transfer: Transfer,
) -> tuple[np.ndarray, str | None]:
  """An array for another grid, patch or number of channels, and what changed.

  What needs no change, or can not be changed, comes back as it is.
  """
  how = dict(kernel=transfer.resample, antialias=transfer.antialias)
  if path in IMAGE and array.shape != target and array.ndim == len(target):
    changed = resample.convert_channels(array, target[2])
    changed = resample.resample_patches(changed, target[:2])
    return changed, f"{_say(array.shape[:3])} -> {_say(target[:3])}"
  axis = AXES.fullmatch(path)
  if axis and array.shape != target:
    changed = resample.resample_axis(array, target[-2], **how)
    return changed, f"{array.shape[-2]} -> {target[-2]}"
  if path not in POSITIONS:
    return array, None
  old = weights.model.get_layout(*weights.size)
  new = model.get_layout(*size)
  changed = resample.resample_positions(array, old.grid, new.grid, **how)
  steps = []
  if old.grid != new.grid:
    grids = f"{_say(old.grid)} -> {_say(new.grid)} patches"
    steps.append(f"{grids}, {transfer.resample}")
  if old.class_tokens > new.class_tokens:
    changed = changed[..., 1:, :]
    steps.append("without the class token's row")
  elif old.class_tokens < new.class_tokens:
    row = np.zeros_like(changed[..., :1, :])
    changed = np.concatenate([row, changed], axis=-2)
    steps.append("a row of zeros for the class token")
  return changed, ", ".join(steps) or None


def _say(sizes: Sequence[int]) -> str:
  """Sizes as 14x14."""
  return "x".join(map(str, sizes))
