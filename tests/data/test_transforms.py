# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from vit_jax.data import transforms

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)


def encode(image, extension=".png"):
  """Encodes an RGB or grey image."""
  if image.ndim == 3:
    image = image[..., ::-1]  # OpenCV writes what it takes to be BGR.
  return cv2.imencode(extension, image)[1].tobytes()


def test_colours_come_out_in_rgb():
  np.testing.assert_array_equal(transforms.decode(encode(IMAGE), 3), IMAGE)


def test_grey_files_become_what_the_model_wants():
  grey = encode(IMAGE[..., 0])
  np.testing.assert_array_equal(
    transforms.decode(grey, 1), IMAGE[..., :1], strict=True
  )
  colour = transforms.decode(grey, 3)
  np.testing.assert_array_equal(colour, np.repeat(IMAGE[..., :1], 3, axis=-1))


@pytest.mark.parametrize("data", [b"", b"no image", encode(IMAGE)[:40]])
def test_what_is_no_image_is_an_error(data):
  with pytest.raises(ValueError, match="not a readable image"):
    transforms.decode(data, 3)


@pytest.mark.parametrize("size", [(4, 4), (3, 8), (12, 2), (2, 4)])
def test_resize_averages_if_neither_side_grows(size):
  (h, w), (height, width) = size, IMAGE.shape[:2]
  boxes = IMAGE.reshape(h, height // h, w, width // w, 3).astype(float)
  found = transforms.resize(IMAGE, size)
  assert found.shape == (h, w, 3) and found.dtype == np.uint8
  expected, half = boxes.mean(axis=(1, 3)), 0.5 + 1e-6
  np.testing.assert_allclose(found, expected, atol=half)  # Whole grey values.


def test_resize_is_bilinear_if_one_side_grows():
  rows = np.repeat(IMAGE[:, :1], 2, axis=1)
  # A third of the rows: the middle of every three, not their average.
  expected = np.repeat(rows[1::3], 2, axis=1)
  np.testing.assert_array_equal(transforms.resize(rows, (4, 4)), expected)


@pytest.mark.parametrize("size", [(3, 16), (16, 3), (4, 6), (6, 4), (2, 9)])
def test_height_and_width_are_not_exchanged(size):
  """What changes from left to right alone goes on to, and grows."""
  row = np.arange(0, 240, 40, dtype=np.uint8)
  found = transforms.resize(np.tile(row, (4, 1))[..., None], size)
  assert found.shape == (*size, 1)
  same = np.tile(found[:1], (size[0], 1, 1)).astype(float)
  np.testing.assert_allclose(found, same, atol=1)  # Halves round either way.
  assert (np.diff(found[..., 0].astype(int), axis=1) >= 0).all()
  assert found[0, 0, 0] < 60 and found[0, -1, 0] > 140


def test_resize_keeps_a_single_channel_and_an_equal_size():
  assert transforms.resize(IMAGE[..., :1], (16, 16)).shape == (16, 16, 1)
  np.testing.assert_array_equal(transforms.resize(IMAGE, (12, 8)), IMAGE)


def test_resize_enlarges_with_half_pixel_centres():
  ramp = np.array([[0, 100]] * 2, np.uint8)[..., None]
  enlarged = transforms.resize(ramp, (4, 4))
  np.testing.assert_array_equal(enlarged[0, :, 0], [0, 25, 75, 100])


def test_crops_stay_inside_and_cover_the_asked_area():
  rng = np.random.default_rng(0)
  shares, ratios = [], []
  for _ in range(2000):
    top, left, h, w = transforms.sample_crop(300, 400, rng, (0.05, 1.0))
    assert top >= 0 and left >= 0 and top + h <= 300 and left + w <= 400
    shares.append(h * w / 120_000)
    ratios.append(w / h)
  # Rounding to whole pixels moves the bounds by less than one part in 50.
  assert 0.049 < min(shares) < 0.07 and max(shares) > 0.9
  assert 0.73 < min(ratios) < 0.77 and 1.30 < max(ratios) < 1.36


def test_a_crop_that_never_fits_is_the_whole_image():
  rng = np.random.default_rng(0)
  assert transforms.sample_crop(2, 1000, rng, (0.9, 1.0)) == (0, 0, 2, 1000)


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
  found = transforms.resize_small_side(image, size)
  assert found.shape == (*expected, 3)


def test_a_central_crop_is_cut_from_the_resized_image():
  """The authors' few-shot protocol: 256 px, then 224 of them."""
  image = cv2.resize(IMAGE, (500, 375), interpolation=cv2.INTER_CUBIC)
  resized = cv2.resize(image, (341, 256), interpolation=cv2.INTER_AREA)
  found = transforms.central_crop(image, (224, 224), 224 / 256)
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
  found = transforms.central_crop(image, size, share)
  assert found.shape == (*size, 1)
  # Even where a crop of even sides is from an image of odd ones.
  heavy = np.unravel_index(found[..., 0].argmax(), size)
  offset = np.abs(np.array(heavy) - (np.array(size) - 1) / 2)
  scale = max(s / n for s, n in zip(size, shape, strict=True)) / share
  assert (offset <= 1.5 * max(scale, 1)).all()


def test_all_or_the_middle_is_shown():
  whole = transforms.fit(IMAGE, (4, 4), None)
  np.testing.assert_array_equal(whole, transforms.resize(IMAGE, (4, 4)))
  middle = transforms.fit(IMAGE, (4, 4), 0.5)
  np.testing.assert_array_equal(middle, IMAGE[4:8, 2:6])
