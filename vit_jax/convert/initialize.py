# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Initialising a model from other weights (ViT paper, section 3.2).

The body is copied; positions are resampled to the new grid, patch kernels to
another patch size or number of channels; the head is kept or initialised anew.
A report lists what was done with every array.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import numpy as np

from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.convert import resample
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.npz import POSITION, STACK
from vit_jax.convert.table import Arrays, check_shapes
from vit_jax.convert.transfer import Transfer
from vit_jax.convert.weights import OURS, Weights, make_abstract_params
from vit_jax.models.vit import ViT
from vit_jax.sharding import ADAPTER

# Parameters that a model may have and its source lack, or the reverse.
OPTIONAL = re.compile(
  r"(head|pre_logits|MAPHead_0|pooled_norm|cls|register)(/.*)?"
  r"|Transformer/(posembed_input|encoder_norm)/.*"
  rf"|{STACK}/(posembed|LayerScale_\d)/.*"
  rf"|{STACK}/.*/(query_norm|key_norm|relative)/.*|{STACK}/.*_lora/[ab]"
)
POSITIONS = (POSITION, f"{STACK}/posembed/pos_embedding")
AXES = re.compile(r".*/([xy])_embedding")
# Kernels that read the image, [P P c D].
IMAGE = (
  *("embedding/kernel", "stem/kernel", "conv_root/kernel"),
  "root_block/standardized_conv2d/kernel",
)
# Fields that change logits and show in no array.
SILENT = (
  *("position", "position_at", "gelu"),
  *("layer_norm_eps", "group_norm_eps"),
  *("std_conv_eps", "std_conv_eps_in"),
)
# Fields that determine which representation a head reads.
REPRESENTATION = ("pool", "fc_norm", "representation_size")
# The prediction head of pre-training, all of which is replaced (section 3.2).
HEAD = ("head/", "pre_logits/")


@dataclasses.dataclass
class Report:
  """Report on an initialisation: the origin of every array.

  Attributes:
    source: path of the weights.
    loaded: paths of parameters copied unchanged.
    resampled: path -> the change.
    new: path -> reason for initialising it anew.
    dropped: path -> reason for leaving it out.
    warnings: differences between source and model that no array shows.
    notes: what was done beside that, as lines.
  """

  source: str
  loaded: list[str] = dataclasses.field(default_factory=list)
  resampled: dict[str, str] = dataclasses.field(default_factory=dict)
  new: dict[str, str] = dataclasses.field(default_factory=dict)
  dropped: dict[str, str] = dataclasses.field(default_factory=dict)
  warnings: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)

  def __str__(self) -> str:
    """The report as text."""
    lines = [f"from {self.source}: {len(self.loaded)} arrays as they are"]
    for what, group in (
      ("resampled", self.resampled),
      ("new", self.new),
      ("left out", self.dropped),
    ):
      lines += [f"  {what}: {path}, {why}" for path, why in group.items()]
    lines += [f"  {text}" for text in self.notes]
    return "\n".join(lines + [f"  warning: {text}" for text in self.warnings])


def initialize(
  weights: Weights,
  model: nn.Module,
  size: tuple[int, int],
  channels: int,
  transfer: Transfer,
  class_names: Sequence[str] = (),
) -> tuple[Arrays, Report]:
  """Makes a model's parameters from other weights.

  Args:
    weights: the source.
    model: the module to initialise.
    size: (H, W) of its images.
    channels: number of image channels (c).
    transfer: options.
    class_names: classes of its head, if known.

  Returns:
    Path -> array, without the parameters that are to be initialised anew; and
    the report.

  Raises:
    CheckpointError: if the bodies differ, with all differences.
    ConfigError: if `transfer` has incompatible options.
  """
  if transfer.antialias and transfer.resample in (resample.KERNELS[0], "none"):
    raise ConfigError(
      f"antialias=True needs resample='bilinear' or 'bicubic', not "
      f"{transfer.resample!r}"
    )
  _check_body(weights, model)
  report = Report(weights.source)
  wanted = make_abstract_params(model, size, channels)
  source = dict(weights.params)
  why = _judge_head(weights, model, transfer, class_names)
  if why:
    for path in [p for p in source if p.startswith(HEAD)]:
      del source[path]
      if path not in wanted:
        report.dropped[path] = why
  taken = {}
  anew = _list_positions_to_make(weights, model, size, transfer)
  for path, array in source.items():
    if path in anew and path in wanted:
      continue
    if path not in wanted:
      if OPTIONAL.fullmatch(path):
        report.dropped[path] = "the model has none"
      else:
        taken[path] = array  # For `check_shapes` to name.
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
    if not ADAPTER.search(path):
      reason = why if path.startswith(HEAD) else anew.get(path)
      report.new[path] = reason or _say_missing(path, weights)
  expected = {p: tuple(x.shape) for p, x in wanted.items() if p not in new}
  what = f"{weights.source} ({weights.variant}) does not fit this model"
  if any("relative/" in path for path in wanted):
    what += " (relative positions hold at one resolution)"
  if "stem/kernel" in wanted:
    what += " (a Mixer holds at one resolution)"
  check_shapes(taken, expected, what)
  report.warnings = _compare(weights, model)
  if (adapter := getattr(model, "adapter", None)) is not None:
    count = sum(map(bool, map(ADAPTER.search, new)))
    report.notes.append(
      f"new: {count} arrays of model.adapter={adapter}, whose products are 0"
    )
    report.warnings += [
      f"{path} is new, and model.adapter freezes it: name it in "
      f"optim.multipliers, or leave it out"
      for path in report.new
      if not path.startswith(HEAD)
    ]
  if weights.prefix:
    report.notes.append(weights.describe_prefix())
  if weights.form == OURS:
    report.notes += [
      f"as its manifest says: model.{name}={value!r}"
      for name, value in list_silent(weights.manifest["model"], model).items()
    ]
  return taken, report


