# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of one image in a folder are found before anything is trained."""

import os

import pytest

from tests.support import fakes
from tests.support.masks import make_shapes
from vit_jax.data import copies, folder, segmentation


def write(root, names):
  """Images by path; those of one number are copies."""
  for name, number in names.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(fakes.make_jpeg(number))


def find_warnings(root):
  folder.load_folder.cache_clear()
  lines = folder.load_folder(str(root)).describe().splitlines()
  return [x.replace(f"{root}/", "") for x in lines if x.startswith("warning")]


@pytest.fixture
def names():
  """Ten images of each of two classes to train on, and two to test."""
  return {
    f"{split}/{name}/{i}.jpg": 1 + 40 * label + 20 * (split == "test") + i
    for split, count in (("train", 10), ("test", 2))
    for label, name in enumerate(("cat", "dog"))
    for i in range(count)
  }


def test_without_copies_nothing_is_said(tmp_path, names):
  write(tmp_path, names)
  # Files of one size are no copies.
  sizes = {os.path.getsize(tmp_path / name) for name in names}
  assert len(sizes) < len(names)
  assert find_warnings(tmp_path) == []


def test_test_images_that_are_trained_on(tmp_path, names):
  names["test/cat/0.jpg"] = names["train/cat/3.jpg"]
  write(tmp_path, names)
  (found,) = find_warnings(tmp_path)
  assert found == (
    "warning: of 4 images of test 1 is a copy of training images, so that the "
    "accuracy is not of unseen ones: test/cat/0.jpg is train/cat/3.jpg; remove "
    "one of each"
  )
  names["test/cat/1.jpg"] = names["train/cat/4.jpg"]
  names["test/cat/copy.jpg"] = names["train/cat/4.jpg"]
  write(tmp_path, names)
  (found,) = find_warnings(tmp_path)
  assert found.startswith("warning: of 5 images of test 3 are copies of train")


def test_an_image_of_two_classes(tmp_path, names):
  names["train/dog/9.jpg"] = names["train/cat/9.jpg"]
  write(tmp_path, names)
  (found,) = find_warnings(tmp_path)
  assert found == (
    "warning: 1 image is of two classes: train/cat/9.jpg is train/dog/9.jpg; "
    "remove the wrong one"
  )


def test_what_is_held_out_is_compared_too(tmp_path, names):
  write(tmp_path, {x.removeprefix("train/"): 7 for x in names if "train" in x})
  both = find_warnings(tmp_path)
  assert [x.partition(":")[2].split()[0] for x in both] == ["of", "1"]
  assert "of 2 images of test 2 are copies" in both[0]


def test_a_name_that_is_no_text_can_be_shown(tmp_path, names):
  odd = os.fsdecode(b"train/cat/caf\xe9.jpg")
  names[odd] = names["train/dog/9.jpg"]
  write(tmp_path, names)
  (found,) = find_warnings(tmp_path)
  assert "train/cat/caf\\xe9.jpg is train/dog/9.jpg;" in found


def test_a_name_does_not_act_on_the_terminal(tmp_path, names):
  names["train/cat/\x1b[2J\n.jpg"] = names["train/dog/9.jpg"]
  write(tmp_path, names)
  (tmp_path / "train/cat/\x1b[1A.jpg").touch()
  (found,) = find_warnings(tmp_path)
  assert "train/cat/\\x1b[2J\\n.jpg is train/dog/9.jpg;" in found
  text = folder.load_folder(str(tmp_path)).describe()
  assert "train/cat/\\x1b[1A.jpg" in text and "\x1b" not in text


def test_copies_in_one_split_and_class_are_left_alone(tmp_path, names):
  names["train/cat/8.jpg"] = names["train/cat/9.jpg"]
  write(tmp_path, names)
  assert find_warnings(tmp_path) == []


def test_what_takes_long_is_not_looked_for(tmp_path, names, monkeypatch):
  names["test/cat/0.jpg"] = names["train/cat/3.jpg"]
  write(tmp_path, names)
  monkeypatch.setattr(copies, "MOST", 1)
  assert find_warnings(tmp_path) == []
  monkeypatch.undo()
  monkeypatch.setattr(copies, "MOST_BYTES", 100)
  assert find_warnings(tmp_path) == []


def test_files_that_vanish_are_no_copies(tmp_path, names):
  names["test/cat/0.jpg"] = names["train/cat/3.jpg"]
  write(tmp_path, names)
  folder.load_folder.cache_clear()
  found = folder.load_folder(str(tmp_path))
  (tmp_path / "test/cat/0.jpg").unlink()
  assert "warning" not in found.describe()


def test_images_of_masks_are_compared_too(tmp_path):
  make_shapes(tmp_path, size=(8, 8))
  found = [tmp_path / x / "images/000.png" for x in ("train", "validation")]
  segmentation.load_masked.cache_clear()
  assert "warning" not in segmentation.load_masked(str(tmp_path)).describe()
  found[1].write_bytes(found[0].read_bytes())
  segmentation.load_masked.cache_clear()
  text = segmentation.load_masked(str(tmp_path)).describe()
  assert "images of validation 1 is a copy of training images" in text
