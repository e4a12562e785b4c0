# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Colours of views, against Pillow, colorsys and SciPy."""

import colorsys
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from vit_jax.data import colour

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 28, 3), np.uint8)
VALUES = jnp.asarray(BYTES, jnp.float32)
PICTURE = Image.fromarray(BYTES)

ENHANCE = {
  colour.BLACK: ImageEnhance.Brightness,
  colour.MEAN: ImageEnhance.Contrast,
  colour.GREY: ImageEnhance.Color,
}


@pytest.mark.parametrize("kind", ENHANCE)
@pytest.mark.parametrize("factor", [0.6, 0.83, 1.0, 1.4])
def test_blends_are_those_of_pillow(kind, factor):
  """Pillow cuts off the fractions of the grey, its mean and the result: 2.5."""
  expected = np.asarray(ENHANCE[kind](PICTURE).enhance(factor), np.float32)
  found = colour.blend(VALUES, jnp.float32(factor), kind)
  assert np.abs(found - expected).max() < 2.5
  if factor == 1.0:
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize("turn", [-0.1, -0.03, 0.0, 0.1, 0.5])
def test_hue_turns_as_in_colorsys(turn):
  flat = [BYTES[0, 0] * 0 + 7, *BYTES.reshape(-1, 3)[:200]]  # A grey one, too.
  expected = []
  for pixel in flat:
    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255.0).tolist())
    turned = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    expected.append(np.asarray(turned) * 255)
  image = jnp.asarray(np.stack(flat)[None], jnp.float32)
  found = colour.turn_hue(image, jnp.float32(turn))[0]
  # In float32, of values up to 255.
  np.testing.assert_allclose(found, expected, atol=2e-3)


def test_grey_and_solarised_are_those_of_pillow():
  grey = np.asarray(ImageOps.grayscale(PICTURE), np.float32)[..., None]
  assert np.abs(colour.make_grey(VALUES) - grey).max() <= 1  # It rounds.
  solarised = np.asarray(ImageOps.solarize(PICTURE))
  np.testing.assert_array_equal(colour.solarise(VALUES), solarised)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_that_of_scipy(sigma):
  reach = 8
  expected = scipy.ndimage.gaussian_filter(
    np.asarray(VALUES, np.float64),
    (sigma, sigma, 0),
    mode="nearest",
    radius=(reach, reach, 0),
  )
  found = colour.blur(VALUES, jnp.float32(sigma), reach)
  # In float32, of values up to 255.
  np.testing.assert_allclose(found, expected, atol=1e-3)


def test_blur_is_nearly_that_of_pillow():
  """Which approximates a Gaussian by boxes, and rounds."""
  smooth = PICTURE.resize((200, 140), Image.Resampling.BICUBIC)
  expected = smooth.filter(ImageFilter.GaussianBlur(1.5))
  found = colour.blur(
    jnp.asarray(np.asarray(smooth), jnp.float32), jnp.float32(1.5), 8
  )
  assert np.abs(found - np.asarray(expected, np.float32)).max() < 3


def test_jitter_is_in_each_of_24_orders():
  """Bins of two draws choose the order; changes are those of single tests."""
  factors = 1.3, 0.7, 1.15  # Of brightness, contrast and saturation.
  strengths = 0.4, 0.4, 0.2
  changes = [(f - 1) / s for f, s in zip(factors, strengths, strict=True)]
  changes.append(0.05 / 0.1)
  draws = [(c + 1) / 2 for c in changes]
  found = set()
  jitter = jax.jit(colour.jitter)
  expected = {}
  for order in itertools.permutations(("black", "mean", "grey", "hue")):
    image = VALUES
    for name in order:
      if name == "hue":
        image = colour.turn_hue(image, jnp.float32(0.05))
      else:
        kind = ("black", "mean", "grey").index(name)
        image = colour.blend(image, jnp.float32(factors[kind]), kind)
    expected[order] = np.asarray(image)
  for first, second in itertools.product(range(6), range(4)):
    drawn = [(first + 0.5) / 6, (second + 0.5) / 4, *draws]
    image = np.asarray(jitter(VALUES, jnp.asarray(drawn, jnp.float32)))
    distances = {k: np.abs(image - x).max() for k, x in expected.items()}
    nearest = min(distances, key=distances.get)
    assert distances[nearest] < 1e-2  # A program rounds in another order.
    found.add(nearest)
  assert len(found) == 24


def test_each_change_happens_as_often_as_it_should():
  chances = colour.get_chances("dino", [0, 1, 2, 5], count=2)
  np.testing.assert_allclose(
    chances,
    [
      (0.8, 0.2, 1.0, 0.0),
      (0.8, 0.2, 0.1, 0.2),
      (0.8, 0.2, 0.5, 0.0),
      (0.8, 0.2, 0.5, 0.0),
    ],
  )
  # Of 3,000 draws; a share is within 4 standard deviations of at most 0.0091.
  image = jnp.asarray(BYTES[:4, :4], jnp.float32)
  keys = jax.random.split(jax.random.key(1), 3000)
  for name, chance in (("jitter", 0.8), ("grey", 0.2), ("solarise", 0.2)):
    alone = jnp.zeros(4).at[colour.Colour._fields.index(name)].set(chance)
    apply = jax.vmap(
      lambda key, alone=alone: colour.change_colour(image, key, alone, 0.01)
    )
    changed = np.any(
      np.asarray(jax.jit(apply)(keys)) != BYTES[:4, :4], axis=(1, 2, 3)
    )
    assert abs(changed.mean() - chance) < 0.037


def test_a_grey_image_stays_grey():
  """Of one channel: saturation and hue change nothing."""
  image = VALUES[..., :1]
  for change in (
    colour.blend(image, jnp.float32(0.3), colour.GREY),
    colour.turn_hue(image, jnp.float32(0.3)),
    colour.make_grey(image),
  ):
    np.testing.assert_allclose(change, image, rtol=1e-6)
  key, chances = jax.random.key(0), jnp.ones(4)
  assert colour.change_colour(image, key, chances, 0.1).shape == image.shape
