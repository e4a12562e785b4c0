# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attention for CPUs against float64 and JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.attention import draw, get_all
from vit_jax import models
from vit_jax.models.heads_attention import attend


def compute_exactly(query, key, value, cotangent):
  """Attention and its derivative in float64, by the formulas."""
  q, k, v, g = (np.float64(x) for x in (query, key, value, cotangent))
  scale = q.shape[-1] ** -0.5
  weights = np.exp(scale * np.einsum("bnkc,bskc->bkns", q, k))
  weights /= weights.sum(-1, keepdims=True)
  mixed = np.einsum("bkns,bskc->bnkc", weights, v)
  slope = weights * np.einsum("bnkc,bskc->bkns", g, v)
  slope = scale * (slope - weights * slope.sum(-1, keepdims=True))
  return (
    mixed,
    np.einsum("bkns,bskc->bnkc", slope, k),
    np.einsum("bkns,bnkc->bskc", slope, q),
    np.einsum("bkns,bnkc->bskc", weights, g),
  )


@pytest.mark.parametrize("scale", [1, 10])
def test_it_is_attention_with_its_derivative(scale):
  """Also where a power of a logit, of up to 340, is infinite in float32."""
  query, key, value, cotangent = draw((2, 17, 3, 8))
  arrays = scale * query, scale * key, value, cotangent
  found = get_all(attend, *arrays)
  usual = get_all(jax.nn.dot_product_attention, *arrays)
  for a, b, exact in zip(found, usual, compute_exactly(*arrays), strict=True):
    error, other = (np.abs(x - exact).max() for x in (a, b))
    # Each rounds logits, of up to 340 to 3e-5; neither is the exacter one.
    assert error <= max(1e-6, 2 * other)


def test_other_tokens_can_be_attended_to():
  query, key, value, _ = draw((2, 5, 3, 8))
  found = attend(query[:, :1], key, value)
  expected = jax.nn.dot_product_attention(query[:, :1], key, value)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_weights_are_kept_once_for_the_backward_pass():
  _, pull = jax.vjp(attend, *draw((2, 17, 3, 8))[:3])
  shapes = [x.shape for x in jax.tree.leaves(pull)]
  assert shapes.count((2, 3, 17, 17)) == 1


@pytest.mark.parametrize("pool", ["token", "map"])
def test_a_model_with_it_is_the_model(pool):
  image = jnp.asarray(draw((2, 16, 16, 3))[0])
  fields = dict(variant="mu/4", dtype="float32", pool=pool)
  plain = models.make_model(5, **fields, attention="xla")
  variables = jax.jit(plain.init)(jax.random.key(0), image)
  heads = plain.clone(attention="heads")
  found, expected = (
    jax.jit(model.apply)(variables, image) for model in (heads, plain)
  )
  np.testing.assert_allclose(found, expected, atol=1e-5)
