# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every operation of RandAugment before Pillow's, or NumPy's where Pillow has
none; and the form of AugReg's released code before the same in float32."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vit_jax.data import equalize, randaugment
from vit_jax.data.randaugment import NUMBER, OPS, Choice

RNG = np.random.default_rng(0)
# Also narrow and odd, dark, bright, of few values, and of one.
NOISE = RNG.integers(0, 256, (31, 44, 3), np.uint8)
IMAGES = {
  "noise": NOISE,
  "soft": (100 + NOISE // 4).astype(np.uint8),
  "few": (NOISE // 64 * 60).astype(np.uint8),
  "ramp": np.tile(np.arange(44, dtype=np.uint8)[None, :, None], (31, 1, 3)),
  "constant": np.full((31, 44, 3), (7, 130, 255), np.uint8),
  "black": np.zeros((31, 44, 3), np.uint8),
}
MAGNITUDES = (0.0, 3.5, 10.0, 15.0, 20.0)


@functools.cache
def get_compiled(magnitude, like="pillow"):

  def distort(image, choice):
    batch = jax.tree.map(lambda x: x[None], (image, choice))
    return randaugment.distort_all(*batch, magnitude, like)[0]

  return jax.jit(distort)


def distort(image, op, magnitude, negative=False, centre=(0, 0), like="pillow"):
  """One operation, as NumPy."""
  choice = Choice(
    jnp.asarray(NUMBER[op]), jnp.asarray(negative), jnp.asarray(centre)
  )
  found = get_compiled(magnitude, like)(jnp.asarray(image), choice)
  assert found.dtype == jnp.uint8
  return np.asarray(found)


# What the released code makes of a level, of which 10 was once the largest.
def to_factor(level):
  return level / 10 * 1.8 + 0.1


def get_threshold(level):
  return int(level / 10 * 256) % 256


PILLOW = {
  "Equalize": lambda x, level: ImageOps.equalize(x),
  "Invert": lambda x, level: ImageOps.invert(x),
  "Posterize": lambda x, level: ImageOps.posterize(
    x, min(max(int(level / 10 * 4), 1), 8)
  ),
  "Solarize": lambda x, level: ImageOps.solarize(x, get_threshold(level)),
  "Color": lambda x, level: ImageEnhance.Color(x).enhance(to_factor(level)),
  "Contrast": lambda x, level: ImageEnhance.Contrast(x).enhance(
    to_factor(level)
  ),
  "Brightness": lambda x, level: ImageEnhance.Brightness(x).enhance(
    to_factor(level)
  ),
  "Sharpness": lambda x, level: ImageEnhance.Sharpness(x).enhance(
    to_factor(level)
  ),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("op", PILLOW)
def test_colours_are_pillows(op, magnitude, name):
  image = IMAGES[name]
  expected = PILLOW[op](Image.fromarray(image), magnitude)
  found = distort(image, op, magnitude)
  np.testing.assert_array_equal(found, np.asarray(expected))


def compute_away(image, op):
  """What the released code blends an image with: uint8 values, float32."""
  values = image.astype(np.float32)
  if op == "Contrast":  # The sum of a histogram, over its number of bins.
    height, width, _ = image.shape
    return np.full_like(values, min(height * width // 256, 255))
  if op == "Brightness":
    return np.zeros_like(values)
  if op == "Color":
    weights = np.array([0.2989, 0.587, 0.114], np.float32)
    grey = (values / 255 @ weights)[..., None]
    return np.broadcast_to(np.floor(grey * np.float32(255.5)), image.shape)
  away = values.copy()
  for y in range(1, image.shape[0] - 1):
    for x in range(1, image.shape[1] - 1):
      box = image[y - 1 : y + 2, x - 1 : x + 2].astype(int)
      away[y, x] = (box.sum(axis=(0, 1)) + 4 * image[y, x].astype(int)) // 13
  return away


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("magnitude", range(0, 21, 5))
@pytest.mark.parametrize("op", ["Color", "Contrast", "Brightness", "Sharpness"])
def test_augregs_blends_are_those_of_its_code(op, magnitude, name):
  """The whole code was run, too: docs/fidelity.md."""
  image, factor = IMAGES[name], to_factor(magnitude)
  away = compute_away(image, op)
  blended = np.clip(away + factor * (image - away), 0, 255).astype(np.uint8)
  found = distort(image, op, float(magnitude), like="augreg").astype(int)
  # A grey value that float32 rounds down is 1 less, times 2.7 at 20.
  assert np.abs(found - blended).max() <= (3 if op == "Color" else 1)


@pytest.mark.parametrize("side, middle", [(224, 196), (384, 255), (32, 4)])
def test_augregs_contrast_is_about_the_number_of_pixels(side, middle):
  image = np.full((side, side, 3), 100, np.uint8)
  found = distort(image, "Contrast", 0.0, like="augreg")
  expected = int(middle + 0.1 * (100 - middle))
  np.testing.assert_allclose(found.astype(int), expected, atol=1)  # Cut off.
  assert (distort(image, "Contrast", 0.0) == 100).all()  # About its mean.


@pytest.mark.parametrize("op", sorted(set(OPS) - {*("Color", "Contrast")}))
def test_other_operations_have_one_form(op):
  """Averages, which are cut off in one of them, differ by 1."""
  forms = [
    distort(NOISE, op, 10.0, like=like).astype(int)
    for like in ("pillow", "augreg")
  ]
  assert np.abs(np.subtract(*forms)).max() <= (1 if op == "Sharpness" else 0)


@pytest.mark.parametrize("op", PILLOW)
def test_greys_are_pillows(op):
  image = IMAGES["soft"][..., 0]
  expected = PILLOW[op](Image.fromarray(image), 15.0)
  found = distort(image[..., None], op, 15.0)
  np.testing.assert_array_equal(found[..., 0], np.asarray(expected))


@pytest.mark.parametrize("name", IMAGES)
def test_autocontrast(name):
  image = IMAGES[name]
  found = distort(image, "AutoContrast", 15.0).astype(int)
  pillow = np.asarray(ImageOps.autocontrast(Image.fromarray(image)))
  # Pillow's float64 falls just short of some whole numbers and drops the rest.
  np.testing.assert_allclose(found, pillow, atol=1)
  for channel in range(3):
    values, new = image[..., channel].astype(int), found[..., channel]
    low, high = values.min(), values.max()
    if low < high:
      np.testing.assert_array_equal(new, (values - low) * 255 // (high - low))
    else:
      np.testing.assert_array_equal(new, values)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_solarize_add(magnitude):
  expected = NOISE.astype(int)
  added = np.minimum(expected + int(11 * magnitude), 255)
  expected = np.where(expected < 128, added, expected)
  found = distort(NOISE, "SolarizeAdd", magnitude)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("centre", [(0, 0), (16, 20), (30, 43)])
@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_cutout(magnitude, centre):
  h, w = int(4 * magnitude * 31 / 224), int(4 * magnitude * 44 / 224)
  expected = NOISE.copy()
  for y in range(31):
    for x in range(44):
      inside = centre[0] - h <= y < centre[0] + h
      if inside and centre[1] - w <= x < centre[1] + w:
        expected[y, x] = 128
  found = distort(NOISE, "Cutout", magnitude, centre=centre)
  np.testing.assert_array_equal(found, expected)


def get_source(op, level, y, x):
  """Where the pixel (y, x) comes from, as the released code says."""
  if op == "ShearX":
    return y, x + 0.3 * level / 10 * y
  if op == "ShearY":
    return y + 0.3 * level / 10 * x, x
  if op == "TranslateX":
    return y, x + 100 * level / 10 * 44 / 224
  if op == "TranslateY":
    return y + 100 * level / 10 * 31 / 224, x
  angle = math.radians(30 * level / 10)
  sine, cosine, y, x = math.sin(angle), math.cos(angle), y - 15, x - 21.5
  return 15 + sine * x + cosine * y, 21.5 + cosine * x - sine * y


def get_places(op, level):
  """(y, x) [2 31 44] of where pixels come from, and whether that is no tie."""
  grid = [[get_source(op, level, y, x) for x in range(44)] for y in range(31)]
  places = np.moveaxis(np.array(grid), -1, 0)
  # Where two pixels are equally near, rounding decides.
  return places, (np.abs(places % 1 - 0.5) > 1e-3).all(axis=0)


GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("op", GEOMETRIC)
def test_pixels_come_from_where_they_should(op, magnitude, negative):
  found = distort(NOISE, op, magnitude, negative)
  places, sure = get_places(op, -magnitude if negative else magnitude)
  expected = np.full_like(NOISE, 128)
  for y, x in np.argwhere(sure):
    v, u = (math.floor(p + 0.5) for p in places[:, y, x])
    if 0 <= v < 31 and 0 <= u < 44:
      expected[y, x] = NOISE[v, u]
  assert sure.mean() > 0.9
  np.testing.assert_array_equal(found[sure], expected[sure])


@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("op", GEOMETRIC)
def test_pixels_come_from_where_pillow_takes_them(op, magnitude):
  (v, u), sure = get_places(op, magnitude)
  # Pillow counts from the corner of a pixel, and has x first.
  rows = []
  for p in (u, v):
    by_x, by_y = p[0, 1] - p[0, 0], p[1, 0] - p[0, 0]
    rows += [by_x, by_y, p[0, 0] + 0.5 - 0.5 * by_x - 0.5 * by_y]
  expected = Image.fromarray(NOISE).transform(
    (44, 31), Image.Transform.AFFINE, rows, fillcolor=(128,) * 3
  )
  found = distort(NOISE, op, magnitude)
  np.testing.assert_array_equal(found[sure], np.asarray(expected)[sure])


def test_products_are_the_gather_and_the_scatter():
  """A TPU computes the former, everything else the latter."""
  rng = np.random.default_rng(1)
  for channels in (1, 3):
    image = jnp.asarray(NOISE[..., :channels], jnp.int32)
    maps = jnp.asarray(rng.integers(0, 256, (channels, 256), np.int32))
    np.testing.assert_array_equal(
      equalize.count_by_product(image), equalize.count_by_scatter(image)
    )
    np.testing.assert_array_equal(
      equalize.count_by_product(image).sum(axis=1), [31 * 44] * channels
    )
    np.testing.assert_array_equal(
      equalize.map_by_product(image, maps),
      equalize.map_by_gather(image, maps),
    )


@pytest.mark.parametrize("due", [0, 1, 2, 3, 11])
def test_some_images_are_changed_whatever_their_number(due):
  """An eighth of 11 is 2: six parts, of which the last passes the end."""
  images = np.arange(11 * 4, dtype=np.uint8).reshape(11, 2, 2, 1)
  chosen = np.isin(
    np.arange(11), np.random.default_rng(due).permutation(11)[:due]
  )
  found = jax.jit(
    lambda *args: randaugment.change_some(lambda x: 255 - x, *args)
  )(images, chosen)
  expected = np.where(chosen[:, None, None, None], 255 - images, images)
  np.testing.assert_array_equal(found, expected)


def test_an_operation_is_drawn_uniformly():
  keys = jax.random.split(jax.random.key(0), 3200)
  choice = jax.vmap(lambda key: randaugment.choose(key, 20, 30))(keys)
  counts = np.bincount(np.asarray(choice.op), minlength=16)
  assert counts.size == len(OPS) == 16
  assert 140 < counts.min() and counts.max() < 260
  assert 0.45 < np.asarray(choice.negative).mean() < 0.55
  centre = np.asarray(choice.centre)
  assert (centre.min(axis=0) == 0).all()
  assert (centre.max(axis=0) == (19, 29)).all()


def test_layers_follow_one_another():
  key = jax.random.key(5)
  image = jnp.asarray(NOISE)
  found = jax.jit(randaugment.make_randaugment(3, 10.0))(image[None], key[None])
  for layer_key in jax.random.split(key, 3):
    choice = randaugment.choose(layer_key, 31, 44)
    image = get_compiled(10.0)(image, choice)
  np.testing.assert_array_equal(found[0], image)
