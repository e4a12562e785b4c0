# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""FLOPs of a run, and the speed that its devices can reach at most."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax import optim
from vit_jax.devices.specs import get_device_spec
from vit_jax.models.flops import count_flops, count_training_flops


def count_flops_per_image(exp: Any) -> float:
  """FLOPs to train on one image, with passes that get no gradient if any."""
  objective = exp.objective
  if hasattr(exp.model, "attention"):  # Kernels hide their products.
    objective = objective.clone(attention="xla", remat="none")
  state, key = exp.abstract_state, jax.random.key(0)
  freeze = None
  if not optim.is_plain(exp.optim):
    freeze = functools.partial(optim.stop_frozen, exp.optim)
  flops = count_training_flops(
    lambda params, image: objective.forward(params, image, key),
    state.params,
    exp.image_shape,
    freeze,
  )
  image = jax.ShapeDtypeStruct((1, *exp.image_shape), jnp.float32)
  observe = objective.observe
  return flops + count_flops(observe, state.aux, image, *exp.abstract_frozen)


def compute_peak_images_per_second(exp: Any) -> float | None:
  """Images per second at which the FLOPs alone would fill all devices.

  None for devices of unknown peak, as a CPU.
  """
  specs = get_device_spec(exp.mesh.devices.flat[0])
  if specs is None:
    return None
  return specs.peak_flops * exp.mesh.size / count_flops_per_image(exp)
