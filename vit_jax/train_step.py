# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training step: a pure function (state, batch) -> (state, metrics).

The trainer compiles it, the planner lowers it and the benchmark times it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vit_jax.optim import Schedule, nonfinite, update_ema
from vit_jax.optim.layers import compute_norms
from vit_jax.sharding import (
  constrain,
  get_letters,
  get_path,
  take_trained,
)
from vit_jax.train_state import Batch, TrainState

# Folded into the seed of a run, so that no key serves two purposes.
INIT, STEP = 0, 1


def make_key(seed: int, purpose: int) -> jax.Array:
  """Makes the random key of a run for one purpose (INIT or STEP)."""
  return jax.random.fold_in(jax.random.key(seed), purpose)


def make_init_state(
  objective: Any,
  tx: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  *,
  seed: int,
  ema: float | None,
) -> Callable[..., TrainState]:
  """Makes a function that builds the initial TrainState.

  It takes parameters that are not drawn, path -> array, or no argument.

  Args:
    objective: its module is initialised, and its `aux`.
    tx: optimizer.
    image_shape: (H, W, c).
    seed: seed of the run.
    ema: decay of the parameter average; None keeps none.
  """

  def init_state(given: Mapping[str, Any] | None = None) -> TrainState:
    params_key, aux_key = jax.random.split(make_key(seed, INIT))
    image = jnp.zeros((1, *image_shape))
    params = jax.tree_util.tree_map_with_path(
      lambda keys, leaf: (given or {}).get(get_path(keys), leaf),
      objective.module.init(params_key, image)["params"],
    )
    return TrainState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      opt_state=tx.init(params),
      # A copy: the step donates the state, and no buffer can be given twice.
      ema=None if ema is None else jax.tree.map(jnp.copy, params),
      aux=objective.init_aux(params, aux_key),
    )

  return init_state


def split_batch(batch: Batch, parts: int) -> Batch:
  """Reshapes [B ...] to [parts B/parts ...]; part i has every parts-th example.

  A device that holds B/n neighbouring examples holds B/n/parts of every part:
  no data move, and every part is spread over all n devices.
  """

  def split(x):
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:])
    return constrain(jnp.moveaxis(x, 1, 0), "_ B" + " _" * (x.ndim - 2))

  return jax.tree.map(split, batch)


def accumulate_gradient(
  gradient: Callable,
  params: Any,
  aux: Any,
  batch: Batch,
  key: jax.Array,
  *,
  micro_batches: int,
  trained: Any = None,
) -> tuple[Any, tuple[dict, Any]]:
  """Computes the gradient of a batch in the memory of a micro-batch.

  The loss is a mean over the examples that the mask keeps, so a micro-batch is
  weighted by its number of them.

  Args:
    gradient: (params, aux, batch, key) -> (gradient, (metrics, aux)).
    params: parameters; the summed gradient is sharded like them.
    aux: passed from one micro-batch to the next.
    batch: augmented batch.
    key: random key; each micro-batch folds its index into it.
    micro_batches: number of micro-batches.
    trained: parameter -> whether it is trained; the gradients of others are
      zero, and take no memory. None is all.

  Returns:
    As `gradient` of the whole batch.
  """
  if trained is None:
    trained = jax.tree.map(lambda _: True, params)

  def place(keys, x):
    return constrain(x, get_letters(get_path(keys)) or " ".join("_" * x.ndim))

  def add(carry, part):
    total, sums, aux = carry
    index, weight, micro = part
    grads, (metrics, aux) = gradient(
      params, aux, micro, jax.random.fold_in(key, index)
    )
    grads = take_trained(grads, trained)
    total = jax.tree.map(lambda t, g: t + weight * g, total, grads)
    total = jax.tree_util.tree_map_with_path(place, total)
    return (total, jax.tree.map(jnp.add, sums, metrics), aux), None

  batch = split_batch(batch, micro_batches)
  counts = batch["mask"].sum(axis=1, dtype=jnp.float32)
  weights = counts / jnp.maximum(counts.sum(), 1)
  first = jax.tree.map(lambda x: x[0], batch)
  shapes, (metrics, _) = jax.eval_shape(gradient, params, aux, first, key)
  shapes = take_trained(shapes, trained)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes, metrics))
  carry, _ = jax.lax.scan(
    add, (*zeros, aux), (jnp.arange(micro_batches), weights, batch)
  )
  total, metrics, aux = carry
  total = jax.tree.map(
    lambda p, x: jnp.zeros_like(p) if x is None else x, params, total
  )
  return total, (metrics, aux)


