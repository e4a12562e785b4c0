# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of activations, counted by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from vit_jax.models.activations import count_activation_bytes


class TwoLayers(nn.Module):
  """Squares between two matrix products."""

  @nn.compact
  def __call__(self, image, train):
    x = image.reshape(image.shape[0], -1)
    x = nn.Dense(5, use_bias=False)(x)
    return nn.Dense(3, use_bias=False)(jnp.square(x))


def test_two_layers_keep_their_inputs():
  """12 floats of the image, 5 before the square and 5 after it."""
  image = jnp.zeros((1, 2, 2, 3))
  params = TwoLayers().init(jax.random.key(0), image, train=True)["params"]

  def forward(params, image):
    return TwoLayers().apply({"params": params}, image, train=True)

  found = count_activation_bytes(forward, params, (2, 2, 3))
  assert found == 4 * (12 + 5 + 5)
