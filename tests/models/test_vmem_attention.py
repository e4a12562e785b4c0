# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The kernel "vmem" and its projections, on a CPU that plays a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from tests.support.attention import draw, get_all
from vit_jax import models
from vit_jax.devices.mesh import make_mesh
from vit_jax.models.attention import dot_product_attention
from vit_jax.models.attention_kernels import vmem_attention
from vit_jax.models.flops import count_flops
from vit_jax.models.projection import add_bias
from vit_jax.models.vmem_budget import choose_heads, supports_vmem


def run_kernel(*arrays):
  with pltpu.force_tpu_interpret_mode():
    return jax.jit(lambda *x: get_all(vmem_attention, *x))(*arrays)


@pytest.mark.parametrize(
  "tokens, heads, size",
  [
    *((5, 1, 32), (17, 2, 16), (50, 16, 64), (197, 5, 64), (197, 4, 80)),
    *((257, 2, 88), (577, 2, 64)),
  ],
)
def test_the_kernel_is_attention(tokens, heads, size):
  """Also for heads that are not taken in fours."""
  arrays = draw((2, tokens, heads, size))
  expected = jax.jit(lambda *x: get_all(dot_product_attention, *x))(*arrays)
  for a, b in zip(run_kernel(*arrays), expected, strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, atol=4e-6, rtol=0)


def test_large_logits_do_not_overflow():
  query, key, value, cotangent = draw((1, 50, 1, 64))
  found = run_kernel(query * 1e6, key, value, cotangent)
  best = np.argmax(np.einsum("nc,sc->ns", query[0, :, 0], key[0, :, 0]), axis=1)
  np.testing.assert_allclose(found[0][0, :, 0], value[0, best, 0], atol=1e-6)
  assert all(np.isfinite(x).all() for x in found)


def test_in_bfloat16_it_is_as_near_as_the_dtype_allows():
  arrays = draw((1, 150, 2, 64), "bfloat16")
  exact = get_all(
    dot_product_attention, *(x.astype(jnp.float32) for x in arrays)
  )
  plain = get_all(dot_product_attention, *arrays)
  for a, b, c in zip(run_kernel(*arrays), plain, exact, strict=True):
    assert a.dtype == jnp.bfloat16
    error, usual = (float(jnp.abs(x - c).max()) for x in (a, b))
    # Each rounds other intermediates to 8 bits; neither is the exacter one.
    assert error <= 2 * usual


def test_a_model_with_the_kernel_is_the_model():
  """The same parameters from the same key, logits and gradients."""
  image = draw((2, 16, 16, 3))[0]
  plain = models.make_model(3, variant="mu/4", dtype="float32", attention="xla")
  other = plain.clone(attention="vmem")

  def get(model, variables):
    def loss(variables):
      return jnp.square(model.apply(variables, image)).sum()

    return jax.jit(jax.value_and_grad(loss))(variables)

  variables = jax.jit(plain.init)(jax.random.key(0), image)
  variables["params"]["head"]["kernel"] += 0.1
  again = jax.jit(other.init)(jax.random.key(0), image)  # Without the kernel.
  with pltpu.force_tpu_interpret_mode():
    found = get(other, variables)
  again["params"]["head"]["kernel"] += 0.1
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), variables, again
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5),
    found,
    get(plain, variables),
  )


def test_every_device_runs_it_on_its_own_examples_and_heads():
  """Two ways over the examples, two over the heads; and no weights outside."""
  attend = jax.jit(lambda *x: get_all(vmem_attention, *x))
  shape = jax.ShapeDtypeStruct((8, 197, 4, 64), jnp.bfloat16)
  with jax.set_mesh(make_mesh(fsdp=2, replica=2, tensor=2)):
    traced = attend.trace(shape, shape, shape, shape)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
  calls = [line for line in text.splitlines() if "@tpu_custom_call" in line]
  assert len(calls) == 2
  for call in calls:
    assert "tensor<2x197x128xbf16>" in call and "tensor<8x" not in call
  assert "197x197" not in text
  # Seven matrix products of 2 * 197^2 * 64 FLOPs for each example and head.
  assert count_flops(attend, *[shape] * 4) == 7 * 2 * 197**2 * 64 * 8 * 4


def test_on_a_mesh_it_is_attention():
  arrays = draw((8, 50, 4, 32))
  expected = get_all(dot_product_attention, *arrays)
  with jax.set_mesh(make_mesh(fsdp=2, replica=2, tensor=2)):
    found = run_kernel(*map(np.asarray, arrays))
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
  "tokens, heads, size, dtype, chosen",
  [
    (50, 12, 64, "bfloat16", (12, 4)),
    (197, 3, 64, "bfloat16", (3, 3)),
    (197, 12, 64, "bfloat16", (12, 4)),
    (257, 16, 80, "bfloat16", (8, 4)),
    (577, 12, 64, "bfloat16", (2, 2)),
    (577, 16, 80, "bfloat16", None),
    (1025, 12, 64, "bfloat16", None),
  ],
)
def test_it_takes_what_fits_into_vmem(tokens, heads, size, dtype, chosen):
  assert choose_heads(tokens, heads, size, dtype) == chosen
  assert supports_vmem(tokens, heads, size, dtype) == (chosen is not None)


def test_what_does_not_fit_is_an_error_of_the_model():
  model = models.make_model(3, variant="B/16", attention="vmem")
  assert model.find_errors(224, 224) == []
  (error,) = model.find_errors(512, 512)
  assert "model.attention='vmem'" in error and "1025 tokens" in error


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_of_a_bias_is_summed_in_float32(dtype):
  x = draw((3, 197, 8), dtype)[0]
  bias = jnp.arange(8.0)
  found, pull = jax.vjp(add_bias, x, bias)
  np.testing.assert_array_equal(found, x + bias.astype(dtype)[None, None])
  d_x, d_bias = pull(x)
  np.testing.assert_array_equal(d_x, x)
  expected = np.asarray(x, np.float64).sum(axis=(0, 1))
  np.testing.assert_allclose(d_bias, expected, rtol=1e-5)
