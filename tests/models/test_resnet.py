# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ResNets against loops in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.models import make_params
from vit_jax import models
from vit_jax.models import resnet

EPS = dict(group_norm_eps=1e-6, std_conv_eps=1e-5, std_conv_eps_in="std")
# Sums over hundreds of products, in float32 here and in float64 there.
CLOSE = dict(rtol=1e-4, atol=1e-4)  # Standardising amplifies their rounding.


def convolve(x, p, stride=1, padding="SAME", bit=False):
  """A standardised convolution of [h w c], one output pixel at a time."""
  kernel = p["kernel"]
  axes = (0, 1, 2)
  spread = kernel.std(axes) + 1e-5
  if bit:
    spread = np.sqrt(kernel.var(axes) + 1e-10)
  kernel = (kernel - kernel.mean(axes)) / spread
  size = kernel.shape[0]
  out = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
  pads = []
  for length, n in zip(x.shape[:2], out, strict=True):
    if padding == "SAME":
      total = max((n - 1) * stride + size - length, 0)
      pads.append((total // 2, total - total // 2))
    else:
      pads.append((size // 2, (size - 1) // 2))
  x = np.pad(x, (*pads, (0, 0)))
  y = np.zeros((*out, kernel.shape[-1]))
  for i in range(out[0]):
    for j in range(out[1]):
      window = x[i * stride : i * stride + size, j * stride : j * stride + size]
      y[i, j] = np.einsum("hwc,hwcd->d", window, kernel)
  return y


def group_norm(x, p, eps=1e-6):
  groups = x.reshape(*x.shape[:2], 32, -1)
  mean = groups.mean((0, 1, 3), keepdims=True)
  variance = groups.var((0, 1, 3), keepdims=True)
  normal = ((groups - mean) / np.sqrt(variance + eps)).reshape(x.shape)
  return normal * p["scale"] + p["bias"]


def relu(x):
  return np.maximum(x, 0)


def pool(x, padding, border=0.0):
  """3x3 maxima at stride 2."""
  if padding == "SAME":  # Of an even size: one row behind, of nothing.
    x = np.pad(x, ((0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
  else:
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=border)
  n, m = (x.shape[0] - 1) // 2, (x.shape[1] - 1) // 2
  return np.array(
    [
      [x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(m)]
      for i in range(n)
    ]
  )


def compare(module, image, reference, **options):
  params = make_params(module, image, **options)
  expected = np.stack([reference(x, params) for x in image.astype(float)])
  arrays = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  apply = jax.jit(functools.partial(module.apply, **options))
  found = apply({"params": arrays}, jnp.asarray(image))
  np.testing.assert_allclose(found, expected, **CLOSE)


def make_image(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "FIXED"])
@pytest.mark.parametrize(("size", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
def test_standardised_convolution(padding, size, stride):
  module = resnet.StdConv(5, size, stride, padding)
  compare(
    module,
    make_image(2, 8, 8, 3),
    lambda x, p: convolve(x, p, stride, padding),
  )


def apply_unit(x, p, stride):
  """Convolution, norm, activation; the sum is rectified."""
  y = relu(group_norm(convolve(x, p["conv1"]), p["gn1"]))
  y = relu(group_norm(convolve(y, p["conv2"], stride), p["gn2"]))
  y = group_norm(convolve(y, p["conv3"]), p["gn3"])
  if "conv_proj" in p:
    x = group_norm(convolve(x, p["conv_proj"], stride), p["gn_proj"])
  return relu(x + y)


@pytest.mark.parametrize(("channels", "stride"), [(32, 1), (128, 1), (128, 2)])
def test_hybrid_unit(channels, stride):
  module = resnet.Unit(32, stride, **EPS, dtype=jnp.float32)
  image = make_image(2, 4, 4, channels)
  compare(module, image, lambda x, p: apply_unit(x, p, stride))


def test_a_new_unit_is_its_short_cut():
  """The last norm's scale starts at zero."""
  module = resnet.Unit(32, 1, **EPS, dtype=jnp.float32)
  image = jnp.asarray(make_image(1, 4, 4, 128))
  variables = jax.jit(module.init)(jax.random.key(0), image)
  found = jax.jit(module.apply)(variables, image)
  np.testing.assert_allclose(found, relu(image), atol=1e-6)


def test_hybrid_feeds_its_encoder_with_the_stem():
  model = models.make_model(
    3, variant="R+Ti/16", width=32, depth=1, num_heads=2, stem=(1, 1),
    patch_size=1, dtype="float32",
  )  # fmt: skip
  image = make_image(1, 16, 16, 3)
  params = make_params(model, image)

  def embed(x, p):
    x = relu(group_norm(convolve(x, p["conv_root"], 2), p["gn_root"]))
    x = pool(x, "SAME")
    x = apply_unit(x, p["block1"]["unit1"], 1)
    x = apply_unit(x, p["block2"]["unit1"], 2)
    kernel = p["embedding"]["kernel"][0, 0]
    tokens = x.reshape(-1, x.shape[-1]) @ kernel + p["embedding"]["bias"]
    return np.concatenate([p["cls"][0], tokens])

  expected = embed(image[0].astype(float), params)
  assert expected.shape == (1 + 2 * 2, 32)
  arrays = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  found = model.apply({"params": arrays}, jnp.asarray(image), method="embed")
  np.testing.assert_allclose(found[0], expected, **CLOSE)


def apply_bit(x, p, border=0.0):
  """BiT's release: epsilons of 1e-5 and 1e-10, and zeros around the pool.

  Norm, activation, convolution; the sum is left as it is.
  """
  conv = functools.partial(convolve, padding="FIXED", bit=True)
  norm = functools.partial(group_norm, eps=1e-5)

  def unit(x, p, stride):
    y = relu(norm(x, p["a"]["group_norm"]))
    shortcut = x
    if "proj" in p["a"]:
      shortcut = conv(y, p["a"]["proj"]["standardized_conv2d"], stride)
    y = conv(y, p["a"]["standardized_conv2d"])
    y = relu(norm(y, p["b"]["group_norm"]))
    y = conv(y, p["b"]["standardized_conv2d"], stride)
    y = relu(norm(y, p["c"]["group_norm"]))
    return shortcut + conv(y, p["c"]["standardized_conv2d"])

  x = conv(x, p["root_block"]["standardized_conv2d"], 2)
  x = pool(x, "FIXED", border)
  x = unit(x, p["block1"]["unit01"], 1)
  x = unit(x, p["block1"]["unit02"], 1)
  x = unit(x, p["block2"]["unit01"], 2)
  x = relu(norm(x, p["group_norm"])).mean((0, 1))
  return x @ p["head"]["kernel"] + p["head"]["bias"]


BIT = models.make_model(3, variant="R50x1", stages=(2, 1), dtype="float32")


def test_bit():
  compare(BIT, make_image(2, 16, 16, 3), apply_bit)


def test_bits_epsilons_and_border_count():
  """With small kernels and an image of little contrast; else none is seen."""
  image = 0.01 * make_image(1, 16, 16, 3)
  params = make_params(BIT, image)
  shrink = lambda path, x: 1e-4 * x if x.ndim == 4 else x  # noqa: E731
  params = jax.tree_util.tree_map_with_path(shrink, params)
  expected = apply_bit(image[0].astype(float), params)
  scale = np.abs(expected).max()

  def differ(found):
    return np.abs(found - expected).max() / scale

  arrays = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)

  def apply(model):
    return model.apply({"params": arrays}, jnp.asarray(image))[0]

  assert differ(apply(BIT)) < 2e-5  # float32, through 11 convolutions.
  for other in (
    dict(group_norm_eps=1e-6),
    dict(std_conv_eps_in="std"),
    dict(std_conv_eps=1e-8),
  ):
    assert differ(apply(BIT.clone(**other))) > 1e-4, other
  without = apply_bit(image[0].astype(float), params, border=-np.inf)
  assert differ(without) > 1e-2


def test_a_normalisation_of_bit_keeps_its_digits_beside_a_large_mean():
  image = make_image(1, 16, 16, 64) + 100
  norm = resnet.make_norm(1e-5, jnp.float32)
  params = make_params(norm, image)
  expected = group_norm(image[0].astype(float), params, eps=1e-5)
  arrays = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
  found = norm.apply({"params": arrays}, jnp.asarray(image))[0]
  np.testing.assert_allclose(
    found,
    expected,
    atol=2e-4,  # Values around 100 are rounded to 4e-6, their sums to more.
  )


def test_hybrids_have_the_epsilons_of_their_own_release():
  names = ("group_norm_eps", "std_conv_eps", "std_conv_eps_in")
  for variant, expected in (
    ("R50+B/16", (1e-6, 1e-5, "std")),
    ("R+Ti/16", (1e-6, 1e-5, "std")),
    ("R152x2", (1e-5, 1e-10, "variance")),
  ):
    model = models.make_model(3, variant=variant)
    assert tuple(getattr(model, name) for name in names) == expected
