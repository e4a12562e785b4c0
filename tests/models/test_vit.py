# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The Vision Transformer against counts of the literature, and against the
paper's equations written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.equations import check_forward, count, get_shapes
from tests.support.models import make_params
from vit_jax import models
from vit_jax.config import ConfigError


def test_pre_training_head_of_the_published_checkpoint():
  model = models.make_model(21843, variant="B/16", representation_size=768)
  assert count(model) == 103_186_515


def test_paths_are_those_of_the_authors_checkpoints():
  shapes = get_shapes(models.make_model(1000, variant="B/16"))
  block = "Transformer/encoderblock"
  attention = f"{block}/MultiHeadDotProductAttention_0"
  expected = {
    "cls": (1, 1, 768),
    "embedding/kernel": (16, 16, 3, 768),
    "embedding/bias": (768,),
    "Transformer/posembed_input/pos_embedding": (1, 197, 768),
    "Transformer/encoder_norm/scale": (768,),
    "Transformer/encoder_norm/bias": (768,),
    f"{attention}/out/kernel": (12, 12, 64, 768),
    f"{attention}/out/bias": (12, 768),
    f"{block}/MlpBlock_0/Dense_0/kernel": (12, 768, 3072),
    f"{block}/MlpBlock_0/Dense_0/bias": (12, 3072),
    f"{block}/MlpBlock_0/Dense_1/kernel": (12, 3072, 768),
    f"{block}/MlpBlock_0/Dense_1/bias": (12, 768),
    "head/kernel": (768, 1000),
    "head/bias": (1000,),
  }
  for name in ("query", "key", "value"):
    expected[f"{attention}/{name}/kernel"] = (12, 768, 12, 64)
    expected[f"{attention}/{name}/bias"] = (12, 12, 64)
  for name in ("LayerNorm_0", "LayerNorm_1"):
    expected[f"{block}/{name}/scale"] = (12, 768)
    expected[f"{block}/{name}/bias"] = (12, 768)
  assert shapes == expected


@pytest.mark.parametrize("pool", ["token", "gap", "map"])
@pytest.mark.parametrize("gelu", ["tanh", "exact"])
@pytest.mark.parametrize("representation_size", [None, 24])
def test_forward_is_the_papers_equations(pool, gelu, representation_size):
  check_forward(pool=pool, gelu=gelu, representation_size=representation_size)


def add_past_registers(count):
  """The learned embedding where registers stand between its rows."""

  def start(x, p):
    x = x.copy()
    x[0] += p["pos_embedding"][0, 0]
    x[1 + count :] += p["pos_embedding"][0, 1:]
    return x

  return dict(start=start)


@pytest.mark.parametrize(
  "fields, reference",
  [
    (dict(registers=3), add_past_registers(3)),
    (
      dict(registers=2, pool="gap", position="none"),
      dict(start=lambda x, p: x),
    ),
    (dict(layer_scale=0.1), {}),
    (dict(qk_norm=True), {}),
    (dict(swiglu=True), {}),
    (dict(fc_norm=True, pool="gap"), {}),
    (
      dict(registers=1, layer_scale=0.1, qk_norm=True, swiglu=True, unroll=2),
      add_past_registers(1),
    ),
  ],
  ids=lambda x: "-".join(x),
)
def test_forward_with_a_flag_is_its_equation(fields, reference):
  check_forward(reference, **fields)


def differentiate(**fields):
  """Parameters of a small model, its loss and the gradients, as leaves."""
  image = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  model = models.make_model(
    3, variant="mu/4", depth=4, dropout=0.5, dtype="float32", **fields
  )
  params = jax.jit(model.init)(jax.random.key(0), image)["params"]
  params["head"]["kernel"] += 1.0

  def loss(params):
    rngs = {"dropout": jax.random.key(2)}
    logits = model.apply({"params": params}, image, train=True, rngs=rngs)
    return jnp.sum(logits**2)

  return jax.tree.leaves((params, jax.jit(jax.value_and_grad(loss))(params)))


def test_unrolling_and_remat_change_no_parameter_logit_or_gradient():
  expected = differentiate()
  for fields in (
    dict(unroll=2),
    dict(unroll=4),
    dict(remat="dots"),
    dict(remat="full"),
    dict(remat="full", unroll=4),
  ):
    for a, b in zip(expected, differentiate(**fields), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_initial_logits_are_the_head_bias():
  model = models.make_model(5, variant="mu/4", head_bias=-10.0)
  image = jnp.ones((2, 8, 8, 3))
  variables = jax.jit(model.init)(jax.random.key(0), image)
  logits = model.apply(variables, image)
  assert logits.dtype == jnp.float32
  np.testing.assert_array_equal(logits, np.full((2, 5), -10.0))


def test_parameters_are_float32_whatever_the_activations():
  model = models.make_model(5, variant="mu/4", representation_size=32)
  image = jnp.ones((1, 8, 8, 3))
  params = jax.eval_shape(model.init, jax.random.key(0), image)
  assert {p.dtype for p in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_dropout_is_off_in_evaluation_and_on_in_training():
  model = models.make_model(5, variant="mu/4", dropout=0.5, dtype="float32")
  image = jnp.ones((1, 8, 8, 3))
  params = make_params(model, image)

  def run(seed, train):
    rngs = {"dropout": jax.random.key(seed)}
    apply = jax.jit(functools.partial(model.apply, train=train))
    return apply({"params": params}, image, rngs=rngs)

  np.testing.assert_array_equal(run(0, False), run(1, False))
  np.testing.assert_array_equal(run(0, True), run(0, True))
  assert np.abs(run(0, True) - run(1, True)).max() > 0.01


def test_an_image_is_never_cropped_in_silence():
  for variant in ("mu/4", "Mixer-B/4"):
    model = models.make_model(3, variant=variant)
    with pytest.raises(ConfigError, match="height=10 .* take 8 or 12"):
      jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 10, 8, 3)))


def test_sizes_that_do_not_divide_are_named():
  model = models.make_model(3, variant="mu/4", num_heads=5)
  (error,) = model.find_errors(12, 12)
  assert "model.width=32" in error and "5, model.num_heads" in error
  assert "30 or 35" in error
  hybrid = models.make_model(3, variant="R50+B/16")
  assert hybrid.find_errors(224, 224) == []
  (error,) = hybrid.find_errors(100, 100)
  assert "data.size=100 " in error and "16" in error and "96 or 112" in error
  (error,) = hybrid.find_errors(100, 96)
  assert "data.size=(100, 96): height=100 " in error and "96 or 112" in error
  mixer = models.make_model(3, variant="Mixer-B/16")
  assert mixer.find_errors(32, 96) == []
  (error,) = mixer.find_errors(96, 8)
  assert "data.size=(96, 8): width=8 " in error and error.endswith("16")
  assert len(mixer.find_errors(100, 8)) == 2
  assert models.make_model(3, variant="R50x1").find_errors(100, 97) == []
