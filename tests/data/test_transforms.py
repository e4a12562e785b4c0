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


def test_resize_averages_to_shrink():
  expected = IMAGE.reshape(3, 4, 2, 4, 3).astype(float).mean(axis=(1, 3))
  square = transforms.resize(IMAGE[:8], 2)
  expected = IMAGE[:8].reshape(2, 4, 2, 4, 3).astype(float).mean(axis=(1, 3))
  half = 0.5 + 1e-6
  np.testing.assert_allclose(square, expected, atol=half)  # Whole grey values.
  assert square.dtype == np.uint8


def test_resize_keeps_a_single_channel_and_an_equal_size():
  assert transforms.resize(IMAGE[..., :1], 16).shape == (16, 16, 1)
  assert transforms.resize(IMAGE[:8], 8) is not None
  np.testing.assert_array_equal(transforms.resize(IMAGE[:8], 8), IMAGE[:8])


def test_resize_enlarges_with_half_pixel_centres():
  ramp = np.array([[0, 100]] * 2, np.uint8)[..., None]
  enlarged = transforms.resize(ramp, 4)
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
