# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp

from vit_jax import models, optim
from vit_jax.models.flops import count_flops, count_training_flops

X = jax.ShapeDtypeStruct((4, 8), jnp.float32)


def test_matrix_products():
  w = jax.ShapeDtypeStruct((8, 3), jnp.float32)
  assert count_flops(jnp.matmul, X, w) == 2 * 4 * 8 * 3
  q = jax.ShapeDtypeStruct((2, 5, 3, 7), jnp.float32)
  scores = lambda a, b: jnp.einsum("BNKC,BSKC->BKNS", a, b)  # noqa: E731
  assert count_flops(scores, q, q) == 2 * (2 * 3 * 5 * 5) * 7


def test_convolutions():
  def convolve(x, w):
    return jax.lax.conv_general_dilated(
      x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  w = jax.ShapeDtypeStruct((5, 5, 3, 6), jnp.float32)
  assert count_flops(convolve, x, w) == 2 * (4 * 4 * 6) * (5 * 5 * 3)


def test_a_scanned_body_counts_as_often_as_it_runs():
  w = jax.ShapeDtypeStruct((8, 8), jnp.float32)

  def run(x, w):
    return jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, length=5)[0]

  once = 2 * 4 * 8 * 8
  assert count_flops(run, X, w) == 5 * once
  assert count_flops(jax.jit(jax.checkpoint(run)), X, w) == 5 * once


def test_a_gradient_costs_twice_as_much_again():
  w = jax.ShapeDtypeStruct((8, 3), jnp.float32)

  def loss(x, w):
    return jnp.sum((x @ w) ** 2)

  assert count_flops(jax.grad(loss, argnums=(0, 1)), X, w) == 3 * 2 * 4 * 8 * 3


def test_training_is_three_forward_passes_and_less_of_what_is_frozen():
  shape = (8, 8, 1)
  image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  model = models.make_model(10, variant="mu/4", remat="full", dropout=0.1)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  params = variables["params"]
  forward = count_flops(model.apply, variables, image)
  plain = model.clone(remat="none")

  def apply(params, image):
    rngs = {"dropout": jax.random.key(0)}
    return plain.apply({"params": params}, image, train=True, rngs=rngs)

  assert count_training_flops(apply, params, shape) == 3 * forward
  found = count_training_flops(apply, params, shape, lambda params: params)
  assert found == 3 * forward
  options = optim.Optim(lr=1.0, multipliers=(("^(?!head)", 0.0),))
  freeze = functools.partial(optim.stop_frozen, options)
  # The forward pass, and the head's gradient.
  frozen = count_training_flops(apply, params, shape, freeze)
  assert forward < frozen < 1.2 * forward
