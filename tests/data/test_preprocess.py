# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import typing

import numpy as np
import pytest

from vit_jax.config import ConfigError
from vit_jax.data.preprocess import Preprocess
from vit_jax.data.resize import Resize, resize

SIZE = dict(height=6, width=8, channels=3)
IMAGE = np.random.default_rng(0).integers(0, 256, (31, 44, 3), np.uint8)


def get_pixels(preprocess):
  """What it makes of IMAGE, in whole grey values."""
  return np.rint((preprocess(IMAGE)[0] + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize("method", typing.get_args(Resize))
def test_images_are_resized_as_is_recorded(method):
  section = Preprocess(**SIZE, resize=method).to_json()
  assert section["resize"] == method
  found = get_pixels(Preprocess.from_json(section))
  np.testing.assert_array_equal(found, resize(IMAGE, (6, 8), method))


def test_what_is_not_recorded_is_what_older_versions_did():
  section = Preprocess(**SIZE).to_json()
  del section["resize"]
  found = Preprocess.from_json(section)
  assert found.resize == "area"
  np.testing.assert_array_equal(
    get_pixels(found), resize(IMAGE, (6, 8), "area")
  )


def test_an_unknown_method_is_an_error():
  with pytest.raises(ConfigError, match="preprocess.resize='nearest'"):
    Preprocess.from_json(SIZE | {"resize": "nearest"})
