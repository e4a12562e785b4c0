# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""First moments kept in half precision (optim.momentum_dtype)."""

import jax
import jax.numpy as jnp
import optax


def store_moment(
  name: str, dtype: str, tx: optax.GradientTransformation
) -> optax.GradientTransformation:
  """Stores a moment of an optimizer's state in another dtype between steps.

  Optax's own options multiply a bfloat16 moment by its decay in bfloat16, which
  makes 0.988 of a decay of 0.99. Here a step computes in float32.

  Args:
    name: the field of the state that holds the moment.
    dtype: how it is stored; "float32" returns `tx` as it is.
    tx: the optimizer.
  """
  if dtype == "float32":
    return tx

  def cast(state, dtype):
    moment = jax.tree.map(lambda x: x.astype(dtype), getattr(state, name))
    return state._replace(**{name: moment})

  def update(gradients, state, params=None):
    updates, state = tx.update(gradients, cast(state, jnp.float32), params)
    return updates, cast(state, dtype)

  return optax.GradientTransformation(
    lambda params: cast(tx.init(params), dtype), update
  )
