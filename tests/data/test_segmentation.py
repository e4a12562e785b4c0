# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images and masks: what is read, refused, cropped and mirrored."""

import jax
import numpy as np
import pytest
from PIL import Image

from tests.support.masks import CLASSES, draw_shape, make_shapes, save_pair
from vit_jax.data import sources
from vit_jax.data.augment import Augment, make_augment
from vit_jax.data.info import DataError
from vit_jax.data.masks import UNLABELLED, Mask, cut_mask, decode_mask
from vit_jax.data.pipeline import Data, make_eval_dataset, make_train_rows

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
  return make_shapes(tmp_path_factory.mktemp("shapes"), train=6, validation=3)


def test_what_is_found(shapes):
  source = f"segmentation:{shapes}"
  info = sources.load_info(source)
  assert (info.num_classes, info.class_names) == (3, CLASSES)
  assert (info.count("train"), info.count("validation")) == (6, 3)
  assert "3 classes, images: train 6, val" in sources.describe_source(source)
  again = sources.compute_fingerprint(source, ["train[:50%]"], None)
  assert again["train examples"] == 6 and len(again) == 4
  examples = sources.open_source(source, "train[:4]")
  assert len(examples) == 4
  # Palettes and greys are numbers.
  for example in examples:
    mask = example["label"].decode()
    assert set(np.unique(mask)) == {0, 1, 2, UNLABELLED}
    name = example["name"].replace("images", "masks")
    np.testing.assert_array_equal(mask, np.asarray(Image.open(name)))


def test_classes_without_names_are_counted(tmp_path):
  mask = np.array([[0, 4], [255, 1]], np.uint8)
  save_pair(tmp_path / "train", "a", np.zeros((2, 2, 3), np.uint8), mask)
  (tmp_path / "train/masks/b.png").write_bytes(b"alone")
  info = sources.load_info(f"segmentation:{tmp_path}")
  assert info.class_names == ("0", "1", "2", "3", "4")
  described = sources.describe_source(f"segmentation:{tmp_path}")
  assert "left out: 1 mask without an image" in described


def test_the_nearest_neighbour():
  """The class at the centre of each pixel, by hand."""
  mask = RNG.integers(0, 9, (13, 17)).astype(np.uint8)
  for box in (None, (2, 3, 7, 11)):
    top, left, height, width = box or (0, 0, 13, 17)
    out = np.empty((5, 23), np.uint8)
    cut_mask(mask, box, out)
    for y in range(5):
      for x in range(23):
        row = top + int((y + 0.5) * height / 5)
        column = left + int((x + 0.5) * width / 23)
        assert out[y, x] == mask[row, column]
  same = np.empty_like(mask)
  cut_mask(mask, None, same)
  np.testing.assert_array_equal(same, mask)


@pytest.mark.parametrize("crop", ["random_resized", "none"])
def test_masks_are_cropped_and_mirrored_with_their_images(tmp_path, crop):
  """A mask that is a channel of its image still is, but for interpolation."""
  y, x = np.mgrid[:90, :120].astype(np.uint8)
  for name, mask in (("rows", y), ("columns", x)):
    image = np.stack([mask, y, x], axis=-1)
    save_pair(tmp_path / "train", name, image, mask, palette=False)
  data = Data(
    source=f"segmentation:{tmp_path}", size=(150, 160), crop=crop, threads=1
  )
  rows = make_train_rows(data, 3, data.open("train"), seed=0)
  batch = rows.make_batch(8)
  for row in range(8):
    rows.write(row, batch, row)
  augment = jax.jit(make_augment(Augment(flip=True), lambda label: label))
  given = {x: batch[x] for x in ("image", "label", "mask", "segmentation")}
  found = augment(given, jax.random.key(0))
  image = (np.asarray(found["image"])[..., 0] + 1) * 127.5
  mask = np.asarray(found["segmentation"]).astype(np.float32)
  assert mask.shape == (8, 150, 160) and mask.max() > 80
  # Half a pixel of the file, whose neighbours differ by 1, and its rounding.
  assert np.abs(image - mask).max() <= 1.01
  mirrored = (mask != batch["segmentation"]).any(axis=(1, 2))
  assert 0 < mirrored.sum() < 8
  boxes = {x.tobytes() for x in batch["segmentation"]}
  assert len(boxes) == (8 if crop != "none" else 2)


