# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every corruption against NumPy, SciPy, OpenCV or Pillow, with the same
numbers drawn."""

import io

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import scipy.ndimage
import scipy.stats
from matplotlib import colors

from vit_jax.perturbations import blur, corruptions, digital, noise, weather

SIDE = 56  # A quarter of the published size.


def make_image(channels=3, side=SIDE, seed=0):
  """A smooth picture with some noise, in [0, 1]."""
  rng = np.random.default_rng(seed)
  image = scipy.ndimage.gaussian_filter(
    rng.random((side, side, channels)), (3, 3, 0)
  )
  image = (image - image.min()) / np.ptp(image)
  image = 0.9 * image + 0.1 * rng.random(image.shape)
  return image.astype(np.float32)


def apply(function, image, severity, key=None):
  key = jax.random.key(3) if key is None else key
  found = jax.jit(function)(jnp.asarray(image), key, jnp.int32(severity))
  return np.asarray(found)


SEVERITIES = pytest.mark.parametrize("severity", [1, 3, 5])


@SEVERITIES
def test_gaussian_noise(severity):
  image, std = make_image(), (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
  drawn = jax.random.normal(jax.random.key(3), image.shape)
  found = apply(noise.add_gaussian, image, severity)
  np.testing.assert_allclose(found, image + std * drawn, rtol=1e-5, atol=1e-6)


@SEVERITIES
def test_shot_noise_is_poisson(severity):
  image, photons = make_image(), (60, 25, 12, 5, 3)[severity - 1]
  share = np.asarray(jax.random.uniform(jax.random.key(3), image.shape))
  expected = scipy.stats.poisson.ppf(share.astype(float), image * photons)
  found = apply(noise.add_shot, image, severity) * photons
  # A share within float32's rounding of a step may fall on either side.
  assert (np.abs(found - expected) > 1e-3).mean() < 1e-3
  assert np.abs(found - expected).max() < 1.001


def test_black_has_no_photons_and_the_sum_ends():
  mean = jnp.array([0.0, 0.0, 60.0, 60.0, 60.0])
  share = jnp.array([0.0, 0.9999999, 0.0, 0.5, 0.9999999])
  found = np.asarray(noise.invert_poisson(mean, share))
  np.testing.assert_array_equal(found[:4], [0, 0, 0, 60])
  assert 95 < found[4] < 115  # scipy says 107 for the exact share.


@SEVERITIES
def test_impulses(severity):
  image, amount = make_image(), (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
  image = image.clip(0.01, 0.99)
  found = apply(noise.add_impulses, image, severity)
  changed = found != image
  assert set(found[changed]) == {0.0, 1.0}
  assert changed.mean() == pytest.approx(amount, rel=0.15)
  assert found[changed].mean() == pytest.approx(0.5, abs=0.1)


@SEVERITIES
def test_brightness_is_a_larger_value_of_hsv(severity):
  image = make_image()
  image[0, 0] = 0
  hsv = colors.rgb_to_hsv(image.astype(float))
  hsv[..., 2] = np.clip(hsv[..., 2] + severity / 10, 0, 1)
  found = apply(noise.change_brightness, image, severity)
  np.testing.assert_allclose(found, colors.hsv_to_rgb(hsv), atol=1e-6)


@SEVERITIES
@pytest.mark.parametrize("channels", [1, 3])
def test_contrast(severity, channels):
  image, factor = make_image(channels), (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
  mean = image.mean(axis=(0, 1))
  expected = mean + factor * (image - mean)
  found = apply(noise.change_contrast, image, severity)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_lens_has_the_published_kernels():
  """At the published size, as OpenCV softens them."""
  kernels = blur.make_disks(1.0)
  reach = kernels.shape[1] // 2
  place = np.arange(-reach, reach + 1)
  x, y = np.meshgrid(place, place)
  rows = zip((3, 4, 6, 8, 10), (0.1, *[0.5] * 4), kernels, strict=True)
  for radius, sigma, found in rows:
    disk = (x**2 + y**2 <= radius**2).astype(float)
    size = (3, 3) if radius <= 8 else (5, 5)
    expected = cv2.GaussianBlur(disk / disk.sum(), size, sigma)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@SEVERITIES
def test_defocus_filters_with_the_kernel(severity):
  image = make_image()
  kernel = blur.make_disks(SIDE / 224)[severity - 1]
  expected = np.stack(
    [
      scipy.ndimage.correlate(image[..., i], kernel, mode="mirror")
      for i in range(3)
    ],
    axis=2,
  )
  found = apply(blur.blur_lens, image, severity)
  np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 3.0, 40.0])
def test_matrices_blur_as_scipy(sigma):
  image = make_image(1)[..., 0].astype(float)
  matrix = blur.make_gaussian(SIDE, sigma, truncate=3.0)
  expected = scipy.ndimage.gaussian_filter(image, sigma, truncate=3)
  np.testing.assert_allclose(matrix @ image @ matrix.T, expected, atol=1e-12)


def test_glass_moves_pixels_between_two_blurs():
  """At the published size, where the second severity has one round."""
  image, key = make_image(side=224), jax.random.key(3)
  offsets = np.asarray(
    jax.random.randint(jax.random.fold_in(key, 0), (2, 224, 224), -2, 3)
  )

  def smooth(x):
    return scipy.ndimage.gaussian_filter(x, (0.9, 0.9, 0), truncate=4)

  blurred = smooth(image.astype(float))
  moved = np.empty_like(blurred)
  for y in range(224):
    for x in range(224):
      v, u = np.clip([y, x] + offsets[:, y, x], 0, 223)
      moved[y, x] = blurred[v, u]
  found = apply(blur.blur_glass, image, 2, key)
  np.testing.assert_allclose(found, smooth(moved), atol=1e-5)
  counts = {int(x) for x in np.unique(offsets)}
  assert counts == {-2, -1, 0, 1, 2}


def test_motion_is_a_mean_along_its_way():
  image, angle = make_image(), 0.6
  radius, sigma = 5.0, 3.0
  expected, weights = np.zeros_like(image, dtype=float), 0.0
  for i in range(11):
    weight = np.exp(-0.5 * (i / sigma) ** 2)
    dy, dx = round(i * np.sin(angle)), round(i * np.cos(angle))
    y = np.clip(np.arange(SIDE) + dy, 0, SIDE - 1)
    x = np.clip(np.arange(SIDE) + dx, 0, SIDE - 1)
    expected += weight * image[y][:, x]
    weights += weight
  found = blur.smear(
    jnp.asarray(image), *map(jnp.float32, (radius, sigma, angle)), 8.0
  )
  np.testing.assert_allclose(found, expected / weights, atol=1e-6)


@SEVERITIES
def test_motion_blur_draws_its_angle(severity):
  image, key = make_image(), jax.random.key(5)
  angle = jax.random.uniform(key, (), minval=-np.pi / 4, maxval=np.pi / 4)
  radius = (10, 15, 15, 15, 20)[severity - 1] / 4
  sigma = (3, 5, 8, 12, 15)[severity - 1] / 4
  values = map(jnp.float32, (radius, sigma, angle))
  expected = blur.smear(jnp.asarray(image), *values, 5.0)
  found = apply(blur.blur_motion, image, severity, key)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def zoom(image, factor):
  """About the centre, by SciPy."""
  middle = (len(image) - 1) / 2
  source = (np.arange(len(image)) - middle) / factor + middle
  y, x = np.meshgrid(source, source, indexing="ij")
  parts = [
    scipy.ndimage.map_coordinates(image[..., i], [y, x], order=1)
    for i in range(image.shape[2])
  ]
  return np.stack(parts, axis=2)


@SEVERITIES
def test_zoom_blur_is_a_mean_of_enlargements(severity):
  image = make_image().astype(float)
  factors = (
    np.arange(1, 1.11, 0.01),
    np.arange(1, 1.16, 0.01),
    np.arange(1, 1.21, 0.02),
    np.arange(1, 1.26, 0.02),
    np.arange(1, 1.31, 0.03),
  )[severity - 1]
  total = image + sum(zoom(image, x) for x in factors)
  found = apply(blur.blur_zoom, image.astype(np.float32), severity)
  np.testing.assert_allclose(found, total / (len(factors) + 1), atol=1e-5)


def make_plasma(key, size, decay):
  """Diamonds and squares, a point after another."""
  heights = np.zeros((size, size))
  step, spread, level = size, 100.0, 0
  while step > 1:
    half, count = step // 2, size // step
    keys = jax.random.split(jax.random.fold_in(key, level), 3)
    squares, beside, below = (
      np.asarray(jax.random.uniform(x, (count, count), minval=-1.0))
      for x in keys
    )
    at = lambda y, x: heights[y % size, x % size]  # noqa: E731
    places = [(i, j) for i in range(count) for j in range(count)]
    for i, j in places:
      y, x = i * step, j * step
      around = at(y, x) + at(y + step, x) + at(y, x + step)
      mean = (around + at(y + step, x + step)) / 4
      heights[y + half, x + half] = mean + spread**2 * squares[i, j]
    for i, j in places:
      y, x = i * step, j * step
      for v, u, drawn in ((y, x + half, beside), (y + half, x, below)):
        around = at(v - half, u) + at(v + half, u)
        around += at(v, u - half) + at(v, u + half)
        heights[v, u] = around / 4 + spread**2 * drawn[i, j]
    step, spread, level = half, spread / decay, level + 1
  heights -= heights.min()
  return heights / heights.max()


@pytest.mark.parametrize("decay", [2.0, 1.4])
def test_plasma(decay):
  key = jax.random.key(1)
  found = weather.make_plasma(key, 16, jnp.float32(decay))
  np.testing.assert_allclose(found, make_plasma(key, 16, decay), atol=1e-5)


@SEVERITIES
def test_fog(severity):
  image = 0.8 * make_image()
  amount = (1.5, 2, 2.5, 2.5, 3)[severity - 1]
  decay = (2, 2, 1.7, 1.5, 1.4)[severity - 1]
  plasma = make_plasma(jax.random.key(3), 64, decay)[:SIDE, :SIDE, None]
  most = image.max()
  expected = (image + amount * plasma) * most / (most + amount)
  found = apply(weather.add_fog, image, severity)
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("severity", [1, 4])
def test_snow(severity):
  """At the published size."""
  image, key = make_image(side=224), jax.random.key(3)
  mean, std, factor, least, radius, sigma, kept = {
    1: (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    4: (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
  }[severity]
  flakes, way = jax.random.split(key)
  drawn = np.asarray(jax.random.normal(flakes, (224, 224, 1)), float)
  layer = zoom(mean + std * drawn, factor)
  layer = np.where(layer < least, 0, layer).clip(0, 1)
  angle = jax.random.uniform(way, (), minval=0.25, maxval=0.75) * np.pi
  values = map(jnp.float32, (radius, sigma, angle))
  layer = np.asarray(blur.smear(jnp.asarray(layer, jnp.float32), *values, 12.0))
  grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
  expected = kept * image + (1 - kept) * np.maximum(image, grey * 1.5 + 0.5)
  expected = expected + layer + np.rot90(layer, k=2)
  found = apply(weather.add_snow, image, severity)
  # A flake near the least value may be on either side of it.
  assert (np.abs(found - expected) > 1e-4).mean() < 1e-3
  assert layer.mean() > 0.005


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_elastic(severity):
  """By OpenCV's affine maps and SciPy's interpolation."""
  image, side = make_image(), 244 / 4
  reach = side * (2, 2, 0.05, 0.07, 0.12)[severity - 1]
  sigma = side * (0.7, 0.08, 0.01, 0.01, 0.01)[severity - 1]
  jitter = side * (0.1, 0.2, 0.02, 0.02, 0.02)[severity - 1]
  corner_key, field_key = jax.random.split(jax.random.key(3))
  drawn = jax.random.uniform(field_key, (SIDE, SIDE, 2), minval=-1.0)
  field = scipy.ndimage.gaussian_filter(
    np.asarray(drawn, float), (sigma, sigma, 0), truncate=3
  )
  c, s = SIDE // 2, SIDE // 3
  points = np.float32([[c + s, c + s], [c + s, c - s], [c - s, c - s]])
  corners = np.asarray(jax.random.uniform(corner_key, (3, 2), minval=-1.0))
  moved = (points + jitter * corners).astype(np.float32)
  matrix = cv2.getAffineTransform(moved, points)  # Both as (y, x).
  y, x = np.mgrid[:SIDE, :SIDE]
  y, x = y + reach * field[..., 0], x + reach * field[..., 1]
  source = np.tensordot(matrix, np.stack([y, x, np.ones_like(y)]), 1)
  expected = np.stack(
    [
      scipy.ndimage.map_coordinates(
        image[..., i], source, order=1, mode="mirror"
      )
      for i in range(3)
    ],
    axis=2,
  )
  found = apply(digital.distort, image, severity)
  # Places to float32's 1e-5 pixels.
  np.testing.assert_allclose(found, expected, atol=1e-4)
  assert np.abs(found - image).mean() > 0.005


@SEVERITIES
def test_pixelate_as_pillow(severity):
  image = np.round(255 * make_image(side=224)).astype(np.uint8)
  small = int(224 * (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1])
  box = PIL.Image.Resampling.BOX
  judged = PIL.Image.fromarray(image).resize((small, small), box)
  expected = np.asarray(judged.resize((224, 224), box)).astype(float)
  found = 255 * apply(
    digital.pixelate, image.astype(np.float32) / 255, severity
  )
  # Pillow rounds after each way and each axis.
  assert np.abs(found - expected).max() <= 1.01


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_jpeg_as_pillow(channels):
  images = np.stack([make_image(channels, seed=i) for i in (0, 1)])
  values = np.round(255 * images).astype(np.float32)
  found = np.asarray(corruptions.compress(jnp.asarray(values), 2))
  whole = values.astype(np.uint8)
  parts = [whole] if channels == 3 else np.split(whole, channels, axis=3)
  expected = []
  for part in parts:
    rows = []
    for x in part:
      file = io.BytesIO()
      PIL.Image.fromarray(x.squeeze()).save(file, "JPEG", quality=18)
      rows.append(np.asarray(PIL.Image.open(file)).reshape(SIDE, SIDE, -1))
    expected.append(np.stack(rows))
  np.testing.assert_array_equal(found, np.concatenate(expected, axis=3))
  assert 1 < np.abs(found - values).mean() < 30


def test_any_image_is_corrupted_more_and_more():
  """Whole values in the range; the same for the same key, and no other."""
  images = np.stack([np.round(255 * make_image(1, 24))] * 2)
  images = jnp.asarray(images, jnp.float32)
  keys = jax.random.split(jax.random.key(0), 2)
  run = jax.jit(corruptions.corrupt, static_argnums=0)
  random = set()
  for name in corruptions.CORRUPTIONS:
    first = np.asarray(run(name, images, keys, jnp.int32(1)))
    last = np.asarray(run(name, images, keys, jnp.int32(5)))
    for found in (first, last):
      assert (found == found.round()).all()
      assert found.min() >= 0 and found.max() <= 255
    again = np.asarray(run(name, images[::-1], keys[::-1], jnp.int32(5)))
    np.testing.assert_array_equal(again[::-1], last)
    changes = [np.abs(x - images).mean() for x in (first, last)]
    # An elastic one of the first severity moves more, and in larger waves.
    assert changes[1] > changes[0] or name in ("elastic", "glass_blur"), name
    if (last[0] != last[1]).any():
      random.add(name)
  assert random == {
    *("gaussian_noise", "shot_noise", "impulse_noise", "glass_blur"),
    *("motion_blur", "snow", "fog", "elastic"),
  }
