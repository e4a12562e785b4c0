# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The attention kernels of GPUs, interpreted; and what is handed to Triton."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models
from vit_jax.devices.mesh import make_mesh
from vit_jax.models import triton_attention, triton_tiles
from vit_jax.models.attention import (
  LOGITS,
  MultiHeadDotProductAttention,
  dot_product_attention,
)
from vit_jax.models.attention_kernels import triton_attention as attend


@pytest.fixture
def interpreted(monkeypatch):
  monkeypatch.setattr(triton_attention, "INTERPRET", True)


def draw(batch, tokens, heads, size):
  """Queries, keys and values; their biases; a cotangent."""
  rng = np.random.default_rng(0)
  shapes = (
    *((batch, tokens, 3, heads, size), (3, heads, size)),
    (batch, tokens, heads, size),
  )
  return [jnp.asarray(rng.normal(size=x), "float32") for x in shapes]


def plain(qkv, bias):
  return dot_product_attention(*jnp.moveaxis(qkv + bias[None, None], 2, 0))


def get_all(function, qkv, bias, cotangent):
  mixed, pull = jax.vjp(function, qkv, bias)
  return mixed, *pull(cotangent)


@pytest.mark.parametrize(
  "tokens, tile, expected",
  [
    (197, 64, [(192, 16)]),
    (256, 64, []),
    (50, 64, [(0, 64)]),  # A quarter of it at most is padding,
    (37, 64, [(0, 32), (32, 16)]),  # else it is cut again.
    (5, 64, [(0, 16)]),
    (80, 64, [(64, 16)]),
  ],
)
def test_a_sequence_is_cut_into_powers_of_two(tokens, tile, expected):
  assert triton_tiles.cut(tokens, tile) == expected


@pytest.mark.parametrize(
  "tokens, heads, size", [(37, 2, 16), (69, 3, 80), (197, 1, 64), (64, 1, 24)]
)
def test_it_is_attention(interpreted, tokens, heads, size):
  """With one part of a head, two, and one that is not full."""
  arrays = draw(2, tokens, heads, size)
  found = get_all(attend, *arrays)
  for a, b in zip(found, get_all(plain, *arrays), strict=True):
    # Sums over up to 394 tokens of numbers around 1, in another order.
    np.testing.assert_allclose(a, b, atol=3e-5)
  assert not found[2][1].any()  # No logit depends on the bias of the keys.


def test_in_bfloat16_it_is_as_exact_as_attention(interpreted):
  qkv, bias, cotangent = draw(2, 50, 2, 32)
  exact = get_all(plain, qkv, bias, cotangent)
  rounded = [x.astype("bfloat16") for x in (qkv, cotangent)]
  found, usual = (
    get_all(function, rounded[0], bias, rounded[1])
    for function in (attend, lambda x, y: plain(x, y.astype(x.dtype)))
  )
  for a, b, c in zip(found, usual, exact, strict=True):
    a, b, c = (np.asarray(x, "float32") for x in (a, b, c))
    assert np.linalg.norm(a - c) <= 1.2 * np.linalg.norm(b - c)


def test_a_layer_with_the_kernel_is_the_layer(interpreted):
  """The same parameters from the same key, outputs, logits and gradients."""
  tokens = jax.random.normal(jax.random.key(1), (2, 37, 48))
  layer, other = (
    MultiHeadDotProductAttention(3, attention=name)
    for name in ("xla", "triton")
  )

  def get(layer, variables):
    def loss(variables):
      (mixed, weights), found = layer.apply(variables, tokens, mutable=[LOGITS])
      assert weights is None
      return jnp.square(mixed).sum(), (mixed, found)

    gradients, found = jax.grad(loss, has_aux=True)(variables)
    del gradients["params"]["key"]["bias"]  # 0, or what rounding leaves.
    return gradients, found

  variables = layer.init(jax.random.key(0), tokens)
  again = other.init(jax.random.key(0), tokens)
  jax.tree.map(np.testing.assert_array_equal, variables, again)
  keys = iter(jax.random.split(jax.random.key(2), 8))
  variables = jax.tree.map(
    lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), variables
  )
  jax.tree.map(
    # Gradients reach 200.
    lambda a, b: np.testing.assert_allclose(a, b, atol=3e-4, rtol=1e-5),
    get(other, variables),
    get(layer, variables),
  )


def test_on_a_mesh_it_is_attention(interpreted):
  arrays = draw(8, 20, 4, 16)
  expected = get_all(plain, *arrays)
  with jax.set_mesh(make_mesh(fsdp=2, replica=2, tensor=2)):
    found = jax.jit(lambda *x: get_all(attend, *x))(*map(np.asarray, arrays))
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


def name_gpu(mesh):
  """Says for which GPU programs are lowered, which jax 0.12 asks."""
  if jax.__version_info__ < (0, 12):
    return contextlib.nullcontext()
  gpu = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", None, "gpu")
  abstract = mesh.abstract_mesh.update(abstract_device=gpu)
  return jax.sharding.use_abstract_mesh(abstract)


def test_nothing_is_split_or_padded_around_the_kernels():
  """Two ways over the examples, two over the heads; three kernels."""
  shapes = ((8, 197, 3, 4, 64), (3, 4, 64), (8, 197, 4, 64))
  arrays = [jax.ShapeDtypeStruct(x, jnp.bfloat16) for x in shapes]
  traced = jax.jit(lambda *x: get_all(attend, *x))
  mesh = make_mesh(fsdp=2, replica=2, tensor=2)
  with jax.set_mesh(mesh), name_gpu(mesh):
    lowered = traced.trace(*arrays).lower(lowering_platforms=("cuda",))
  text = lowered.as_text()
  calls = [
    x
    for x in text.splitlines()
    if "triton_kernel_call" in x or "xla.gpu.triton" in x
  ]
  assert len(calls) == 3
  assert all("tensor<2x197x3x2x64xbf16>" in x for x in calls)
  assert not re.search(r"stablehlo\.(pad|slice|concatenate)\b.*197", text)


def test_a_model_that_changes_queries_is_refused():
  model = models.make_model(3, variant="B/16", attention="triton")
  assert model.find_errors(224, 224) == []
  for key, value in (
    *(("qk_norm", True), ("position", "rope"), ("adapter", "lora:4")),
    *(("position", "relative"), ("dtype", "float32")),
  ):
    (error,) = model.clone(**{key: value}).find_errors(224, 224)
    assert error.startswith("model.attention='triton' ")
