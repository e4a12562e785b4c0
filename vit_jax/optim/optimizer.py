# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers (ViT paper, appendix B.1) and the moving average of parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vit_jax.optim.adafactor import scale_by_factored_rms
from vit_jax.optim.moments import store_moment
from vit_jax.optim.multipliers import (
  is_plain,
  make_trained_mask,
  scale_by_multipliers,
)
from vit_jax.optim.muon import scale_by_muon
from vit_jax.optim.options import Optim
from vit_jax.optim.schedules import Schedule, make_decay_schedule
from vit_jax.sharding import ADAPTER, get_path


def make_decay_mask(params: Any) -> Any:
  """True for the arrays that weight decay applies to."""

  def is_matrix(keys, _):
    path = get_path(keys)
    return path.endswith("kernel") or ADAPTER.search(path) is not None

  return jax.tree_util.tree_map_with_path(is_matrix, params)


def make_preconditioner(optim: Optim) -> optax.GradientTransformation:
  """The transformation of gradients that gives an optimizer its name."""
  dtype = optim.momentum_dtype
  if optim.name == "adam":
    return store_moment("mu", dtype, optax.scale_by_adam(optim.b1, optim.b2))
  if optim.name == "sgd":
    return store_moment("trace", dtype, optax.trace(decay=optim.b1))
  if optim.name == "lion":
    return store_moment("mu", dtype, optax.scale_by_lion(optim.b1, optim.b2))
  if optim.name == "muon":
    return scale_by_muon(optim)
  # No step relative to the parameters' size, and a first moment in half
  # precision ("Scaling Vision Transformers", arXiv 2106.04560, section 3.4); no
  # clipping of updates unless asked for (its released code).
  return optax.chain(
    scale_by_factored_rms(optim.b2, optim.clip_update),
    store_moment("ema", dtype, optax.ema(optim.b1, debias=False)),
  )


def scale_by_learning_rate(
  schedule: Schedule,
) -> optax.GradientTransformationExtraArgs:
  """Multiplies updates by minus the learning rate of `update`'s `step=`.

  Optax's own counts the updates made, which are fewer than the steps once a
  step with non-finite values was skipped.
  """

  def update(updates, state, params=None, *, step, **_):
    del params
    rate = -schedule(step)
    scale = lambda x: jnp.asarray(rate, x.dtype) * x  # noqa: E731
    return jax.tree.map(scale, updates), state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update
  )


def add_weight_decay(
  schedule: Schedule,
) -> optax.GradientTransformationExtraArgs:
  """Adds parameters, times the weight decay of `update`'s `step=`.

  Optax's counts the updates made; see `scale_by_learning_rate`.
  """

  def update(updates, state, params=None, *, step, **_):
    decay = schedule(step)
    add = lambda decays, x, p: (  # noqa: E731
      x + jnp.asarray(decay, p.dtype) * p if decays else x
    )
    return jax.tree.map(add, make_decay_mask(params), updates, params), state

  return optax.GradientTransformationExtraArgs(
    lambda params: optax.EmptyState(), update
  )


def make_optimizer(
  optim: Optim, schedule: Schedule, steps: int = 1
) -> optax.GradientTransformationExtraArgs:
  """Clip, precondition, decay and scale by the learning rate, in this order.

  Its `update` takes `step=`, the number of steps done before it.

  Args:
    optim: options.
    schedule: step -> learning rate.
    steps: length of the run, for `weight_decay_end` alone.
  """
  chain = []
  if optim.clip_norm is not None:
    chain.append(optax.clip_by_global_norm(optim.clip_norm))
  preconditioner = make_preconditioner(optim)
  if not is_plain(optim):
    # Frozen parameters have no moments.
    trained = functools.partial(make_trained_mask, optim)
    preconditioner = optax.masked(preconditioner, trained)
  chain.append(preconditioner)
  if optim.weight_decay_end is not None:
    first, last = optim.weight_decay, optim.weight_decay_end
    chain.append(add_weight_decay(make_decay_schedule(first, last, steps)))
  elif optim.weight_decay:
    chain.append(optax.add_decayed_weights(optim.weight_decay, make_decay_mask))
  chain.append(scale_by_learning_rate(schedule))
  if not is_plain(optim):
    chain.append(scale_by_multipliers(optim))
  return optax.chain(*chain)


def update_ema(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
  """The moving average after one more step (see `Optim.ema`).

  Args:
    ema: average so far.
    params: parameters after the step.
    step: number of steps before it.
    decay: largest decay; it grows as (1 + step) / (10 + step) up to this.
  """
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), ema, params)