def _say_missing(path: str, weights: Weights) -> str:
  """Says that a source has no such array, and what needs none."""
  pool = getattr(weights.model, "pool", None)
  keeps = f"; --config.model.pool={pool} pools as it does"
  return f"the source has none{keeps if path == 'cls' and pool else ''}"


def list_silent(stated: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
  """Lists fields that no array shows and that are not the model's defaults.

  Args:
    stated: fields of a manifest.
    model: a module, whose fields have to be the same.
  """
  defaults = {
    field.name: field.default for field in dataclasses.fields(type(model))
  }
  return {
    name: stated[name]
    for name in SILENT
    if name in stated
    and stated[name] == getattr(model, name, None) != defaults.get(name)
  }


def _check_body(weights: Weights, model: nn.Module) -> None:
  """Raises CheckpointError, in a line, for weights of another size of model."""
  theirs = weights.model
  names = ("stem", "width", "depth", "mlp_dim", "num_heads", "token_mlp_dim")
  names += ("stages", "width_factor")
  if type(theirs) is type(model) and all(
    getattr(theirs, name, None) == getattr(model, name, None) for name in names
  ):
    return
  named, has = models.get_row(weights.variant)[1], vars(theirs)
  # Fields of a variant come with its name; others the user has to set.
  fields = vars(model)
  overridden = type(theirs) is type(model) and not models.has_name(fields)
  given = fields if overridden else named
  differ = [key for key in named if not named[key] == given[key] == has[key]]
  own = [f"{key}={has[key]}" for key in differ]
  size = f" with {', '.join(own)}" if own else ""
  raise CheckpointError(
    f"{weights.source} holds a {weights.variant}{size}, and the model of this "
    f"config is another: use model={weights.variant} "
    f"(--config.model.variant={weights.variant})"
    + "".join(f" --config.model.{text}" for text in own)
  )


def _compare(weights: Weights, model: nn.Module) -> list[str]:
  """Lists differences between source and model that no array shows."""
  theirs, warnings = weights.model, []
  for name in SILENT:
    ours, other = getattr(model, name, None), getattr(theirs, name, None)
    if ours == other:
      continue
    has = f"the source has {other!r}"
    if (default := weights.get_default(name)) is not None:
      has = f"{other!r} is {default}, and the source does not say"
    warnings.append(
      f"model.{name}={ours!r}, but {has}; set --config.model.{name}={other} "
      f"for equal logits"
    )
  mean, std = map(list, (weights.preprocess.mean, weights.preprocess.std))
  if {*mean, *std} != {0.5}:
    warnings.append(
      f"the source was trained on images normalised by mean {mean} and "
      f"standard deviation {std}; here values are in [-1, 1]"
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
  """The reason for not keeping the source's head, or None.

  Raises:
    CheckpointError: if it has to be kept and cannot.
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
      f"the head of {weights.source} cannot be kept: {why}; "
      f"transfer.head='auto' makes a new one"
    )
  return why or ("as asked" if transfer.head == "drop" else None)


def _list_positions_to_make(
  weights: Weights, model: nn.Module, size: tuple[int, int], transfer: Transfer
) -> dict[str, str]:
  """Lists positions of another grid that are not to be resampled, and why."""
  if transfer.resample != "none" or not isinstance(model, ViT):
    return {}
  grids = [
    module.make_layout(*pixels).grid
    for module, pixels in ((weights.model, weights.size), (model, size))
  ]
  if grids[0] == grids[1]:
    return {}
  return {
    path: f"{' -> '.join(map(_format, grids))} patches, not resampled"
    for path in weights.params
    if path in POSITIONS or AXES.fullmatch(path)
  }


def _fit(
  path: str,
  array: np.ndarray,
  target: tuple[int, ...],
  weights: Weights,
  model: nn.Module,
  size: tuple[int, int],
  transfer: Transfer,
) -> tuple[np.ndarray, str | None]:
  """Resamples an array to another grid, patch size or number of channels.

  Returns:
    The array, and the change in words; None if there is none to make.
  """
  how = dict(kernel=transfer.resample, antialias=transfer.antialias)
  if path in IMAGE and array.shape != target and array.ndim == len(target):
    changed = resample.convert_channels(array, target[2])
    changed = resample.resample_patches(changed, target[:2])
    return changed, f"{_format(array.shape[:3])} -> {_format(target[:3])}"
  axis = AXES.fullmatch(path)
  if axis and array.shape != target:
    changed = resample.resample_axis(array, target[-2], **how)
    return changed, f"{array.shape[-2]} -> {target[-2]}"
  if path not in POSITIONS:
    return array, None
  old = weights.model.make_layout(*weights.size)
  new = model.make_layout(*size)
  changed, steps = array, []
  if old.grid != new.grid:
    changed = resample.resample_positions(array, old.grid, new.grid, **how)
    grids = f"{_format(old.grid)} -> {_format(new.grid)} patches"
    steps.append(f"{grids}, {transfer.resample}")
  if old.class_tokens > new.class_tokens:
    changed = changed[..., 1:, :]
    steps.append("class token's row dropped")
  elif old.class_tokens < new.class_tokens:
    row = np.zeros_like(changed[..., :1, :])
    changed = np.concatenate([row, changed], axis=-2)
    steps.append("row of zeros added for the class token")
  return changed, ", ".join(steps) or None


def _format(sizes: Sequence[int]) -> str:
  """Sizes as text, e.g. 14x14."""
  return "x".join(map(str, sizes))
