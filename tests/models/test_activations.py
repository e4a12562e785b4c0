# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of activations, counted by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from vit_jax import models
from vit_jax.models.activations import choose_kept, count_activation_bytes


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


def test_only_results_of_products_are_kept_where_the_rest_is_fused():
  image = jnp.zeros((1, 2, 2, 3))
  params = TwoLayers().init(jax.random.key(0), image, train=True)["params"]

  def forward(params, image):
    return TwoLayers().apply({"params": params}, image, train=True)

  count = functools.partial(count_activation_bytes, forward, params, (2, 2, 3))
  # The square is what the second product reads; it is computed again.
  assert count("products") == 4 * (12 + 5)
  assert count("products and operands") == 4 * (12 + 5 + 5)


def test_of_a_loop_each_iteration_counts():
  """Of x + sin(sin(x) A) B: x, sin(x), sin(x) A, and the sine of that."""
  depth, width, hidden = 3, 6, 10
  params = jnp.ones((depth, width, hidden)), jnp.ones((depth, hidden, width))

  def forward(params, image):
    def block(x, weights):
      y = jnp.sin(x) @ weights[0]
      return x + (jnp.sin(y) @ weights[1]).astype(x.dtype), None

    x = image.reshape(image.shape[0], -1).astype(jnp.bfloat16)
    params = jax.tree.map(lambda p: p.astype(x.dtype), params)
    return jax.lax.scan(block, x, params)[0]

  count = functools.partial(count_activation_bytes, forward, params, (1, 2, 3))
  # x and the result of the first product.
  assert count("products") == 2 * depth * (width + hidden)
  # And what both products read.
  assert count("products and operands") == 2 * depth * 2 * (width + hidden)


def test_blocks_of_a_vit_keep_what_their_products_write():
  """x and the sum with attention's output, query, key, value, the mixed values,
  the MLP's hidden units: 2 + 3 + 1 + 4 times the width; and logits."""
  fields = dict(variant="mu/4", dtype="bfloat16", attention="xla")
  tokens, heads = 17, 2

  def count(depth, kept="products", **more):
    model = models.make_model(3, depth=depth, unroll=1, **fields, **more)
    image = jnp.zeros((1, 16, 16, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]

    def forward(params, image):
      return model.apply({"params": params}, image, train=True)

    return count_activation_bytes(forward, params, (16, 16, 3), kept)

  width = models.make_model(3, **fields).width
  logits = heads * tokens**2 * 4
  found = count(3) - count(2)
  assert abs(found - 10 * width * tokens * 2 - logits) < logits
  assert count(3, remat="full") - count(2, remat="full") == width * tokens * 2


def test_a_loop_keeps_all():
  model = models.make_model(3, variant="mu/4", depth=4)
  assert choose_kept(model.clone(unroll=4), "tpu") == "products"
  assert choose_kept(model.clone(unroll=4), "gpu") == "products and operands"
  assert choose_kept(model.clone(unroll=4), "cpu") == "all"
  assert choose_kept(model.clone(unroll=2), "tpu") == "all"
