# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of photographs as people have them."""

import functools
import os
import sys
import unicodedata

import numpy as np
import pillow_heif
import pytest
from etils import epath
from PIL import Image

from vit_jax.data import folder, formats, held_out
from vit_jax.data.folder_names import find_split, is_system
from vit_jax.data.info import DataError
from vit_jax.data.transforms import decode


def make(root, *names, count=3, suffix="png"):
  """Some images in each of the folders."""
  for value, name in enumerate(names):
    place = root / name
    place.mkdir(parents=True, exist_ok=True)
    for i in range(count):
      image = np.full((6, 5, 3), (40 * value + i) % 256, np.uint8)
      Image.fromarray(image).save(place / f"{i}.{suffix}")
  return root


def load(path):
  folder.load_folder.cache_clear()  # Of a command of its own.
  return folder.load_folder(str(path))


def count(path):
  """Class -> images, of each split."""
  found = load(path)
  return {
    split: dict(
      zip(found.info.class_names, found.count_classes(split), strict=True)
    )
    for split in found.splits
  }


@pytest.mark.parametrize(
  "train, test",
  [
    ("train", "test"),
    ("Training", "Testing"),
    ("TRAIN", "VAL"),
    ("train2017", "val2017"),
    ("photos_train", "photos_valid"),
    ("train-images", "validation-images"),
    ("petsTrain", "petsDev"),
    ("1. training set", "2. dev set"),
  ],
)
@pytest.mark.parametrize("by_class", [False, True])
def test_names_of_splits(tmp_path, train, test, by_class):
  for label, number in (("cat", 3), ("dog", 4)):
    for split, more in ((train, 0), (test, 2)):
      parts = (label, split) if by_class else (split, label)
      make(tmp_path, "/".join(parts), count=number + more)
  found = count(tmp_path)
  assert found["train"] == {"cat": 3, "dog": 4}
  assert found["test"] == {"cat": 5, "dog": 6}
  assert load(tmp_path).info.held_out == ()


def test_words_that_only_contain_a_split_are_none():
  for name in ("pretrain", "contest", "valley", "device", "Stall", "trains"):
    assert find_split(name) is None
  assert find_split("train_test") is None  # Both.


def test_images_of_three_splits_and_what_is_beside_them(tmp_path):
  for split in ("train", "dev", "Testing"):
    make(tmp_path, f"{split}/a", f"{split}/b")
  make(tmp_path, "extra/a", count=2)
  Image.new("RGB", (4, 4)).save(tmp_path / "overview.jpg")
  found = load(tmp_path)
  assert count(tmp_path) == {
    split: {"a": 3, "b": 3} for split in ("train", "validation", "test")
  }
  text = found.describe()
  assert "not a split: extra/ (2 images)" in text
  assert "(1 image)" in text and "train 3, validation 3, test 3" in text


def test_a_test_folder_without_classes_is_left_out(tmp_path):
  make(tmp_path, "train/a", "train/b", count=10)
  make(tmp_path, "test", count=4)
  found = load(tmp_path)
  assert count(tmp_path) == {
    "train": {"a": 9, "b": 9},
    "test": {"a": 1, "b": 1},
  }
  assert "in no class folder: test/ (4 images)" in found.describe()
  assert all(name.startswith("train/") for name in found.info.held_out)


@pytest.mark.parametrize("kind", ["train", "Test", "dev"])
def test_a_class_may_be_called_as_a_split(tmp_path, kind):
  make(tmp_path, "bus", kind, "ship")
  assert load(tmp_path).info.class_names == tuple(sorted(("bus", kind, "ship")))
  assert f"{kind}/ is a class" in load(tmp_path).describe()
  # Or its name may have such a word.
  make(tmp_path, "training shoes")
  assert "training shoes" in load(tmp_path).info.class_names


def test_what_can_be_read_in_two_ways_is_refused_with_both(tmp_path):
  one = make(tmp_path / "one", "train/steam", "train/diesel", "bus", "ship")
  with pytest.raises(DataError) as caught:
    load(one)
  for part in ("two ways", "steam", "#train+bus", f"folder:{one}/train"):
    assert part in str(caught.value)
  named = load(f"{one}#train+bus+ship")
  assert named.info.class_names == ("bus", "ship", "train")
  assert load(one / "train").info.class_names == ("diesel", "steam")
  two = make(tmp_path / "two", "test/cat", "test/dog", "cat", "dog")
  with pytest.raises(DataError, match=r"test/ with folders.*two/train/CLASS"):
    load(two)
  three = make(tmp_path / "three", "val/cat", "val/dog")
  with pytest.raises(DataError, match="no folder for training"):
    load(three)
  four = make(tmp_path / "four", "train/a", "training/b", "test/a")
  with pytest.raises(DataError, match="2 folders.*train, training"):
    load(four)
  five = make(tmp_path / "five", "cats_train", "cats_test", "dogs_train")
  with pytest.raises(DataError, match="cats_test, cats_train.*named after"):
    load(five)


