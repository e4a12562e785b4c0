# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of attention, and all that it gives: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np


def draw(shape, dtype="float32"):
  """Query, key, value and a cotangent of one shape."""
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=shape), dtype) for _ in range(4)]


def get_all(attend, query, key, value, cotangent):
  """The mixed values and the three gradients."""
  mixed, pull = jax.vjp(attend, query, key, value)
  return mixed, *pull(cotangent)
