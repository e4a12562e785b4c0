# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Feature maps, `model.features`, against the module's own intermediates."""

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

import vit_jax
from tests.support.weights import (
  HYBRID,
  MIXER,
  RESNET,
  make_tiny_weights,
  make_weights,
)
from vit_jax.config import ConfigError
from vit_jax.convert import save_weights
from vit_jax.convert.initialize import initialize
from vit_jax.convert.load import Model
from vit_jax.convert.transfer import Transfer

SIZE = (8, 12)
CLOSE = dict(rtol=1e-5, atol=1e-5)


def make_model(weights):
  """The model of weights, as `load` makes it."""
  return Model(weights.model, weights.tree, weights.manifest)


def make_images(size, dtype=np.float32):
  """Two images of noise, with the same values in either dtype."""
  pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
  return pixels if dtype == np.uint8 else np.float32(pixels / 127.5 - 1)


def find(weights, images):
  """Intermediates of a model that was made for images of this size."""
  size = images.shape[1:3]
  params, _ = initialize(weights, weights.model, size, 3, Transfer())
  apply = jax.jit(weights.model.apply, static_argnames="intermediates")
  variables = {"params": unflatten_dict(params, sep="/")}
  return apply(variables, images, intermediates=True)[1]


def place(tokens, grid):
  """Patches, the last tokens, as a map: row by row."""
  h, w = grid
  tokens = np.asarray(tokens)[:, -h * w :]
  rows = [tokens[:, row * w : (row + 1) * w] for row in range(h)]
  return np.stack(rows, axis=1)


@pytest.mark.parametrize(
  "size, fields",
  [
    (SIZE, {}),
    ((14, 16), {}),
    ((22, 2), dict(position="rope", representation_size=7)),
    ((14, 16), dict(registers=3, pool="gap", fc_norm=True)),
    ((4, 16), dict(position="learned_2d", pool="map")),
  ],
)
def test_maps_are_the_tokens_of_a_model_for_that_size(size, fields):
  weights, images = make_tiny_weights(SIZE, **fields), make_images(size)
  model, found = make_model(weights), find(weights, images)
  grid = (size[0] // 2, size[1] // 2)
  first, last = model.features(images, (0, -1))
  np.testing.assert_allclose(first, place(found["residual"][0], grid), **CLOSE)
  np.testing.assert_allclose(last, place(found["encoded"], grid), **CLOSE)
  one = model.features(images)  # By another way, with the kernels of attention.
  assert one.shape == (2, *grid, 32)
  # Of values up to 335, and they cancel.
  np.testing.assert_allclose(one, last, rtol=0, atol=1e-6 * abs(last).max())


def test_a_file_and_pixels(tmp_path):
  weights = make_tiny_weights(SIZE)
  save_weights(weights, str(tmp_path / "a.npz"), "authors")
  model, _ = vit_jax.load(tmp_path / "a.npz")
  expected = place(find(weights, make_images((6, 4)))["encoded"], (3, 2))
  pixels = make_images((6, 4), np.uint8)
  np.testing.assert_allclose(model.features(pixels), expected, **CLOSE)
  bicubic = model.features(pixels, resample="bicubic", antialias=True)
  assert np.abs(bicubic - expected).max() > 0.01
  int8, _ = vit_jax.load(tmp_path / "a.npz", weights="int8")
  # Kernels of 255 values; maps have a deviation of about 1.
  assert 0 < np.abs(int8.features(pixels) - expected).mean() < 0.05


def test_hybrids_have_the_maps_of_their_patches():
  weights = make_weights(HYBRID, size=(64, 64))
  images = make_images((48, 80))
  expected = place(find(weights, images)["encoded"], (6, 10))
  maps = make_model(weights).features(images)
  # Convolutions of random kernels: values in the stem are large.
  np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4)


def test_a_mixer_has_maps_at_its_size():
  weights = make_weights(MIXER, size=(48, 32))
  model, images = make_model(weights), make_images((48, 32))
  found = find(weights, images)
  np.testing.assert_allclose(
    model.features(images, 0), place(found["residual"][0], (3, 2)), **CLOSE
  )
  # The mean of the last map is what the head reads.
  np.testing.assert_allclose(
    model.features(images).mean(axis=(1, 2)), found["pre_logits"], **CLOSE
  )
  with pytest.raises(ValueError, match="Mixer is for one size.*to 48x32"):
    model.features(make_images((32, 32)))


def test_a_resnet_has_the_maps_of_its_stages():
  weights = make_weights(RESNET, size=(64, 64))
  model, images = make_model(weights), make_images((50, 70))
  found = find(weights, images)
  first, last = model.features(images, [0, 1])
  np.testing.assert_allclose(first, found["block1"], rtol=1e-5)
  assert last.shape == (2, 7, 9, 512)
  np.testing.assert_allclose(
    last.mean(axis=(1, 2)), found["pre_logits"], **CLOSE
  )


@pytest.mark.parametrize(
  "images, layers, message",
  [
    (make_images((9, 12)), -1, "height=9 is not a multiple of 2"),
    (make_images(SIZE)[0], -1, r"\(8, 12, 3\), expected \(B, H, W, 3\)"),
    (make_images(SIZE).astype(int), -1, "int64 .*uint8 or as preprocess"),
    (make_images(SIZE), 2, "the model has 2, numbered 0 to 1, or -2 to -1"),
    (make_images(SIZE), [], "the model has 2"),
    (make_images(SIZE), "last", "must be a number or a list of them"),
  ],
)
def test_what_has_no_map(images, layers, message):
  with pytest.raises(ValueError, match=message):
    make_model(make_tiny_weights(SIZE)).features(images, layers)


def test_relative_positions_are_for_one_size():
  model = make_model(make_tiny_weights(SIZE, position="relative"))
  with pytest.raises(ValueError, match="relative positions is for one size"):
    model.features(make_images((8, 8)))
  with pytest.raises(ConfigError, match="width=9"):
    model.features(make_images((12, 9)))
