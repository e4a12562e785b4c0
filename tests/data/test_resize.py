# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Resizing against values of TensorFlow, Pillow, and plain sums in NumPy."""

import typing

import cv2
import numpy as np
import pytest
from PIL import Image

from vit_jax.data.framing import frame
from vit_jax.data.resize import (
  Resize,
  central_crop,
  resize,
  resize_into,
  resize_small_side,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)

METHODS = typing.get_args(Resize)

# What tf.image.resize of TensorFlow 2.21 makes of SMALL, without antialiasing:
#   tf.image.resize(np.array(SMALL)[..., None], (h, w), method=METHOD)
SMALL = [
  [168, 229, 184, 171, 238],
  [171, 20, 206, 245, 153],
  [204, 5, 37, 53, 213],
  [206, 192, 173, 6, 120],
]
TENSORFLOW = {
  ("bilinear", 2, 3): [[154.5, 195, 199.667], [169.5, 105, 120.833]],
  ("bilinear", 3, 2): [[187.75, 193.458], [56.25, 157.5], [172.042, 44.25]],
  ("bilinear", 2, 7): [
    [169.5, 143.786, 144.643, 195, 204.286, 202.643, 195.5],
    [205, 144.143, 100.357, 105, 51.071, 88.214, 166.5],
  ],
  ("bilinear", 6, 4): [
    [175.625, 212.125, 175.875, 229.625],
    [163.875, 150.938, 203.125, 197.062],
    [156.625, 77.625, 199.812, 169.25],
    [174.625, 29.125, 77.562, 188.25],
    [191.688, 100.938, 57.812, 149.375],
    [204.25, 184.875, 68.625, 105.75],
  ],
  ("area", 2, 3): [[151.5, 183.5, 200.5], [162.4, 88.6, 111.7]],
  ("area", 3, 2): [[176.1, 200.4], [104.3, 157.1], [168.1, 92.2]],
}


@pytest.mark.parametrize("case", TENSORFLOW)
def test_values_are_tensorflows(case):
  method, *size = case
  image = np.array(SMALL, np.uint8)[..., None]
  found = resize(image, tuple(size), method)[..., 0]
  # Rounded to uint8, and once more on the way.
  np.testing.assert_allclose(found, TENSORFLOW[case], atol=1)


def make_weights(old, new, method):
  """What each new pixel of an axis takes of the old ones: [new old]."""
  weights, scale = np.zeros((new, old)), old / new
  for i in range(new):
    if method == "area" and new < old:
      for j in range(old):
        overlap = min(j + 1, (i + 1) * scale) - max(j, i * scale)
        weights[i, j] = max(0, overlap) / scale
    else:
      place = (i + 0.5) * scale - 0.5
      low = int(np.floor(place))
      for j, weight in ((low, low + 1 - place), (low + 1, place - low)):
        weights[i, min(max(j, 0), old - 1)] += weight
  return weights


