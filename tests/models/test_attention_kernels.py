# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels against XLA's attention, on a CPU that plays a TPU."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from tests.support import build
from tests.support.attention import draw, get_all
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.devices.mesh import make_mesh
from vit_jax.models import attention_kernels
from vit_jax.models.attention import dot_product_attention
from vit_jax.models.attention_kernels import choose_block_size, flash_attention

CPU = jax.devices()[0]
TPU = types.SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
GPU = types.SimpleNamespace(
  platform="gpu", device_kind="NVIDIA H100", compute_capability="9.0"
)


@pytest.mark.parametrize(
  "tokens, size", [(197, 64), (257, 80), (256, 104), (130, 112)]
)
def test_flash_attention_is_attention(tokens, size):
  """With the padding that the kernel needs, and without (256)."""
  arrays = draw((1, tokens, 1, size))
  expected = jax.jit(lambda *x: get_all(dot_product_attention, *x))(*arrays)
  with pltpu.force_tpu_interpret_mode():
    found = jax.jit(lambda *x: get_all(flash_attention, *x))(*arrays)
  for a, b in zip(found, expected, strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)


def test_flash_attention_in_bfloat16_is_as_near_as_the_dtype_allows():
  arrays = draw((1, 150, 1, 64), "bfloat16")
  exact = get_all(
    dot_product_attention, *(x.astype(jnp.float32) for x in arrays)
  )
  plain = get_all(dot_product_attention, *arrays)
  with pltpu.force_tpu_interpret_mode():
    found = jax.jit(lambda *x: get_all(flash_attention, *x))(*arrays)
  for a, b, c in zip(found, plain, exact, strict=True):
    assert a.dtype == jnp.bfloat16
    error, usual = (float(jnp.abs(x - c).max()) for x in (a, b))
    # Each rounds other intermediates to 8 bits; neither is the exacter one.
    assert error <= 2 * usual


def masked(query, key, value, tokens=None):
  """What cuDNN's kernel computes, for there is no GPU."""
  assert query.shape[1] % 2 == 0
  lengths = jnp.full(len(query), tokens or query.shape[1])
  return jax.nn.dot_product_attention(
    query, key, value, key_value_seq_lengths=lengths
  )


@pytest.mark.parametrize(
  "fields",
  [
    dict(),
    dict(registers=1),  # An even number of tokens.
    dict(pool="gap", registers=1, position="rope"),
    dict(position="learned_2d", position_at="every_layer"),
    dict(position="sincos_2d", position_at="input", pool="map", registers=3),
    dict(position_at="shared", patch_dropout=0.2),
  ],
)
def test_a_token_of_padding_changes_nothing(fields, monkeypatch):
  monkeypatch.setitem(attention_kernels.KERNELS, "cudnn", masked)
  fields |= dict(variant="mu/4", dtype="bfloat16")
  image = draw((2, 16, 16, 3))[0]
  plain = models.make_model(5, **fields, attention="xla")
  variables = jax.jit(plain.init)(jax.random.key(0), image)

  def compute(attention):
    model = plain.clone(attention=attention)

    def loss(variables):
      key = {"dropout": jax.random.key(1)}
      logits = model.apply(variables, image, train=True, rngs=key)
      return jnp.square(logits).sum(), logits

    def both(variables):
      _, logits = model.apply(variables, image, mutable=["attention_logits"])
      return jax.grad(loss, has_aux=True)(variables), logits

    return jax.jit(both)(variables)

  rounding = 0.02  # To 8 bits, at other places.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=rounding * abs(b).max()),
    compute("cudnn"),
    compute("xla"),
  )


def test_a_model_with_the_kernel_is_the_model():
  image = draw((2, 16, 16, 3))[0]
  plain = models.make_model(0, variant="mu/4", dtype="float32", attention="xla")
  variables = jax.jit(plain.init)(jax.random.key(0), image)
  flash = plain.clone(attention="flash")
  with pltpu.force_tpu_interpret_mode():
    found = jax.jit(flash.apply)(variables, image)
  expected = jax.jit(plain.apply)(variables, image)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  # What wants the weights computes them, here without a TPU.
  _, between = flash.apply(variables, image, intermediates=True)
  assert between["attention"].shape == (1, 2, 2, 17, 17)


def test_every_device_runs_the_kernel_on_its_own_examples_and_heads():
  attend = jax.jit(lambda *x: get_all(flash_attention, *x))
  shape = jax.ShapeDtypeStruct((8, 300, 4, 64), jnp.bfloat16)
  with jax.set_mesh(make_mesh(fsdp=2, replica=2, tensor=2)):
    traced = attend.trace(shape, shape, shape, shape)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
  calls = [line for line in text.splitlines() if "@tpu_custom_call" in line]
  assert len(calls) == 3  # Forward, and backward for K and V and for Q.
  for call in calls:
    assert "tensor<2x2x384x128xbf16>" in call
    assert "tensor<8x" not in call


@pytest.mark.parametrize(
  "tokens, block",
  [(197, 256), (577, 384), (768, 384), (1025, 384), (1370, 512), (2305, 512)],
)
def test_blocks_pad_as_little_as_they_can(tokens, block):
  assert choose_block_size(tokens) == block


def test_a_run_keeps_auto_in_its_record(config):
  config["model"]["remat"] = "auto"
  exp = build(config)
  chosen = {"attention": "xla", "remat": "none", "unroll": 1}
  assert {key: getattr(exp.model, key) for key in chosen} == chosen
  assert {exp.config["model"][key] for key in chosen} == {"auto"}
  # What a run was trained on is no matter of those who use it.
  assert not chosen.keys() & exp.make_manifest()["model"].keys()


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(attention="flash"), "needs a TPU, and this is cpu"),
    (dict(attention="vmem"), "needs a TPU, and this is cpu"),
    (dict(attention="cudnn", dtype="bfloat16"), "needs an NVIDIA GPU"),
    (dict(attention="cudnn"), "not float32 and 16"),
    (dict(attention="heads", dtype="bfloat16"), "model.dtype='float32', not"),
    (dict(attention="flash", position="relative"), "model.position='relative'"),
    (dict(remat="offload"), "model.remat='offload'"),
    (dict(attention="flsh"), "did you mean 'flash'?"),
  ],
)
def test_what_the_devices_can_not_do_is_an_error(config, fields, message):
  config["model"] |= fields
  with pytest.raises(ConfigError) as caught:
    build(config)
  assert message in str(caught.value)
