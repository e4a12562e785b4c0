# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Factors on the learning rate: by depth, by pattern, and zero, which freezes.

Blocks are stacked, so an array of blocks has a factor for each of its L layers.
"""

import difflib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vit_jax.config import ConfigError, raise_all
from vit_jax.optim.options import Optim
from vit_jax.sharding import STACKED, get_path, is_stacked

# What lies above the last block. All that is neither here nor a block feeds the
# first block: patches, positions, tokens, the stem of a hybrid.
ABOVE = re.compile(
  r"(head|pre_logits|MAPHead_0|pooled_norm|pre_head_layer_norm|"
  r"Transformer/encoder_norm)/"
)
# The name of a stack, which the authors' checkpoints write once a block.
STACK = re.compile("|".join(name.removesuffix("/") for name in STACKED))


def get_names(path: str, depth: int | None) -> list[str]:
  """What the authors' checkpoints call an array: one name, or one a block."""
  if depth is None:
    return [path]
  return [STACK.sub(rf"\g<0>_{i}", path, count=1) for i in range(depth)]


def get_layer_decay(path: str, layers: int | None, decay: float) -> np.ndarray:
  """decay ** (layers above this one): [] of an array, [L] of stacked blocks.

  Args:
    path: of the array.
    layers: how many blocks the model has.
    decay: factor from one layer to the one below.
  """
  if is_stacked(path):
    return decay ** np.arange(layers, 0, -1, dtype=np.float64)
  above = 0 if ABOVE.match(path) else layers + 1
  return np.asarray(decay**above, np.float64)


def get_rates(optim: Optim, params: Any) -> Any:
  """The factor on the learning rate of every array: float64 [], or [L].

  Raises:
    ConfigError: for a pattern that is none, that no parameter has, or that
      others leave no parameter to; for layer_decay of what has no blocks.
  """
  leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
  paths = [get_path(keys) for keys, _ in leaves]
  depths = [
    leaf.shape[0] if is_stacked(path) else None
    for path, (_, leaf) in zip(paths, leaves, strict=True)
  ]
  names = [get_names(*pair) for pair in zip(paths, depths, strict=True)]
  patterns = [_compile(pattern) for pattern, _ in optim.multipliers]
  factors = [factor for _, factor in optim.multipliers] + [1.0]
  known = sorted({name for row in names for name in row})
  errors, winners = [], {name: len(patterns) for name in known}
  for i in reversed(range(len(patterns))):  # The first wins: it writes last.
    found = [name for name in known if patterns[i].search(name)]
    winners |= dict.fromkeys(found, i)
    if not found:
      errors.append(
        f"optim.multipliers: {patterns[i].pattern!r} is in the path of no "
        f"parameter: {_near(patterns[i].pattern, known)}"
      )
    elif not set(found) - _taken(patterns[:i], known):
      errors.append(
        f"optim.multipliers: {patterns[i].pattern!r} changes nothing, for the "
        f"patterns before it have all its parameters"
      )
  layers = max((depth for depth in depths if depth), default=None)
  if optim.layer_decay is not None and layers is None:
    errors.append("optim.layer_decay: this model has no stack of blocks")
  raise_all(errors[::-1])
  rates = []
  for path, depth, row in zip(paths, depths, names, strict=True):
    rate = np.asarray([factors[winners[name]] for name in row], np.float64)
    rate = rate[0] if depth is None else rate
    if optim.layer_decay is not None:
      rate = rate * get_layer_decay(path, layers, optim.layer_decay)
    rates.append(np.asarray(rate))
  return treedef.unflatten(rates)


def _compile(pattern: str) -> re.Pattern:
  try:
    return re.compile(pattern)
  except re.error as error:
    raise ConfigError(
      f"optim.multipliers: {pattern!r} is no regular expression: {error}"
    ) from None


def _taken(patterns: list[re.Pattern], names: list[str]) -> set[str]:
  """The names that any of the patterns is found in."""
  return {name for name in names if any(p.search(name) for p in patterns)}


def _near(pattern: str, names: list[str]) -> str:
  """A clause with the paths that a pattern may have meant."""
  parts = sorted({part for name in names for part in name.split("/")})
  for choices in (parts, names):
    near = difflib.get_close_matches(pattern, choices, n=3, cutoff=0.5)
    if near:
      return f"did you mean {' or '.join(map(repr, near))}?"
  return "they begin with " + ", ".join(
    sorted({name.partition("/")[0] for name in names})
  )


def is_plain(optim: Optim) -> bool:
  """Whether every parameter has the same learning rate."""
  return optim.layer_decay is None and not optim.multipliers


def check_rates(optim: Optim, params: Any) -> None:
  """Raises ConfigError, as `get_rates`, before anything is made."""
  if not is_plain(optim):
    get_rates(optim, params)


def get_moving(optim: Optim, params: Any) -> Any:
  """False for the arrays of which every layer is frozen."""
  return jax.tree.map(lambda rate: bool(rate.any()), get_rates(optim, params))


def _align(rate: np.ndarray, x: jax.Array) -> np.ndarray:
  """A factor [] or [L] in the rank of its array."""
  return rate.reshape(-1, *(1,) * (x.ndim - 1)) if rate.ndim else rate


def scale_by_rates(optim: Optim) -> optax.GradientTransformation:
  """Scales every update by its factor on the learning rate."""

  def scale(rate, update):
    rate = _align(rate, update)
    scaled = update * jnp.asarray(rate, update.dtype)
    # What is frozen keeps its bits: x + -0.0 is x for every x, -0.0 included,
    # and no gradient that is not finite comes through.
    return jnp.where(rate == 0, jnp.asarray(-0.0, update.dtype), scaled)

  def apply(updates, params=None):
    del params
    return jax.tree.map(scale, get_rates(optim, updates), updates)

  return optax.stateless(apply)


def stop_frozen(optim: Optim, params: Any) -> Any:
  """Parameters through which no gradient reaches what is frozen.

  So it costs no backward pass, and does not count in the gradients' norm.
  """
  if is_plain(optim):
    return params

  def stop(rate, x):
    if rate.all():
      return x
    stopped = jax.lax.stop_gradient(x)
    return (
      jnp.where(_align(rate, x) == 0, stopped, x) if rate.any() else stopped
    )

  return jax.tree.map(stop, get_rates(optim, params), params)
