# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that stay decoded, and rows that are written in threads."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest

from vit_jax.data import pipeline
from vit_jax.data.rows import Batches, Pictures


class Counted(list):
  """Examples that count how often they are read."""

  reads = 0

  def __getitem__(self, index):
    self.reads += 1
    return super().__getitem__(index)


@pytest.fixture
def source():
  """Ten random images of 12 x 9 pixels, 324 bytes each."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (10, 12, 9, 3), np.uint8)
  files = [cv2.imencode(".png", x)[1].tobytes() for x in images]
  return Counted(dict(image=x, label=i) for i, x in enumerate(files))


def read(pictures, index):
  picture, label = pictures.read(index)
  return picture.cut((1, 2, 3, 4)), label


@pytest.mark.parametrize(
  ("limit", "reads"), [(0, 20), (3240, 10), (3239, 20), (10**9, 10)]
)
def test_all_pictures_stay_decoded_or_none(source, limit, reads):
  expected = [read(Pictures(source, 3), i) for i in range(10)]
  pictures = Pictures(source, 3, limit)
  source.reads = 0
  for _ in range(2):
    for i, (image, label) in enumerate(expected):
      found = read(pictures, i)
      np.testing.assert_array_equal(found[0], image)
      assert found[1] == label == i
  assert source.reads == reads


def test_what_is_unreadable_is_read_again(source):
  source[3]["image"] = source[3]["image"][:50]
  pictures = Pictures(source, 3, 10**9)
  for _ in range(2):
    with pytest.raises(ValueError, match="not a readable image"):
      read(pictures, 3)


def test_a_worker_keeps_its_own(source):
  pictures = Pictures(source, 3, 10**9)
  size = len(pickle.dumps(pictures))
  for i in range(10):
    pictures.read(i)
  assert len(pickle.dumps(pictures)) == size
  copy = pickle.loads(pickle.dumps(pictures))
  np.testing.assert_array_equal(read(copy, 4)[0], read(pictures, 4)[0])


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("slots", [None, 2])
def test_threads_write_the_same_batch(source, threads, slots):
  data = pipeline.Data(source="x", size=(6, 7), label_slots=slots)
  rows = pipeline.make_train_rows(data, 3, source, seed=1)
  one, several = (
    Batches(rows, 9, 32, range(0, 32, 3), count, start_step=4)
    for count in (1, threads)
  )
  assert len(one) == 5
  expected, found = one[2], several[2]
  assert expected.keys() == found.keys()
  for name, x in expected.items():
    np.testing.assert_array_equal(found[name], x, strict=True)
  assert found["image"].shape == (11, 6, 7, 3)
  # And a row alone.
  alone = rows[6 * 32 + 3]
  for name, x in alone.items():
    np.testing.assert_array_equal(x, found[name][1])


def test_an_error_in_a_thread_is_raised(source):
  data = dataclasses.replace(pipeline.Data(source="x", size=8), label_slots=1)
  source[5]["label"] = [1, 2]
  rows = pipeline.make_train_rows(data, 3, source, seed=1)
  with pytest.raises(ValueError, match="2 labels.*label_slots=1"):
    Batches(rows, 9, 64, range(64), 2)[0]
