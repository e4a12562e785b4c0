# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the forward pass of a block keeps for its backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.models.attention import compute_logits, dot_product_attention
from vit_jax.models.encoder import GELU


def draw(shape, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def list_kept(function, *arrays):
  """Shapes and dtypes of the arrays that the derivative of a function holds."""
  _, pull = jax.vjp(function, *arrays)
  return [(x.shape, str(x.dtype)) for x in jax.tree.leaves(pull)]


@pytest.mark.parametrize("name", GELU)
def test_gelu_keeps_its_input_and_has_its_derivative(name):
  x = jnp.concatenate([jnp.linspace(-12, 12, 4001), jnp.array([-1e4, 1e4])])
  x = x[None, None]
  assert list_kept(GELU[name], x) == [(x.shape, "float32")]
  plain = lambda x: jax.nn.gelu(x, approximate=name == "tanh")  # noqa: E731
  np.testing.assert_array_equal(GELU[name](x), plain(x))
  one = jnp.ones_like(x)
  (found,), (expected,) = (jax.vjp(f, x)[1](one) for f in (GELU[name], plain))
  # Sums of terms up to 1, in another order.
  np.testing.assert_allclose(found, expected, atol=2e-6)


def test_gelu_in_bfloat16_is_rounded_once():
  x = jnp.linspace(-6, 6, 1001).astype(jnp.bfloat16)[None, None]
  exact = jax.nn.gelu(x.astype(jnp.float32))
  np.testing.assert_array_equal(GELU["tanh"](x), exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_keeps_its_weights_in_the_dtype_of_activations(dtype):
  def attend(query, key, value):
    return dot_product_attention(query, key, value)

  kept = list_kept(attend, *[draw((2, 17, 3, 8)).astype(dtype)] * 3)
  assert {x for shape, x in kept if shape == (2, 3, 17, 17)} == {dtype}


@pytest.mark.parametrize("biased", [False, True])
def test_half_precision_is_as_near_as_without_a_derivative_of_its_own(biased):
  shape = (2, 17, 3, 8)
  arrays = [draw(shape, seed) for seed in range(3)]
  if biased:
    arrays.append(draw((2, 3, 17, 17), 3))
  cotangent = draw(shape, 4)

  def get(attend, dtype):
    inputs = [x.astype(dtype) for x in arrays[:3]] + arrays[3:]
    mixed, pull = jax.vjp(attend, *inputs)
    return mixed, *pull(cotangent.astype(dtype))

  def plainly(query, key, value, bias=None):
    weights = jax.nn.softmax(compute_logits(query, key, bias), axis=-1)
    weights = weights.astype(value.dtype)
    return jnp.einsum("BKNS,BSKC->BNKC", weights, value)

  exact = get(plainly, jnp.float32)
  found, usual = (
    get(attend, jnp.bfloat16) for attend in (dot_product_attention, plainly)
  )
  np.testing.assert_array_equal(found[0], usual[0])
  for a, b, c in zip(found, usual, exact, strict=True):
    assert a.dtype == b.dtype
    # Each rounds other intermediates to 8 bits; neither is the exacter one.
    assert jnp.abs(a - c).max() <= 2 * jnp.abs(b - c).max()
