# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Fits the training step of an experiment into memory."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from vit_jax import optim, sharding
from vit_jax.devices.auto import choose_batch
from vit_jax.devices.fitting import Fit, Fitting, get_memory
from vit_jax.devices.host_memory import return_memory
from vit_jax.models.activations import (
  choose_kept,
  count_activation_bytes,
  measure_stream,
)
from vit_jax.runtime.out_of_memory import count_needed, is_out_of_memory

# Options of XLA by platform. The TPU's compiler would cut products with sharded
# weights into as many as there are shards, each waiting for its part: on v5e by
# its own estimate, two blocks of B/16 with fsdp=16 and remat=full take 64.6 M
# cycles with that, and 29.2 M without.
COMPILER_OPTIONS: dict[str, dict[str, str | bool]] = {
  "tpu": {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"}
}

# The same for a program that runs once. With the passes of -O1 that of Ti/16's
# state takes 2.2 s of CPU time to compile, else 3.5, and gives the same bits.
ONCE_OPTIONS: dict[str, dict[str, str | bool | int]] = {
  "cpu": {"xla_backend_optimization_level": 1}
}


def make_fitting(exp: Any) -> Fitting:
  """Chooses the micro-batches and the rematerialisation of an `Experiment`.

  The estimate adds up the state, its gradients, the images and the activations
  of a micro-batch, as if the tensor axis split none of them.
  """
  model, params = exp.model, exp.abstract_state.params
  examples = exp.train.batch_size // sharding.count_data_shards(exp.mesh)
  trained = optim.make_trained_mask(exp.optim, params)
  held = sharding.count_state_bytes(exp.abstract_state, trained)
  held += sharding.count_bytes(exp.abstract_frozen)
  # Three batches of uint8, of which two wait; one of float32, and its like
  # while it is augmented.
  views = exp.data.views.count_values(exp.data.shape, exp.info.channels)
  held += examples * views * (3 + 2 * 4)

  device = exp.mesh.devices.flat[0]
  kept = choose_kept(model, device.platform)

  @functools.cache
  def count(remat):
    objective = exp.objective
    if remat is not None:
      objective = objective.clone(remat=remat)

    def forward(params, image):
      return objective.forward(params, image, jax.random.key(0))

    return count_activation_bytes(forward, params, exp.image_shape, kept)

  def estimate(fit: Fit) -> int | float:
    return held + count(fit.remat) * examples / fit.accumulate

  tokens, between = measure_stream(model, exp.data.shape)
  return Fitting(
    getattr(model, "remat", None),
    exp.train.accumulate if exp.objective.splits else 1,
    examples=examples,
    tokens=tokens,
    between=between,
    device=device,
    estimate=estimate,
  )


def choose_eval_batch(exp: Any) -> int:
  """Chooses how many images an evaluation takes, if its config does not say.

  A micro-batch of training's, for which there is memory. On a CPU no more than
  stay in its caches, see `devices.auto.choose_batch`.
  """
  batch = exp.train.batch_size // exp.fit.accumulate
  devices = list(exp.mesh.devices.flat)
  if devices[0].platform != "cpu":
    return batch
  shards = sharding.count_data_shards(exp.mesh)
  most = choose_batch(exp.model, devices, *exp.data.shape)
  return min(batch, -(-most // shards) * shards)


def compile_lowered(
  lowered: jax.stages.Lowered, platform: str
) -> jax.stages.Compiled:
  """Compiles a training step with the options of its platform."""
  compiled = lowered.compile(COMPILER_OPTIONS.get(platform))
  return_memory()  # The compiler's, which may be more than the step's.
  return compiled


def jit_once(function: Callable, shardings: Any) -> Callable:
  """Jits a function that runs once, as it is compiled faster.

  Args:
    function: takes no arguments, or one that is donated.
    shardings: NamedShardings of its results.
  """
  first = jax.tree.leaves(shardings)[0]
  platform = first.mesh.devices.flat[0].platform
  return jax.jit(
    function,
    out_shardings=shardings,
    donate_argnums=0,
    compiler_options=ONCE_OPTIONS.get(platform),
  )


def take_fitting(
  exp: Any, compiled: Callable[[], jax.stages.Compiled]
) -> jax.stages.Compiled | None:
  """Takes a compiled step that fits; changes the experiment if it does not.

  Args:
    exp: the step's `Experiment`.
    compiled: returns the compiled step.

  Returns:
    The step; None if it does not fit and `exp` has one now that takes less,
    which is to be traced and compiled in its place. If there is none, the step
    all the same: the memory that it may take is no sharp limit.
  """
  try:
    step = compiled()
  except jax.errors.JaxRuntimeError as error:
    if is_out_of_memory(error) and exp.save_memory():
      return None
    raise
  memory = get_memory(exp.mesh.devices.flat[0])
  if memory is None or count_needed(step) <= memory or not exp.save_memory():
    return step
  return None
