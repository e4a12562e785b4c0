# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""int8 kernels: their values, and models that compute with them."""

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

import vit_jax
from tests.support.weights import make_tiny_weights
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.convert.quantize import KERNEL, SCALE, apply, quantize
from vit_jax.convert.weights import flatten

EVERYTHING = dict(
  depth=3, pool="map", representation_size=16, qk_norm=True, swiglu=True
)
MODELS = [
  ("mu/4", {}),
  ("mu/4", dict(depth=2, unroll=2, position="relative")),
  ("mu/4", EVERYTHING),
  ("Mixer-B/32", dict(depth=2, width=32, mlp_dim=64, token_mlp_dim=16)),
  ("R50x1", dict(stages=(1,))),
]


@pytest.mark.parametrize("variant, fields", MODELS)
def test_a_model_computes_with_the_values_times_the_scales(variant, fields):
  """As with the kernels that they stand for, multiplied out beforehand."""
  model = models.make_model(5, variant=variant, dtype="float32", **fields)
  image = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
  params = flatten(jax.jit(model.init)(jax.random.key(1), image)["params"])
  params = {path: np.asarray(x) for path, x in params.items()}
  head = np.random.default_rng(0).normal(size=params["head/kernel"].shape)
  params["head/kernel"] = head.astype(np.float32)
  quantized, multiplied = quantize(params), dict(params)
  for path, array in params.items():
    if not path.endswith(KERNEL):
      np.testing.assert_array_equal(quantized[path], array)
      continue
    values = quantized[path]
    scale = quantized[path.removesuffix(KERNEL) + SCALE]
    assert values.dtype == np.int8 and values.shape == array.shape
    assert np.abs(values).max() == 127
    multiplied[path] = values * scale
    # Half a step, and what float32 rounds of values up to 127 steps.
    error = np.abs(multiplied[path] - array)
    assert (error <= scale * (0.5 + 1e-4)).all()
  assert quantized.keys() - params.keys() == {
    path.removesuffix(KERNEL) + SCALE
    for path in params
    if path.endswith(KERNEL)
  }
  want = model.apply({"params": unflatten_dict(multiplied, sep="/")}, image)
  found = jax.jit(lambda x: apply(model, {"params": x}, image))(
    unflatten_dict(quantized, sep="/")
  )
  rounding = 1e-4  # Of float32, in another program, several layers deep.
  np.testing.assert_allclose(found, want, rtol=rounding, atol=rounding)


def test_scales_are_of_output_channels():
  quantized = quantize(
    {
      "Transformer/encoderblock/a/query/kernel": np.ones((2, 8, 3, 4)),
      "Transformer/encoderblock/a/out/kernel": np.ones((2, 3, 4, 8)),
      "head/kernel": np.stack([np.zeros(5), np.arange(5.0)], axis=1),
    }
  )
  shapes = {path: x.shape for path, x in quantized.items() if SCALE in path}
  assert shapes == {
    "Transformer/encoderblock/a/query/kernel_scale": (2, 1, 3, 4),
    "Transformer/encoderblock/a/out/kernel_scale": (2, 1, 1, 8),
    "head/kernel_scale": (1, 2),
  }
  np.testing.assert_array_equal(
    quantized["head/kernel"].T, [[0] * 5, [0, 32, 64, 95, 127]]
  )


def test_a_layer_that_does_not_use_its_scale_is_an_error():
  model = models.make_model(5, variant="mu/4", dtype="float32")
  image = jax.numpy.zeros((1, 8, 8, 3))
  params = model.init(jax.random.key(0), image)["params"]
  params["elsewhere"] = {KERNEL: np.zeros(3), SCALE: np.zeros(3)}
  with pytest.raises(ValueError, match="elsewhere"):
    apply(model, {"params": params}, image)


def test_weights_are_loaded_in_int8(tmp_path):
  save_weights(make_tiny_weights((8, 12)), str(tmp_path / "a.npz"), "authors")
  exact, preprocess = vit_jax.load(tmp_path / "a.npz")
  model, _ = vit_jax.load(tmp_path / "a.npz", weights="int8")
  images = np.random.default_rng(0).normal(size=(3, 8, 12, 3))
  images = images.astype(np.float32)
  assert model.params["head"][KERNEL].dtype == np.int8
  logits, found = model(images, intermediates=True)
  rounding = 1e-4  # Of float32, in another program.
  np.testing.assert_allclose(
    logits, model(images), rtol=rounding, atol=rounding
  )
  assert found["attention"].shape == (2, 3, 2, 25, 25)
  difference = np.abs(np.asarray(model(images)) - exact(images)).max()
  assert 0 < difference < 0.05 * np.abs(exact(images)).max()
  with pytest.raises(ConfigError, match="weights='int9'.*'int8'"):
    vit_jax.load(tmp_path / "a.npz", weights="int9")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_damaged_kernels_stay_so(bad):
  """In int8 a NaN would be zero, and predictions of it no worse to see."""
  kernel = np.array([[1.0, bad, 0.0], [2.0, 3.0, 0.0]], np.float32)
  found = quantize({"head/kernel": kernel})
  with np.errstate(invalid="ignore"):  # Zero times infinity.
    product = found["head/kernel"] * found["head/" + SCALE]
  np.testing.assert_array_equal(np.isfinite(product), [[True, False, True]] * 2)
