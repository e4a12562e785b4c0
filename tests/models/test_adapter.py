# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters of low rank: the product in NumPy, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from jax.experimental.pallas import tpu as pltpu

from tests.support.equations import forward, gelu_tanh, get_shapes
from tests.support.models import make_params
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.convert.weights import flatten
from vit_jax.models.adapter import merge, parse_adapter
from vit_jax.sections import resolve
from vit_jax.sharding import ADAPTER

BLOCK = "Transformer/encoderblock"
ATTENTION = f"{BLOCK}/MultiHeadDotProductAttention_0"
HYBRID = dict(variant="R+Ti/16", width=32, num_heads=2, mlp_dim=48, depth=2)


def make_model(adapter="lora:4:6", **fields):
  fields = dict(variant="mu/4", depth=3, dtype="float32") | fields
  return models.make_model(7, adapter=adapter, **fields)


def draw_image(size=16):
  return np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3))


def to_float32(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def apply(model, params, image):
  arguments = to_float32(({"params": params}, image))
  return jax.jit(model.apply)(*arguments)


def add_product(kernel, down, up, scale):
  """W + scale A B of a layer, a number at a time."""
  made, inputs = kernel.copy(), down.ndim - 1
  for index in np.ndindex(kernel.shape):
    column = up[(slice(None), *index[inputs:])]
    made[index] += scale * sum(down[index[:inputs]] * column)
  return made


def add_products(node, scale):
  """The parameters without adapters, whose products are in the kernels."""
  if not isinstance(node, dict):
    return node
  found = {
    name: add_products(child, scale)
    for name, child in node.items()
    if not name.endswith("_lora")
  }
  for name in found:
    if pair := node.get(f"{name}_lora"):
      layers = zip(node[name]["kernel"], pair["a"], pair["b"], strict=True)
      kernels = [add_product(*layer, scale) for layer in layers]
      found[name] |= dict(kernel=np.stack(kernels))
  return found


def test_it_is_the_product_of_the_paper():
  """Logits of the ViT's equations in NumPy, with W + alpha / r A B in them."""
  model, image = make_model("lora:2:3", depth=2), draw_image(8)
  params = make_params(model, image)
  expected = forward(add_products(params, 3 / 2), image, 4, "token", gelu_tanh)
  found = apply(model, params, image)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  without = forward(add_products(params, 0), image, 4, "token", gelu_tanh)
  assert np.abs(without - expected).max() > 0.1


def test_shapes_of_the_arrays():
  plain, model = make_model(None, swiglu=True), make_model(swiglu=True)
  shapes, before = get_shapes(model, 16), get_shapes(plain, 16)
  added = {path: shapes[path] for path in shapes.keys() - before.keys()}
  assert before.items() <= shapes.items()
  assert {path for path in shapes if ADAPTER.search(path)} == added.keys()
  into_heads = {
    f"{ATTENTION}/{name}_lora/{x}": shape
    for name in ("query", "key", "value")
    for x, shape in (("a", (3, 32, 4)), ("b", (3, 4, 2, 16)))
  }
  assert added == into_heads | {
    f"{ATTENTION}/out_lora/a": (3, 2, 16, 4),
    f"{ATTENTION}/out_lora/b": (3, 4, 32),
    f"{BLOCK}/MlpBlock_0/Dense_0_lora/a": (3, 32, 4),
    f"{BLOCK}/MlpBlock_0/Dense_0_lora/b": (3, 4, 128),
    f"{BLOCK}/MlpBlock_0/gate_lora/a": (3, 32, 4),
    f"{BLOCK}/MlpBlock_0/gate_lora/b": (3, 4, 128),
    f"{BLOCK}/MlpBlock_0/Dense_1_lora/a": (3, 128, 4),
    f"{BLOCK}/MlpBlock_0/Dense_1_lora/b": (3, 4, 32),
  }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_new_adapter_changes_nothing(dtype):
  """The initial values beside it are the same bits, and so are the logits."""
  image = jnp.asarray(draw_image(), jnp.float32)
  plain = make_model(None, dtype=dtype, pool="map")
  model = make_model(dtype=dtype, pool="map")
  one, two = (
    flatten(jax.jit(m.init)(jax.random.key(0), image)["params"])
    for m in (plain, model)
  )
  for path, array in one.items():
    np.testing.assert_array_equal(array, two[path])
  added = [two[path] for path in two.keys() - one.keys()]
  # As loralib has them: uniform in [-1, 1] / sqrt(inputs), and zero.
  zero = [not x.any() for x in added]
  assert len(added) == 2 * (6 + 6) and sum(zero) == 6 + 6
  down = two[f"{BLOCK}/MlpBlock_0/Dense_1_lora/a"] * 128**0.5
  assert 0.99 < abs(down).max() <= 1 and abs(down.std() - 3**-0.5) < 0.02
  params = to_float32(make_params(plain, image))
  full = flatten(params) | {k: two[k] for k in two.keys() - one.keys()}
  before = apply(plain, params, image)
  # In half precision the compiler rounds in other places: to 8 bits.
  np.testing.assert_allclose(
    apply(model, unflatten_dict(full, sep="/"), image),
    before,
    rtol=0,
    atol=0 if dtype == "float32" else 0.02 * np.abs(before).max(),
  )


@pytest.mark.parametrize(
  "fields",
  [
    dict(unroll=3),
    dict(pool="map", qk_norm=True, position="rope", remat="full"),
    dict(swiglu=True, layer_scale=0.1, registers=2, representation_size=8),
    HYBRID,
  ],
)
def test_merged_it_is_the_same_function(fields):
  model, image = make_model(**fields), draw_image(32)
  params = to_float32(make_params(model, image))
  params = {  # Of the size that training gives them.
    path: x / 4 if ADAPTER.search(path) else x
    for path, x in flatten(params).items()
  }
  found, left = merge(params, dict(adapter="lora:4:6", depth=3))
  assert left == dict(depth=3)
  plain = model.clone(adapter=None)
  expected = get_shapes(plain, 32)
  assert {path: x.shape for path, x in found.items()} == expected
  assert all(x.dtype == np.float32 for x in found.values())
  logits = apply(model, unflatten_dict(params, sep="/"), image)
  difference = apply(plain, unflatten_dict(found, sep="/"), image) - logits
  # Sums of LayerNorm's outputs, whose size is one: that of a single logit may
  # be rounded by more.
  size = max(1, np.sqrt(np.mean(logits**2)))
  assert np.sqrt(np.mean(difference**2)) < 1e-6 * size
  zeroed = {path: params[path] for path in expected}
  other = apply(plain, unflatten_dict(zeroed, sep="/"), image)
  assert np.abs(other - logits).max() > 1e-2 * np.abs(logits).max()


def test_the_kernel_for_tpus_has_them_too():
  image = draw_image()
  plain = make_model(attention="xla", depth=2)
  params = make_params(plain, image)
  with pltpu.force_tpu_interpret_mode():
    found = apply(plain.clone(attention="vmem"), params, image)
  # Both sum in float32, in another order.
  np.testing.assert_allclose(found, apply(plain, params, image), atol=2e-5)


@pytest.mark.parametrize(
  "text",
  [
    *("lora", "lora:", "lora:0", "lora:x", "lora:-8", "lora:8:", "lora:8:0"),
    *("lora:8:0.0", "lora:8:x", "lora:8:8:8", "dora:8", "LORA:8", "lora:8\n"),
    *("lora:8.5", "8", "lora:33", f"lora:{9**20}"),
  ],
)
def test_what_is_no_adapter_of_a_model(text):
  model = make_model(text)
  (error,) = model.find_errors(16, 16)
  assert "model.adapter=" in error and "lora:8" in error
  with pytest.raises(ConfigError):
    jax.eval_shape(model.init, jax.random.key(0), draw_image())


@pytest.mark.parametrize(
  ("text", "rank", "scale"),
  [
    ("lora:8", 8, 1),
    ("lora:32", 32, 1),
    ("lora:8:16", 8, 2),
    ("lora:4:1.5", 4, 0.375),
  ],
)
def test_rank_and_alpha(text, rank, scale):
  found = parse_adapter(text)
  assert (found.rank, found.scale) == (rank, scale)
  assert make_model(text).find_errors(16, 16) == []


@pytest.mark.parametrize("variant", ["Mixer-B/16", "R50x1"])
def test_models_without_attention_have_none(variant, config):
  config["model"] = dict(variant=variant, adapter="lora:8")
  with pytest.raises(ConfigError) as caught:
    resolve(config)
  expected = "model.adapter='lora:8' has no effect with model.variant="
  assert str(caught.value).startswith(expected)
  assert variant in str(caught.value)