def test_the_same_folders_in_every_class_are_refused(tmp_path):
  names = [f"{fold}/{label}" for fold in ("A", "B") for label in ("cat", "dog")]
  make(tmp_path, *names)
  with pytest.raises(DataError) as caught:
    load(tmp_path)
  for part in ("2 folders, A, B", "cat, dog", "rename it to train", "#A+B"):
    assert part in str(caught.value)
  assert load(f"{tmp_path}#A+B").info.class_names == ("A", "B")
  # One folder alone in each is how some sets are arranged.
  make(tmp_path / "tiny", "train/a/images", "train/b/images", "val/a", "val/b")
  assert count(tmp_path / "tiny")["train"] == {"a": 3, "b": 3}
  # Below a split, too.
  nested = [f"train/2020/{x}" for x in "ab"] + [f"train/2021/{x}" for x in "ab"]
  make(tmp_path / "deep", *nested, "test/2020/a")
  with pytest.raises(DataError, match="2020, 2021.*which are the classes"):
    load(tmp_path / "deep")


def test_a_folder_around_the_classes_is_named(tmp_path):
  make(tmp_path, "photos/cat", "photos/dog")
  with pytest.raises(
    DataError, match=rf"did you mean folder:{tmp_path}/photos"
  ):
    load(tmp_path)


SYSTEMS = (
  *(".git", ".svn", ".Trashes", ".thumbnails", ".@__thumb", ".AppleDouble"),
  *("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "CVS"),
  *("System Volume Information", "@Recycle", "RECYCLER", "Temporary Items"),
)


def test_what_systems_leave_is_neither_class_nor_image(tmp_path):
  make(tmp_path, "cat", "dog")
  make(tmp_path, *SYSTEMS, *(f"cat/{name}" for name in SYSTEMS))
  for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "Icon\r", "._0.png"):
    (tmp_path / "dog" / name).write_bytes(b"\0\5\26\7")
  found = load(tmp_path)
  assert count(tmp_path) == {
    "train": {"cat": 2, "dog": 2},
    "test": {"cat": 1, "dog": 1},
  }
  assert not found.other and not found.bad
  assert not is_system("system") and not is_system("@anna")


@pytest.mark.parametrize("by_split", [False, True])
def test_every_format_that_is_decoded_is_found(tmp_path, by_split):
  names = {
    **dict.fromkeys(("jpg", "JPEG", "jpe", "jfif"), "JPEG"),
    **dict.fromkeys(("png", "PNG"), "PNG"),
    **dict.fromkeys(("tif", "TIFF"), "TIFF"),
    **dict(webp="WEBP", gif="GIF", bmp="BMP", ppm="PPM", jp2="JPEG2000"),
  }
  if "AVIF" in formats.find_formats():
    names["avif"] = "AVIF"
  root = tmp_path / "train" if by_split else tmp_path
  for label in "ab":
    (root / label).mkdir(parents=True)
    for suffix, name in names.items():
      with (root / label / f"{suffix}.{suffix}").open("wb") as file:
        Image.new("RGB", (16, 16), (9, 99, 199)).save(file, name)
  found = load(tmp_path)
  assert not found.bad and not found.other
  files = [x["name"] for split in found.splits.values() for x in split]
  assert len(files) == 2 * len(names)
  for split in found.splits.values():
    for example in split:
      error = np.abs(decode(example["image"], 3) - np.float32([9, 99, 199]))
      assert error.max() < 12, example["name"]  # JPEG, and GIF's palette.


# The first bytes of a HEIC file, whatever follows.
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"


def test_heic_is_read(tmp_path):
  colour = np.float32([9, 99, 199])
  picture = Image.fromarray(np.full((24, 40, 3), colour, np.uint8))
  for label in "ab":
    (tmp_path / label).mkdir()
    for i in range(5):
      pillow_heif.from_pillow(picture).save(tmp_path / label / f"IMG_{i}.HEIC")
  found = load(tmp_path)
  assert not found.bad
  example = found.splits["train"][0]
  pixels = decode(example["image"], 3)
  assert pixels.shape == (24, 40, 3)
  assert np.abs(pixels - colour).max() < 4  # HEIC loses a little.


