# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import functools

import numpy as np
import pytest

from vit_jax.analysis.examples import make_examples
from vit_jax.data.augment import Augment
from vit_jax.data.pipeline import Data, make_train_rows
from vit_jax.data.sources import open_source
from vit_jax.data.views import Views


@pytest.fixture
def data(data_dir):
  """The digits, whole and unchanged."""
  return Data(
    source="tfds:digits", dir=data_dir, size=8, crop="none", threads=1
  )


def read_first(data, count):
  """The first training images of seed 3, uint8."""
  source = open_source(data.source, data.train, data.dir)
  rows = make_train_rows(data, 1, source, 3)
  return np.stack([rows[i]["image"] for i in range(count)])


def test_they_are_the_first_images_of_the_run(data):
  found = make_examples(data, 1, 10, 3, 5)
  np.testing.assert_allclose(found, read_first(data, 5) / 127.5 - 1, atol=1e-6)


def test_views_of_an_image_follow_one_another(data):
  views = Views(count=2, local=1, local_size=4, colour="dino")
  several = dataclasses.replace(data, views=views, crop="random_resized")
  found = make_examples(several, 1, 10, 3, 3)
  assert found.shape == (3, 8, 8, 1)
  source = open_source(data.source, data.train, data.dir)
  plain = dataclasses.replace(several, views=Views(count=2))
  rows = make_train_rows(plain, 1, source, 3)
  batch = rows.make_batch(2)
  for row in range(2):
    rows.write(row, batch, row)
  expected = [batch["image"][0], batch["views"][0, 0], batch["image"][1]]
  found = make_examples(plain, 1, 10, 3, 3)
  np.testing.assert_allclose(found, np.stack(expected) / 127.5 - 1, atol=1e-6)


def test_they_are_augmented_as_the_config_says(data):
  flipped = dataclasses.replace(data, augment=Augment(flip=True))
  plain, found = read_first(data, 20), make_examples(flipped, 1, 10, 3, 20)
  plain = plain / 127.5 - 1
  close = functools.partial(np.allclose, atol=1e-6)
  kept = list(map(close, plain, found))
  turned = plain[:, :, ::-1]
  other = list(map(close, turned, found))
  assert np.logical_or(kept, other).all() and 3 < sum(kept) < 17
  mixed = dataclasses.replace(data, augment=Augment(mixup=1.0))
  found = make_examples(mixed, 1, 10, 3, 4)
  x, y = plain[0].ravel(), plain[1].ravel()
  shares, *_ = np.linalg.lstsq(np.stack([x, y], axis=1), found[0].ravel())
  assert shares.sum() == pytest.approx(1, abs=1e-4)  # Of two images.