@pytest.mark.parametrize("method", ["bilinear", "area"])
@pytest.mark.parametrize(
  "shape, size",
  [
    ((375, 500), (224, 224)),
    ((223, 672), (224, 224)),
    ((672, 223), (224, 224)),
    ((40, 600), (64, 64)),
    ((8, 8), (16, 16)),
    ((12, 8), (12, 5)),
    ((12, 8), (7, 9)),
  ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_axis_is_treated_for_itself(method, shape, size, channels):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (*shape, channels), np.uint8)
  rows, columns = (
    make_weights(old, new, method) for old, new in zip(shape, size, strict=True)
  )
  exact = np.einsum("hH,wW,HWc->hwc", rows, columns, image, optimize=True)
  found = resize(image, size, method).astype(float)
  # The kernels round on the way, and at the end to uint8.
  assert np.abs(found - np.rint(exact)).max() <= 1
  assert np.abs(found - exact).mean() < 0.4


@pytest.mark.parametrize("height", [223, 224, 225])
def test_stripes_are_grey_whether_or_not_a_side_grows(height):
  image = np.zeros((height, 672, 3), np.uint8)
  image[:, ::3] = 255
  found = {name: resize(image, (224, 224), name) for name in METHODS}
  assert (found["area"] == 85).all()
  assert not found["bilinear"].any()  # As TensorFlow: between the stripes.
  for name in ("bilinear_antialias", "bicubic", "lanczos"):
    assert 84.9 < found[name].mean() < 85.1


@pytest.mark.parametrize("size", [(5, 4), (20, 30), (20, 4), (12, 5)])
@pytest.mark.parametrize(
  "method, kernel",
  [
    ("bilinear_antialias", Image.Resampling.BILINEAR),
    ("bicubic", Image.Resampling.BICUBIC),
    ("lanczos", Image.Resampling.LANCZOS),
  ],
)
def test_antialiased_values_are_pillows(size, method, kernel):
  expected = Image.fromarray(IMAGE).resize(size[::-1], kernel)
  found = resize(IMAGE, size, method)
  np.testing.assert_array_equal(found, expected)
  grey = Image.fromarray(IMAGE[..., 1]).resize(size[::-1], kernel)
  np.testing.assert_array_equal(
    resize(IMAGE[..., 1:2], size, method)[..., 0], grey
  )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_it_is_written_where_it_shall_be(method, channels):
  """A part of a larger image goes into the row of a batch."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (40, 50, channels), np.uint8)[3:33, 7:47]
  batch = np.zeros((2, 20, 24, channels), np.uint8)
  resize_into(image, batch[1], method)
  expected = resize(image.copy(), (20, 24), method)
  np.testing.assert_array_equal(batch[1], expected)
  assert batch[1].any() and not batch[0].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(3, 16), (16, 3), (4, 6), (6, 4), (2, 9)])
def test_height_and_width_are_not_exchanged(size, method):
  """What changes from left to right alone goes on to, and grows."""
  row = np.arange(0, 240, 40, dtype=np.uint8)
  found = resize(np.tile(row, (4, 1))[..., None], size, method)
  assert found.shape == (*size, 1)
  same = np.tile(found[:1], (size[0], 1, 1)).astype(float)
  np.testing.assert_allclose(found, same, atol=1)  # Halves round either way.
  assert (np.diff(found[..., 0].astype(int), axis=1) >= 0).all()
  assert found[0, 0, 0] < 60 and found[0, -1, 0] > 140


@pytest.mark.parametrize("method", METHODS)
def test_resize_keeps_an_equal_size(method):
  np.testing.assert_array_equal(resize(IMAGE, (12, 8), method), IMAGE)


@pytest.mark.parametrize(
  "shape, size, expected",
  [
    ((375, 500), (256, 256), (256, 341)),
    ((500, 375), (256, 256), (341, 256)),
    ((100, 100), (32, 48), (48, 48)),
    ((30, 90), (60, 60), (60, 180)),
  ],
)
def test_the_small_side_is_resized_and_the_aspect_kept(shape, size, expected):
  image = np.zeros((*shape, 3), np.uint8)
  found = resize_small_side(image, size, "area")
  assert found.shape == (*expected, 3)


def test_a_central_crop_is_cut_from_the_resized_image():
  """The authors' few-shot protocol: 256 px, then 224 of them."""
  image = cv2.resize(IMAGE, (500, 375), interpolation=cv2.INTER_CUBIC)
  resized = cv2.resize(image, (341, 256), interpolation=cv2.INTER_AREA)
  found = central_crop(image, (224, 224), 224 / 256, "area")
  np.testing.assert_array_equal(found, resized[16:240, 58:282])


@pytest.mark.parametrize("shape", [(20, 3000), (3000, 20), (1, 900), (7, 7)])
@pytest.mark.parametrize("share", [0.1, 0.875, 1.0])
@pytest.mark.parametrize("size", [(8, 8), (6, 20), (30, 9)])
def test_a_central_crop_is_of_the_asked_size_and_of_the_middle(
  shape, share, size
):
  """Of a panorama too, of which no more than that is made larger."""
  image = np.zeros((*shape, 1), np.uint8)
  image[(shape[0] - 1) // 2 : shape[0] // 2 + 1] += 100
  image[:, (shape[1] - 1) // 2 : shape[1] // 2 + 1] += 100
  found = central_crop(image, size, share, "area")
  assert found.shape == (*size, 1)
  # Even where a crop of even sides is from an image of odd ones.
  heavy = np.unravel_index(found[..., 0].argmax(), size)
  offset = np.abs(np.array(heavy) - (np.array(size) - 1) / 2)
  scale = max(s / n for s, n in zip(size, shape, strict=True)) / share
  assert (offset <= 1.5 * max(scale, 1)).all()


def test_all_or_the_middle_is_shown():
  how = {"squash": False, "rounding": "big_vision"}
  whole = frame(IMAGE, (4, 4), None, "area", **how)
  np.testing.assert_array_equal(whole, resize(IMAGE, (4, 4), "area"))
  middle = frame(IMAGE, (4, 4), 0.5, "area", **how)
  np.testing.assert_array_equal(middle, IMAGE[4:8, 2:6])
