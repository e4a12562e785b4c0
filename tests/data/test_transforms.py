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
