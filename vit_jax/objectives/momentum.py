# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What objectives share that compare views by an averaged encoder.

The average follows the parameters: each step, after the optimizer's update, it
moves towards them by 1 - momentum (He et al., 2020, arXiv 1911.05722).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vit_jax.objectives.objective import Setting
from vit_jax.sharding import constrain


def compute_momentum(
  base: float, step: jax.Array | int, steps: int
) -> Float[Array, ""]:
  """The momentum of a step, from `base` to 1 along half a cosine.

  Args:
    base: that of step 0.
    step: number of steps done.
    steps: length of the run.
  """
  rest = 0.5 * (1 + jnp.cos(jnp.pi * step / steps))
  return 1 - (1 - base) * rest.astype(jnp.float32)


def move(average: Any, params: Any, momentum: Float[Array, ""]) -> Any:
  """Moves an average of parameters towards them by 1 - momentum."""
  return jax.tree.map(
    lambda a, p: momentum * a + (1 - momentum) * p, average, params
  )


def stack_views(
  batch: dict[str, jax.Array], *names: str
) -> Float[Array, "B V H W c"]:
  """Stacks views of a batch: its image first, if that is one of the names."""
  found = []
  for name in names:
    if name in batch:
      x = batch[name]
      found.append(x[:, None] if name == "image" else x)
  return jnp.concatenate(found, axis=1)


def merge(x: Float[Array, "B V ..."]) -> Float[Array, "BV ..."]:
  """Makes examples of views, B before V, so that no device sends any."""
  x = x.reshape(-1, *x.shape[2:])
  return constrain(x, "B" + " _" * (x.ndim - 1))


def split(x: Float[Array, "BV D"], views: int) -> Float[Array, "B V D"]:
  """The opposite of `merge`."""
  return constrain(x.reshape(-1, views, x.shape[-1]), "B _ _")


def normalise(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
  """Scales vectors to unit length."""
  square = jnp.square(x).sum(axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def measure_spread(x: Float[Array, "*B D"]) -> Float[Array, ""]:
  """How far representations lie apart: the deviation of their directions.

  Of unit vectors the root of the total variance: 0 if all are the same, 1 if
  their mean is zero.
  """
  unit = normalise(x.astype(jnp.float32)).reshape(-1, x.shape[-1])
  mean = unit.mean(axis=0, keepdims=True)
  return jnp.sqrt(jnp.square(unit - mean).sum(axis=-1).mean())


def find_view_errors(name: str, setting: Setting, least: int) -> list[str]:
  """Lists what is wrong with the views of a run.

  Args:
    name: value of objective.name.
    setting: facts of the run.
    least: number of large views that the objective compares.
  """
  if setting.views >= least:
    return []
  return [
    f"objective.name={name!r} compares views of an image, and "
    f"data.views.count={setting.views} makes too few: set "
    f"--config.data.views.count={least}"
  ]


def count_epochs(epochs: float, setting: Setting) -> int:
  """Counts the steps of a number of epochs, a begun one as a whole."""
  return math.ceil(epochs * setting.epoch)
