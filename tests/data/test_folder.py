# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images, and synthetic images."""

import os

import cv2
import numpy as np
import pytest

from tests.support import build
from vit_jax.data import folder, held_out, sources, synthetic, transforms
from vit_jax.data.folder_files import find_files, inspect_file
from vit_jax.train import train


def write(path, value, size=(10, 12)):
  """An image of one colour."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.full((*size, 3), value, np.uint8)
  assert cv2.imwrite(str(path), image)


@pytest.fixture
def photos(tmp_path):
  """DIR/CLASS/: forty images each of two classes, and what else lies about."""
  for label, name in enumerate(["cat", "Dog"]):
    for i in range(40):
      suffix = (".jpg", ".JPEG", ".png", ".WebP")[i % 4]
      # OpenCV knows suffixes in small letters alone.
      write(tmp_path / name / f"{i:02d}{suffix.lower()}", 100 * label + i)
      path = tmp_path / name / f"{i:02d}{suffix.lower()}"
      path.rename(path.with_suffix(suffix))
  (tmp_path / "cat" / "readme.txt").write_text("hello")
  (tmp_path / "cat" / ".hidden.jpg").write_text("hello")
  (tmp_path / "cat" / "empty.png").write_bytes(b"")
  (tmp_path / "cat" / "text.jpg").write_text("I am no picture")
  (tmp_path / ".git" / "a").mkdir(parents=True)
  return tmp_path


def list_test_paths(photos):
  return {
    path for path, _ in folder.load_folder(str(photos)).splits["test"].items
  }


def test_class_folders_with_a_tenth_for_testing(photos):
  found = folder.load_folder(str(photos))
  assert found.info.class_names == ("Dog", "cat")
  assert found.info.channels == 3
  sizes = {name: len(x) for name, x in found.splits.items()}
  assert sum(sizes.values()) == 80 and set(sizes) == {"train", "test"}
  assert 2 <= sizes["test"] <= 16
  paths = [p for x in found.splits.values() for p, _ in x.items]
  assert len(set(paths)) == 80
  for examples in found.splits.values():
    names = [path.removeprefix(f"{photos}/") for path, _ in examples.items]
    assert names == sorted(names, key=held_out.hash_name)
    for i in range(len(examples)):
      example = examples[i]
      image = transforms.decode(example["image"], 3)
      # The pixel says which image it is.
      value, name = image.mean(), example["name"]
      assert example["label"] == (0 if "/Dog/" in name else 1)
      assert abs(value - int(name.split("/")[-1][:2])) % 100 < 3
  assert {(p.rsplit("/", 1)[1], why) for p, why in found.bad} == {
    ("empty.png", "empty"),
    ("text.jpg", "not an image"),
  }
  lines = found.describe().splitlines()
  assert "2 classes, images: train 72, test 8, held out" in lines[0]
  assert lines[1:] == [
    "  Dog  train 36, test 4",
    "  cat  train 36, test 4",
    "  left out, 1 file, by suffix: 1 .txt",
    "  left out, 1 file: empty",
    f"    {photos}/cat/empty.png",
    "  left out, 1 file: not an image",
    f"    {photos}/cat/text.jpg",
  ]


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "test"])
def test_folders_of_splits(tmp_path, name):
  for split, count in (("train", 3), (name, 2)):
    for label in ("a", "b"):
      for i in range(count):
        write(tmp_path / split / label / "deep" / f"{i}.png", i)
  found = folder.load_folder(str(tmp_path))
  sizes = {split: len(x) for split, x in found.splits.items()}
  expected = {"train": 6, "test": 4}
  if name != "test":
    expected["validation"] = 4
  assert sizes == expected
  assert not found.info.held_out


def test_parts_of_splits(photos):
  info = sources.load_info(f"folder:{photos}")
  whole = sources.open_source(f"folder:{photos}", "train")
  part = sources.open_source(f"folder:{photos}", "train[10:20]")
  assert part.items == whole.items[10:20]
  both = sources.open_source(f"folder:{photos}", "test+train[:50%]")
  assert len(both) == info.count("test") + info.count("train[:50%]")
  assert both[0]["name"] in list_test_paths(photos)


def test_a_part_of_a_split_has_some_of_each_class(photos):
  part = sources.open_source(f"folder:{photos}", "train[:25%]")
  counts = np.bincount([label for _, label in part.items])
  assert len(part) == 18 and counts.min() >= 5


def test_some_of_the_classes(tmp_path):
  for split in ("train", "test"):
    for value, label in enumerate("abc"):
      for i in range(3):
        write(tmp_path / split / label / f"{i}.png", value)
  source = f"folder:{tmp_path}#c+a"
  info = sources.load_info(source)
  assert info.class_names == ("a", "c") and info.count("train+test") == 12
  for split in ("train", "test"):
    examples = sources.open_source(source, split)
    assert {(x["label"], x["name"].split("/")[-2]) for x in examples} == {
      (0, "a"),
      (1, "c"),
    }
  # What is wrong with other classes is nobody's business.
  (tmp_path / "train" / "b" / "empty.png").write_bytes(b"")
  folder.load_folder.cache_clear()
  assert folder.load_folder(source.removeprefix("folder:")).bad == ()
  with pytest.raises(sources.DataError, match="no class 'd'"):
    sources.load_info(f"folder:{tmp_path}#a+d")
  with pytest.raises(sources.DataError, match="images of 1 class,"):
    sources.load_info(f"folder:{tmp_path}#a")
  # A folder whose name has that sign.
  sign = tmp_path / "one#two"
  (tmp_path / "train").rename(sign)
  assert sources.load_info(f"folder:{sign}").num_classes == 3
  assert sources.load_info(f"folder:{sign}#a+b").num_classes == 2


def test_what_is_no_folder_of_classes_is_explained(tmp_path):
  def load(path):
    folder.load_folder.cache_clear()
    return sources.load_info(f"folder:{path}")

  with pytest.raises(sources.DataError, match="there is no folder .*nowhere"):
    load(tmp_path / "nowhere")
  with pytest.raises(sources.DataError, match="images of 0 classes.*CLASS"):
    load(tmp_path)
  write(tmp_path / "a" / "1.png", 1)
  with pytest.raises(sources.DataError, match="images of 1 class,"):
    load(tmp_path)
  write(tmp_path / "loose.png", 1)
  with pytest.raises(sources.DataError, match="outside of class.*loose.png"):
    load(tmp_path)
  (tmp_path / "loose.png").unlink()
  write(tmp_path / "train" / "a" / "1.png", 1)
  write(tmp_path / "train" / "b" / "1.png", 1)
  write(tmp_path / "val" / "c" / "1.png", 1)
  with pytest.raises(sources.DataError, match="without training images: 'c'"):
    load(tmp_path)
  with pytest.raises(sources.DataError, match="tfds:NAME.*folder:DIR"):
    sources.load_info("photos:x")


def test_validation_images_that_are_the_test_images_are_counted_once(tmp_path):
  for split, count in (("train", 3), ("val", 2)):
    for label in "ab":
      for i in range(count):
        value = i + 10 * (label == "b") + 20 * (split == "val")
        write(tmp_path / split / label / f"{i}.png", value)
  found = folder.load_folder(str(tmp_path))
  assert len(found.splits["test"]) == len(found.splits["validation"]) == 4
  assert found.describe().splitlines() == [
    f"folder:{tmp_path}: 2 classes, images: train 6, validation 4, which are "
    f"the test images too",
    "  a  train 3, validation 2",
    "  b  train 3, validation 2",
  ]
  write(tmp_path / "test" / "a" / "0.png", 1)
  folder.load_folder.cache_clear()
  found = folder.load_folder(str(tmp_path))
  first = found.describe().splitlines()[0]
  assert first.endswith("images: train 6, validation 4, test 1")


def test_synthetic_images_are_functions_of_their_index():
  first = sources.open_source("synthetic:10", "train[100:200]")
  again = sources.open_source("synthetic:10", "train")
  assert len(first) == 100 and len(again) == 1_281_167
  assert first[7] == again[107]
  labels = [again[i]["label"] for i in range(2000)]
  assert set(labels) == set(range(10))
  assert np.bincount(labels).min() > 150
  image = transforms.decode(first[0]["image"], 3)
  assert image.shape == (256, 256, 3) and image.std() > 20
  assert synthetic.load_info("imagenet21k").num_classes == 21843
  with pytest.raises(sources.DataError, match="synthetic:1000"):
    sources.load_info("synthetic:many")


def test_a_run_on_a_folder(config, photos, tmp_path_factory, capsys):
  config["data"] |= dict(source=f"folder:{photos}", size=8)
  config["train"] |= dict(steps=2)
  config["evals"] = {"test": dict(split="test")}
  workdir = tmp_path_factory.mktemp("run")
  result = train(config, str(workdir))
  assert result["total"] == build(config).info.count("test")
  shown = capsys.readouterr().err
  assert "2 classes, images: train " in shown and "text.jpg" in shown
  lines = (workdir / "held_out.txt").read_text().splitlines()
  assert lines == list(folder.load_folder(str(photos)).info.held_out)
  assert len(lines) == 8 and all((photos / line).exists() for line in lines)


def test_a_run_of_another_rule_does_not_train_on_its_test_images(photos):
  """Until now those were held out whose hash ended in a certain digit."""
  source = f"folder:{photos}"
  now = sources.compute_fingerprint(source, ["train", "test"], None)
  before = {key: x for key, x in now.items() if not key.endswith("held out")}
  assert sources.describe_changes(before, now) == []
  before["train examples"] -= 1
  before["train names and sizes"] = "0" * 16
  lines = sources.describe_changes(before, now)
  assert len(lines) == 3 and "by another rule" in lines[-1]


def test_a_run_on_synthetic_images(config, tmp_path):
  config["data"] |= dict(source="synthetic:10", size=8)
  config["train"] |= dict(steps=2)
  assert train(config, str(tmp_path / "run"))["total"] == 40


def test_links_to_folders_above_are_no_endless_folders(photos):
  images = find_files(photos)
  for name in ("again", "once_more"):
    (photos / "cat" / name).symlink_to(photos)
  assert find_files(photos) == images
  # A folder elsewhere is followed: that is how a set is put together.
  (photos / "more").symlink_to(photos / "Dog")
  assert len(find_files(photos).files) == len(images[0]) + 40


def test_folders_that_link_to_one_another_are_no_endless_folders(tmp_path):
  for name, value in (("a", 10), ("b", 20)):
    write(tmp_path / "set" / name / "1.png", value)
    write(tmp_path / "outside" / name / "2.png", value)
  (tmp_path / "set" / "a" / "x").symlink_to("../b")
  (tmp_path / "set" / "b" / "y").symlink_to("../a")
  # Two that are outside, each a link away from the other.
  (tmp_path / "set" / "c").symlink_to(tmp_path / "outside" / "a")
  (tmp_path / "outside" / "a" / "z").symlink_to(tmp_path / "outside" / "b")
  (tmp_path / "outside" / "b" / "z").symlink_to(tmp_path / "outside" / "a")
  files, other, bad, _ = find_files(tmp_path / "set")
  assert (
    not other
    and not bad
    and files
    == [
      *("a/1.png", "a/x/1.png", "b/1.png", "b/y/1.png"),
      *("c/2.png", "c/z/2.png"),
    ]
  )


def test_a_pipe_and_a_huge_file_are_no_images(photos):
  os.mkfifo(photos / "cat" / "pipe.jpg")
  pipe = photos / "cat" / "pipe.jpg"
  assert inspect_file(str(pipe)) == (0, "not a regular file")
  huge = photos / "cat" / "huge.jpg"
  with open(huge, "wb") as file:
    file.write(b"\xff\xd8\xff")
    file.truncate(transforms.MAX_BYTES + 1)
  example = folder.read_labelled((str(huge), 0))
  assert example["image"] == b""  # Unreadable, as other such files.
