# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training step: a pure function that the trainer jits, the planner lowers
and the benchmark times."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vit_jax.optim import Schedule, update_ema
from vit_jax.train_state import TrainState

Batch = dict[str, jax.Array]

# What a run's seed is folded with, so that no key serves two purposes.
INIT, STEP = 0, 1


def get_key(seed: int, purpose: int) -> jax.Array:
  """The random key of a run for one purpose."""
  return jax.random.fold_in(jax.random.key(seed), purpose)


def make_init_state(
  model: Any,
  objective: Any,
  tx: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  *,
  seed: int,
  ema: float | None,
) -> Callable[[], TrainState]:
  """A function of nothing that makes the state at step 0.

  Args:
    model: images -> logits.
    objective: makes `aux`.
    tx: the optimizer.
    image_shape: (H, W, c).
    seed: of the parameters.
    ema: whether an average is kept.
  """

  def init_state() -> TrainState:
    params_key, aux_key = jax.random.split(get_key(seed, INIT))
    params = model.init(params_key, jnp.zeros((1, *image_shape)))["params"]
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=tx.init(params),
      # A copy: the step donates the state, and no buffer can be given twice.
      ema=None if ema is None else jax.tree.map(jnp.copy, params),
      aux=objective.init_aux(params, aux_key),
    )

  return init_state


def make_train_step(
  objective: Any,
  tx: optax.GradientTransformation,
  schedule: Schedule,
  augment: Callable[[Batch, jax.Array], Batch],
  *,
  seed: int,
  ema: float | None,
  freeze: Callable[[Any], Any] = lambda params: params,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict]]:
  """The pure step (state, batch) -> (state, metrics).

  Every key is a function of the seed and the step, so a resumed run draws
  exactly what an uninterrupted one would.

  Args:
    objective: gives the loss.
    tx: the optimizer.
    schedule: the learning rate that it follows, for the record.
    augment: (batch, key) -> batch with float images.
    seed: of the run.
    ema: decay of the parameter average, or None.
    freeze: stops the gradient of the parameters that are not trained.

  Returns:
    A function whose metrics are (sum, count) pairs of float32 scalars.
  """

  def loss(params, aux, batch, key):
    return objective.loss(freeze(params), aux, batch, key)

  gradient = jax.grad(loss, has_aux=True)

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict]:
    key = jax.random.fold_in(get_key(seed, STEP), state.step)
    augment_key, loss_key = jax.random.split(key)
    batch = augment(batch, augment_key)
    grads, (metrics, aux) = gradient(state.params, state.aux, batch, loss_key)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.ema
    if ema is not None:
      average = update_ema(average, params, state.step, ema)
    one = jnp.ones(())
    metrics = metrics | {
      "grad_norm": (optax.tree.norm(grads), one),
      "lr": (jnp.asarray(schedule(state.step), jnp.float32), one),
    }
    state = TrainState(state.step + 1, params, opt_state, average, aux)
    return state, metrics

  return train_step
