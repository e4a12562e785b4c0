# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Learning-rate multipliers: by depth, by pattern, and 0, which freezes.

Blocks are stacked, so an array of blocks has a multiplier for each of its L
layers.
"""

import dataclasses
import difflib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vit_jax.config import ConfigError, raise_all
from vit_jax.optim.options import Optim
from vit_jax.sharding import (
  ADAPTER,
  OWN,
  STACKED,
  get_path,
  is_own,
  is_stacked,
)

# Parameters above the last block. All that are neither here nor in a block feed
# the first block: patches, positions, tokens, the stem of a hybrid.
ABOVE = re.compile(
  r"(head|pre_logits|MAPHead_0|pooled_norm|pre_head_layer_norm|"
  r"Transformer/encoder_norm)/"
)
# What is frozen where a model has adapters: all but these, the head, and what
# an objective trains beside the model.
BASE = rf"^(?!(head|pre_logits|{'|'.join(OWN)})/)(?!.*{ADAPTER.pattern})"
# The name of a stack; the authors' checkpoints have one name for each block.
STACK = re.compile("|".join(name.removesuffix("/") for name in STACKED))


def list_names(path: str, depth: int | None) -> list[str]:
  """An array's names in the authors' checkpoints: one, or one per block."""
  if depth is None:
    return [path]
  return [STACK.sub(rf"\g<0>_{i}", path, count=1) for i in range(depth)]


def freeze_base(optim: Optim, model: Any) -> Optim:
  """Freezes all but adapters and heads, where a model has `adapter` set.

  An objective's own parameters, as a decoder, are trained like a head. Patterns
  of the config go before it.
  """
  if getattr(model, "adapter", None) is None:
    return optim
  return dataclasses.replace(
    optim, multipliers=(*optim.multipliers, (BASE, 0.0))
  )


def compute_layer_decay(
  path: str, layers: int | None, decay: float
) -> np.ndarray:
  """The multiplier decay ** (layers above): [], or [L] for stacked blocks.

  Args:
    path: the array's path.
    layers: L, the number of blocks.
    decay: factor from one layer to the one below it.
  """
  if is_own(path):  # It reads the last layer.
    return np.asarray(1.0)
  if is_stacked(path):
    return decay ** np.arange(layers, 0, -1, dtype=np.float64)
  above = 0 if ABOVE.match(path) else layers + 1
  return np.asarray(decay**above, np.float64)


def compute_multipliers(optim: Optim, params: Any) -> Any:
  """The learning-rate multiplier of every array: float64 [], or [L].

  Raises:
    ConfigError: if a pattern is no regular expression, matches no parameter or
      only parameters that earlier patterns match; if layer_decay is set for a
      model without a stack of blocks.
  """
  leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
  paths = [get_path(keys) for keys, _ in leaves]
  depths = [
    leaf.shape[0] if is_stacked(path) else None
    for path, (_, leaf) in zip(paths, leaves, strict=True)
  ]
  names = [list_names(*pair) for pair in zip(paths, depths, strict=True)]
  patterns = [_compile(pattern) for pattern, _ in optim.multipliers]
  factors = [factor for _, factor in optim.multipliers] + [1.0]
  known = sorted({name for row in names for name in row})
  errors, winners = [], {name: len(patterns) for name in known}
  for i in reversed(range(len(patterns))):  # The first wins: it writes last.
    found = [name for name in known if patterns[i].search(name)]
    winners |= dict.fromkeys(found, i)
    if not found:
      errors.append(
        f"optim.multipliers: {patterns[i].pattern!r} matches no parameter's "
        f"path; {_near(patterns[i].pattern, known)}"
      )
    elif patterns[i].pattern == BASE:
      pass  # No one wrote it, and others may match all that it does.
    elif not set(found) - _taken(patterns[:i], known):
      errors.append(
        f"optim.multipliers: {patterns[i].pattern!r} has no effect: earlier "
        f"patterns match all of its parameters"
      )
  pairs = zip(paths, depths, strict=True)
  layers = max((x for path, x in pairs if x and not is_own(path)), default=None)
  if optim.layer_decay is not None and layers is None:
    errors.append(
      "optim.layer_decay: this model has no stack of blocks; leave it out"
    )
  raise_all(errors[::-1])
  multipliers = []
  for path, depth, row in zip(paths, depths, names, strict=True):
    own = np.asarray([factors[winners[name]] for name in row], np.float64)
    own = own[0] if depth is None else own
    if optim.layer_decay is not None:
      own = own * compute_layer_decay(path, layers, optim.layer_decay)
    multipliers.append(np.asarray(own))
  return treedef.unflatten(multipliers)


def _compile(pattern: str) -> re.Pattern:
  try:
    return re.compile(pattern)
  except re.error as error:
    raise ConfigError(
      f"optim.multipliers: {pattern!r} is not a regular expression: {error}"
    ) from None


def _taken(patterns: list[re.Pattern], names: list[str]) -> set[str]:
  """The names that any of the patterns matches."""
  return {name for name in names if any(p.search(name) for p in patterns)}


def _near(pattern: str, names: list[str]) -> str:
  """Suggests paths for a pattern that matches none, as a clause."""
  parts = sorted({part for name in names for part in name.split("/")})
  for choices in (parts, names):
    near = difflib.get_close_matches(pattern, choices, n=3, cutoff=0.5)
    if near:
      return f"did you mean {' or '.join(map(repr, near))}?"
  return "paths begin with " + ", ".join(
    sorted({name.partition("/")[0] for name in names})
  )


def is_plain(optim: Optim) -> bool:
  """Returns whether every parameter has the same learning rate."""
  return optim.layer_decay is None and not optim.multipliers


def check_multipliers(optim: Optim, params: Any) -> None:
  """Raises the errors of `compute_multipliers`, before anything is made."""
  if not is_plain(optim):
    compute_multipliers(optim, params)


def make_trained_mask(optim: Optim, params: Any) -> Any:
  """True for each array that is trained, False if every layer is frozen."""
  multipliers = compute_multipliers(optim, params)
  return jax.tree.map(lambda multiplier: bool(multiplier.any()), multipliers)


def describe_frozen(optim: Optim, params: Any) -> list[str]:
  """Describes how many arrays are frozen; no lines if none is."""
  if is_plain(optim):
    return []
  counts = count_trained(optim, params)
  trained = [path for path, count in counts.items() if count]
  frozen = len(counts) - len(trained)
  if not frozen:
    return []
  names = ", ".join(trained[:4]) + (", ..." if len(trained) > 4 else "")
  return [
    f"{frozen} of {len(counts)} arrays are frozen; trained: {names or 'none'}, "
    f"{sum(counts.values()):,} parameters"
  ]


def count_trained(optim: Optim, params: Any) -> dict[str, int]:
  """Path of each array -> how many of its numbers are trained."""
  multipliers = compute_multipliers(optim, params)
  found = jax.tree_util.tree_leaves_with_path(multipliers)
  return {
    get_path(keys): round(x.size * np.mean(factor != 0))
    for (keys, factor), x in zip(found, jax.tree.leaves(params), strict=True)
  }


def _align(multiplier: np.ndarray, x: jax.Array) -> np.ndarray:
  """Reshapes a multiplier [L] so that it broadcasts against its array."""
  if not multiplier.ndim:
    return multiplier
  return multiplier.reshape(-1, *(1,) * (x.ndim - 1))


def scale_by_multipliers(optim: Optim) -> optax.GradientTransformation:
  """Multiplies every update by the learning-rate multiplier of its array."""

  def scale(multiplier, update):
    multiplier = _align(multiplier, update)
    scaled = update * jnp.asarray(multiplier, update.dtype)
    # Frozen parameters keep their bits: x + -0.0 is x for every x, -0.0
    # included, and a non-finite gradient does not reach them.
    return jnp.where(multiplier == 0, jnp.asarray(-0.0, update.dtype), scaled)

  def apply(updates, params=None):
    del params
    return jax.tree.map(scale, compute_multipliers(optim, updates), updates)

  return optax.stateless(apply)


def stop_frozen(optim: Optim, params: Any) -> Any:
  """Stops the gradients of frozen parameters.

  They then cost no backward pass and do not count in the gradients' norm.
  """
  if is_plain(optim):
    return params

  def stop(multiplier, x):
    if multiplier.all():
      return x
    stopped = jax.lax.stop_gradient(x)
    if not multiplier.any():
      return stopped
    return jnp.where(_align(multiplier, x) == 0, stopped, x)

  return jax.tree.map(stop, compute_multipliers(optim, params), params)
