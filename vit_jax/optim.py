# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers and learning-rate schedules (ViT paper, appendix B.1)."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from vit_jax.config import Natural, NotNegative, Positive, Rate
from vit_jax.sharding import get_path

Schedule = Callable[[Any], jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optim:
  """What the optim section of a config sets.

  Attributes:
    name: "adam" with decoupled weight decay, or "sgd" with momentum.
    lr: the peak learning rate, reached after the warm-up.
    schedule: what follows the linear warm-up from zero.
    warmup_steps: its length.
    end_lr: the learning rate at the last step (not with "constant").
    b1: Adam's decay of the first moment, or SGD's momentum.
    b2: Adam's decay of the second moment.
    weight_decay: times the learning rate (AdamW). Decays kernels only, as the
      authors' released code does; the paper does not say.
    clip_norm: the global norm that gradients are clipped to, or None.
    ema: decay of the parameter average that is evaluated, or None. Early on
      the decay is (1 + step) / (10 + step) where that is smaller.
  """

  name: Literal["adam", "sgd"] = "adam"
  lr: Positive
  schedule: Literal["cosine", "linear", "constant"] = "cosine"
  warmup_steps: Natural = 0
  end_lr: NotNegative = 0.0
  b1: Rate = 0.9
  b2: Rate = 0.999
  weight_decay: NotNegative = 0.0
  clip_norm: Positive | None = None
  ema: Rate | None = None


def make_schedule(optim: Optim, steps: int) -> Schedule:
  """The learning rate at each of `steps` steps.

  A run shorter than its warm-up, as one that is cut short to try it out, does
  the warm-up's first steps.
  """
  warmup = optim.warmup_steps
  rest = max(1, steps - warmup)
  after = {
    "cosine": lambda: optax.cosine_decay_schedule(
      optim.lr, rest, alpha=optim.end_lr / optim.lr
    ),
    "linear": lambda: optax.linear_schedule(optim.lr, optim.end_lr, rest),
    "constant": lambda: optax.constant_schedule(optim.lr),
  }[optim.schedule]()
  if not warmup:
    return after
  up = optax.linear_schedule(0.0, optim.lr, warmup)
  return optax.join_schedules([up, after], [warmup])


def get_kernels(params: Any) -> Any:
  """True for the arrays that weight decay applies to."""
  return jax.tree_util.tree_map_with_path(
    lambda keys, _: get_path(keys).endswith("kernel"), params
  )


def make_optimizer(
  optim: Optim, schedule: Schedule
) -> optax.GradientTransformation:
  """Clip, precondition, decay and scale by the learning rate, in this order."""
  chain = []
  if optim.clip_norm is not None:
    chain.append(optax.clip_by_global_norm(optim.clip_norm))
  if optim.name == "adam":
    chain.append(optax.scale_by_adam(b1=optim.b1, b2=optim.b2))
  else:
    chain.append(optax.trace(decay=optim.b1))
  if optim.weight_decay:
    chain.append(optax.add_decayed_weights(optim.weight_decay, get_kernels))
  chain.append(optax.scale_by_learning_rate(schedule))
  return optax.chain(*chain)


def update_ema(ema: Any, params: Any, step: jax.Array, decay: float) -> Any:
  """The average after one more step; `step` counts those before it."""
  decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
  return jax.tree.map(lambda a, p: a + (1.0 - decay) * (p - a), ema, params)