def test_evaluation_sees_each_mask_once(shapes):
  data = Data(source=f"segmentation:{shapes}", size=16, threads=1)
  source = data.open("validation")
  (batch,) = make_eval_dataset(data, 3, source, batch_size=4, rows=range(4))
  for example, found in zip(source, batch["segmentation"], strict=False):
    expected = np.empty((16, 16), np.uint8)
    cut_mask(example["label"].decode(), None, expected)
    np.testing.assert_array_equal(found, expected)
  assert (batch["segmentation"][3] == UNLABELLED).all()
  assert batch["mask"].tolist() == [True] * 3 + [False]


def lose(root):
  (root / "train/masks/001.png").unlink()


def shrink(root):
  Image.new("L", (9, 8)).save(root / "train/masks/002.png")


def repeat(root):
  Image.new("RGB", (9, 8)).save(root / "train/images/000.jpg")


def damage(root):
  (root / "train/masks/000.png").write_bytes(b"no picture")


def name_one(root):
  (root / "classes.txt").write_text("all\n")


def skip_a_line(root):
  (root / "classes.txt").write_text("ground\n\nsquare\ndisc\n")


def name_two(root):
  (root / "classes.txt").write_text("ground\nsquare\n")


def colour(root):
  Image.new("RGB", (40, 40)).save(root / "validation/masks/000.png")


def mark_with_255(root):
  for path in (root / "train/masks").iterdir():
    mask = np.asarray(Image.open(path))
    Image.fromarray(255 * (mask > 0).astype(np.uint8)).save(path)


def empty(root):
  for path in (root / "train/images").iterdir():
    path.unlink()


@pytest.mark.parametrize(
  "spoil, message",
  [
    (lose, r"there is no mask .*train.masks.001\.png"),
    (shrink, r"002\.png is 9x8 px, and its image 40x40: a mask has the size"),
    (repeat, "has 2 images 000: one mask is for one"),
    (damage, r"000\.png: not a readable PNG"),
    (name_one, "has 1 class, and 2 to 255 can be told apart: name them in"),
    (skip_a_line, r"classes\.txt: line 2 is empty, and the number of a class"),
    (name_two, r"000\.png has the class 2, and there are 2, 0 to 1, and 255"),
    (colour, r"000\.png: its pixels are RGB of 8 bits"),
    (mark_with_255, "masks of train have one class 0, ground, beside 255"),
    (empty, r"no images to train on: arrange them as .*NAME\.jpg"),
  ],
)
def test_what_is_wrong_with_a_folder(tmp_path, spoil, message):
  make_shapes(tmp_path, train=3, validation=1)
  spoil(tmp_path)
  with pytest.raises(DataError, match=message):
    sources.load_info(f"segmentation:{tmp_path}")


def test_classes_that_no_pixel_has_are_said(tmp_path):
  make_shapes(tmp_path, train=1, validation=1)
  (tmp_path / "classes.txt").write_text("ground\nsquare\ndisc\ncat\ndog\n\n")
  described = sources.describe_source(f"segmentation:{tmp_path}")
  assert "5 classes" in described
  assert "no pixel of train has: cat, dog" in described


@pytest.mark.parametrize(
  "mode, message",
  [
    ("RGB", "RGB of 8 bits, and those of a mask are class numbers"),
    ("I;16", "I;16 of 16 bits"),
    ("LA", "LA of 8 bits"),
  ],
)
def test_colours_are_no_classes(tmp_path, mode, message):
  path = tmp_path / "a.png"
  Image.new(mode, (4, 4)).save(path)
  with pytest.raises(DataError, match=f"a.png: its pixels are {message}"):
    Mask(path.read_bytes(), str(path), 3).decode()


def test_two_classes_as_one_bit(tmp_path):
  _, mask = draw_shape(RNG, 20, 20)
  Image.fromarray(mask > 0).save(tmp_path / "a.png")
  png = (tmp_path / "a.png").read_bytes()
  np.testing.assert_array_equal(decode_mask(png), mask > 0)
  with pytest.raises(ValueError, match="not a readable PNG"):
    decode_mask(png[:50])