def make_train_step(
  objective: Any,
  tx: optax.GradientTransformation,
  schedule: Schedule,
  augment: Callable[[Batch, jax.Array], Batch],
  *,
  seed: int,
  ema: float | None,
  accumulate: int = 1,
  freeze: Callable[[Any], Any] = lambda params: params,
  find_trained: Callable[[Any], Any] = lambda params: None,
  max_skipped_steps: int = 0,
  by_layer: bool = False,
) -> Callable[..., tuple[TrainState, dict]]:
  """Makes the pure step (state, batch, *frozen) -> (state, metrics).

  Every key is a function of the seed and the step, so a resumed run draws
  exactly what an uninterrupted one would.

  Args:
    objective: computes the loss.
    tx: optimizer.
    schedule: learning rate by step, as the optimizer follows it; for the log.
    augment: (batch, key) -> batch with float images.
    seed: seed of the run.
    ema: decay of the parameter average; None keeps none.
    accumulate: micro-batches that the augmented batch is split into.
    freeze: stops the gradient of parameters that are not trained.
    find_trained: the parameters -> whether each is trained; None is all.
    max_skipped_steps: non-finite steps that are skipped before one stops the
      run (`optim.nonfinite.guard`).
    by_layer: whether the metrics have "layers", the norms of gradient, update
      and parameters by layer (`optim.layers.compute_norms`).

  Returns:
    The step. Its other metrics are (sum, count) pairs of float32 scalars;
    `frozen` are inputs of the objective that no step changes, as a teacher.
  """

  def train_step(
    state: TrainState, batch: Batch, *frozen: Any
  ) -> tuple[TrainState, dict]:
    key = jax.random.fold_in(make_key(seed, STEP), state.step)
    augment_key, loss_key = jax.random.split(key)
    with jax.named_scope("augment"):  # Names that profiles show.
      batch = augment(batch, augment_key)
    gradient = jax.grad(
      lambda params, *rest: objective.loss(freeze(params), *rest, *frozen),
      has_aux=True,
    )
    arguments = state.params, state.aux, batch, loss_key
    if accumulate == 1:
      grads, (metrics, aux) = gradient(*arguments)
    else:
      grads, (metrics, aux) = accumulate_gradient(
        gradient,
        *arguments,
        micro_batches=accumulate,
        trained=find_trained(state.params),
      )
    with jax.named_scope("optimizer"):
      updates, opt_state = tx.update(
        grads, state.opt_state, state.params, step=state.step
      )
      params = optax.apply_updates(state.params, updates)
    aux = objective.update_aux(aux, params, state.step)
    average = state.ema
    if ema is not None:
      average = update_ema(average, params, state.step, ema)
    learning_rate = jnp.asarray(schedule(state.step), jnp.float32)
    more: dict[str, Any] = {"lr": (learning_rate, jnp.ones(()))}
    if by_layer:
      more["layers"] = compute_norms(grads, updates, state.params)
    # A step with a non-finite value leaves the old state, to the bit.
    with jax.named_scope("checks"):
      state, checks = nonfinite.guard(
        state,
        state.replace(params=params, opt_state=opt_state, ema=average, aux=aux),
        loss=metrics["loss"][0],
        grads=grads,
        updates=updates,
        max_skipped_steps=max_skipped_steps,
      )
    return state, metrics | checks | more

  return train_step


def trace(
  train_step: Callable[..., tuple[TrainState, dict]],
  mesh: Mesh,
  state: TrainState,
  batch: Mapping[str, Any],
  *frozen: Any,
) -> jax.stages.Traced:
  """Traces a training step on a mesh, ready to lower; it donates the state.

  Args:
    train_step: from `make_train_step`.
    mesh: mesh that the shardings are of.
    state: abstract state, with shardings.
    batch: abstract batch, likewise.
    *frozen: abstract frozen inputs, likewise.
  """
  shardings = jax.tree.map(lambda x: x.sharding, state)
  jitted = jax.jit(
    train_step, donate_argnums=0, out_shardings=(shardings, None)
  )
  with jax.set_mesh(mesh):
    return jitted.trace(state, batch, *frozen)
