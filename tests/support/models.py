# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters for models, without a compilation."""

import functools

import jax
import numpy as np


def make_params(model, *inputs, seed=0, **options):
  """Makes parameters with no zeros in them, in float64, of usual sizes.

  Args:
    model: a Flax module.
    *inputs: what it is called with; shapes suffice.
    seed: of the numbers.
    **options: of the call.
  """
  init = functools.partial(model.init, **options)
  shapes = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    numbers = rng.normal(size=leaf.shape)
    is_scale = "scale" in path[-1].key
    return 1 + 0.1 * numbers if is_scale else 0.2 * numbers

  return jax.tree_util.tree_map_with_path(draw, shapes)