def test_where_heic_is_not_read_the_message_says_what_to_do(
  tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "pillow_heif", None)  # Not installed.
  monkeypatch.setattr(
    formats, "find_formats", functools.cache(formats.find_formats.__wrapped__)
  )
  make(tmp_path, "cat", "dog")
  for i in range(5):
    (tmp_path / "cat" / f"IMG_{i}.HEIC").write_bytes(HEIC)
  (tmp_path / "dog" / "copy.jpg").write_bytes(HEIC)  # As some phones name it.
  (tmp_path / "dog" / "a.dng").write_bytes(b"raw")
  found = load(tmp_path)
  assert len(found.bad) == 6
  text = found.describe()
  assert "left out, 6 files: HEIC needs: pip install 'vit_jax[heic]'" in text
  assert "1 .dng" in text
  make(tmp_path / "phone", "a", "b", count=0)
  for label in "ab":
    (tmp_path / "phone" / label / "1.heic").write_bytes(HEIC)
  with pytest.raises(DataError, match=r"images of 0 classes(.|\n)*\[heic\]"):
    load(tmp_path / "phone")


def test_classes_that_lack_images_are_named(tmp_path):
  make(tmp_path, "train/a", "train/b", "train/c", "test/a", "test/b")
  (tmp_path / "train" / "d").mkdir()
  (tmp_path / "train" / "d" / "broken.jpg").write_bytes(b"")
  for name in ("train/e", "test/b/docs", "more/of/it"):
    (tmp_path / name).mkdir(parents=True)
  (tmp_path / "train" / "e" / "why.txt").touch()
  text = load(tmp_path).describe()
  assert "no image in test: c" in text
  assert "left out, without images: more/of/it/, test/b/docs/, train/e/" in text
  assert "no readable image of: d" in text
  make(tmp_path, "test/Aa")
  with pytest.raises(DataError, match="'Aa'; did you mean 'a'"):
    load(tmp_path)


def test_a_tenth_of_each_class_and_never_its_only_image(tmp_path):
  sizes = {"one": 1, "two": 2, "nine": 9, "many": 47}
  for name, number in sizes.items():
    make(tmp_path, name, count=number)
  found = count(tmp_path)
  assert found["test"] == {"one": 0, "two": 1, "nine": 1, "many": 5}
  assert {k: found["train"][k] + found["test"][k] for k in sizes} == sizes
  assert "no image in test: one" in load(tmp_path).describe()
  # The same on every machine: these are written down, not computed.
  names = [f"cat/{i:02d}.jpg" for i in range(40)]
  chosen = held_out.choose_held_out({"cat": names[::-1]})
  assert sorted(chosen) == [f"cat/{i:02d}.jpg" for i in CHOSEN]


CHOSEN = (0, 28, 33, 35)


def test_names_of_a_mac_are_those_of_others(tmp_path):
  composed = unicodedata.normalize("NFC", "café")
  apart = unicodedata.normalize("NFD", "café")
  make(tmp_path / "here", composed, "tea", count=30)
  make(tmp_path / "mac", apart, "tea", count=30)
  here, mac = load(tmp_path / "here"), load(tmp_path / "mac")
  assert here.info.class_names == mac.info.class_names == (composed, "tea")
  assert here.facts == mac.facts
  normal = [unicodedata.normalize("NFC", x) for x in mac.info.held_out]
  assert normal == list(here.info.held_out)
  # Beside one another they are one class, and it is said.
  make(tmp_path / "both", f"train/{composed}", f"test/{apart}", "train/tea")
  make(tmp_path / "both", "test/tea")
  assert count(tmp_path / "both")["test"] == {composed: 3, "tea": 3}
  assert r"'cafe\u0301', 'caf\xe9'" in load(tmp_path / "both").describe()


def test_names_that_are_not_utf_8_and_odd_ones(tmp_path):
  names = [b"caf\xe9", b"a, b", b"plus+hash#", b"  two  spaces"]
  for name in names:
    make(tmp_path, os.fsdecode(name), count=10)
    place = os.path.join(os.fsencode(tmp_path), name)
    os.rename(os.path.join(place, b"0.png"), os.path.join(place, b"\xff.png"))
  found = load(tmp_path)
  text = found.describe()
  assert "caf\\xe9 is a class whose folder's name is not UTF-8" in text
  text.encode()  # It can be printed everywhere.
  assert set(found.info.class_names) == {
    *("caf\\xe9", "a, b", "plus+hash#", "  two  spaces")
  }
  for split in found.splits.values():
    for example in split:
      assert len(example["image"]) > 50
  workdir = epath.Path(tmp_path / "run")
  workdir.mkdir()
  held_out.write_held_out(workdir, found.info)
  lines = (workdir / "held_out.txt").read_bytes().splitlines()
  assert [os.fsdecode(line) for line in lines] == list(found.info.held_out)
  assert len(lines) == 4


def test_classes_that_differ_in_case_alone_are_named(tmp_path):
  make(tmp_path, "Cat", "cat", "dog")
  assert "'Cat', 'cat' are classes of their own" in load(tmp_path).describe()
