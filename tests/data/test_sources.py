# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import shutil
import sys

import numpy as np
import pytest
import sklearn.datasets
import tensorflow_datasets as tfds

from vit_jax.config import ConfigError
from vit_jax.data import sources, transforms
from vit_jax.data.info import DataError
from vit_jax.prepare.dataset import prepare_dataset


def read_all(split, data_dir):
  source = sources.open_source("tfds:digits", split, data_dir)
  examples = [source[i] for i in range(len(source))]
  images = [transforms.decode(e["image"], 1) for e in examples]
  return np.stack(images), np.array([e["label"] for e in examples])


def test_digits_are_scikit_learns(data_dir):
  """Every image once, exactly, with its label, stratified into the splits."""
  (train, y_train), (test, y_test) = (
    read_all(split, data_dir) for split in ("train", "test")
  )
  assert train.shape == (1437, 8, 8, 1) and test.shape == (360, 8, 8, 1)
  found = np.concatenate([train, test]).reshape(1797, 64).astype(float)
  rows = {
    (tuple(np.rint(r * 16 / 255)), y)
    for r, y in zip(found, [*y_train, *y_test], strict=True)
  }
  images, labels = sklearn.datasets.load_digits(return_X_y=True)
  assert rows == {(tuple(r), y) for r, y in zip(images, labels, strict=True)}
  assert len(rows) == 1797
  # The split is fixed: every fifth of the images in the order of their class.
  chosen = sorted(range(1797), key=lambda i: (labels[i], i))[::5]
  pictures = np.rint(test.reshape(360, 64) * 16.0 / 255)
  assert {tuple(p) for p in pictures} == {tuple(images[i]) for i in chosen}
  shares = np.bincount(y_test) / np.bincount(labels)
  assert shares.min() > 0.19 and shares.max() < 0.21


def test_info_of_a_prepared_set(data_dir):
  info = sources.load_info("tfds:digits", data_dir)
  assert (info.num_classes, info.channels) == (10, 1)
  assert info.class_names == tuple("0123456789")
  assert info.count("train") == 1437
  assert info.count("train[:80%]") == 1150
  assert info.count("train[:287]+train[574:]") == 1150


def test_info_of_a_set_that_is_elsewhere(tmp_path):
  info = sources.load_info("tfds:imagenet21k", str(tmp_path))
  assert info.directory is None
  assert info.num_classes == 21843
  assert info.count("train[51200:]") == 14_197_122 - 51_200


@pytest.mark.parametrize("split", ["train[:0%]", "train[90%:10%]", "test[:0]"])
def test_a_split_of_nothing_is_refused(split, data_dir):
  with pytest.raises(sources.DataError, match="no example in the split"):
    sources.load_info("tfds:digits", data_dir).count(split)


@pytest.mark.parametrize(
  ("split", "first"),
  [
    ("test+test[3:5]", 3),
    ("train+test[:10%]+test[5%:]", 18),
    ("test[9:]+test[:10]", 9),
  ],
)
def test_a_split_has_no_example_twice(split, first, data_dir):
  info = sources.load_info("tfds:digits", data_dir)
  with pytest.raises(sources.DataError, match=rf"from test\[{first}\] on"):
    info.count(split)
  assert info.count("test[9:]+test[:9]+test[4:4]") == 360


@pytest.mark.parametrize("split", ["tset", "train[:x]", "train[2000:]"])
def test_a_split_that_is_not_there_is_named(split, data_dir):
  with pytest.raises(sources.DataError, match="1,437") as caught:
    sources.open_source("tfds:digits", split, data_dir)
  assert repr(split) in str(caught.value)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("digits", "write tfds:NAME"),
    ("folder:/photos", "there is no folder /photos"),
    ("tfds:imagenet21k", "python -m vit_jax.prepare imagenet21k --manual_dir="),
    ("tfds:jft300m", "JFT-300M is not public"),
    ("tfds:cifar10", "python -m vit_jax.prepare cifar10"),
    ("tfds:digitz", "did you mean 'digits'?"),
    ("tfds:imagenet-1k", "did you mean 'imagenet2012'?"),
    ("tfds:svhn", "did you mean 'svhn_cropped'?"),
    ("tfds:nope", "unknown data set 'nope': choose from: "),
  ],
)
def test_missing_data_come_with_a_remedy(source, message, tmp_path):
  with pytest.raises(sources.DataError) as caught:
    sources.open_source(source, "train", str(tmp_path))
  assert message in str(caught.value)


def test_a_folder_without_its_kind_is_named(tmp_path):
  with pytest.raises(sources.DataError) as caught:
    sources.parse_source(str(tmp_path))
  assert str(caught.value).endswith(f"is a folder: write 'folder:{tmp_path}'")


def test_an_unknown_version_is_refused(tmp_path):
  with pytest.raises(sources.DataError, match="cifar10:9.9.9"):
    prepare_dataset("cifar10:9.9.9", str(tmp_path), None)


def test_an_unknown_set_is_answered_with_the_nearest(tmp_path):
  with pytest.raises(sources.DataError, match="did you mean 'cifar100'"):
    sources.make_builder("cifr100", str(tmp_path))


def test_the_newest_version_is_read(tmp_path):
  for version in ("1.0.0", "1.10.0", "1.9.0", "2.0.0"):
    (tmp_path / "set" / version).mkdir(parents=True)
    if version != "2.0.0":  # Left behind by a preparation that was cut short.
      (tmp_path / "set" / version / "dataset_info.json").write_text("{}")
  # And one that was killed just before it was complete.
  left = tmp_path / "set" / "3.0.0.incompleteABC"
  left.mkdir()
  (left / "dataset_info.json").write_text("{}")
  assert sources.find_directory("set", str(tmp_path)).name == "1.10.0"


def test_a_configuration_of_a_set_is_found(tmp_path):
  path = tmp_path / "set" / "easy" / "1.0.0"
  path.mkdir(parents=True)
  (path / "dataset_info.json").write_text("{}")
  assert str(sources.find_directory("set/easy", str(tmp_path))) == str(path)
  assert sources.find_directory("set", str(tmp_path)) is None


def test_a_set_that_is_not_in_array_record_is_refused(data_dir, tmp_path):
  module = sources.BUILDERS["digits"]
  import importlib

  builder = importlib.import_module(module).Builder(
    data_dir=tmp_path, file_format="array_record"
  )
  builder.download_and_prepare()
  info = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  with pytest.raises(sources.DataError, match="format tfrecord"):
    sources.open_source("tfds:digits", "train", str(tmp_path))


def test_a_place_that_can_not_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(sources.DataError, match="--config.data.dir=DIR"):
    where = str(tmp_path / "file")
    sources.prepare_embedded("tfds:digits", where, lambda _: None)
  with pytest.raises(ConfigError, match="--data_dir=.*is not a directory"):
    prepare_dataset("digits", str(tmp_path / "file"), None)


def test_the_sets_that_a_run_writes_are_those_that_are_embedded():
  assert sources.list_embedded("tfds:digits") == ["digits"]
  assert sources.list_embedded("tfds:cifar10") == []
  mixed = "mix:1*tfds:digits,2*synthetic:10"
  assert sources.list_embedded(mixed) == ["digits"]


def test_an_untrusted_set_imports_nothing(data_dir, tmp_path, monkeypatch):
  """TFDS imports the module of every class that features.json names."""
  directory = tmp_path / "digits" / "1.0.0"
  shutil.copytree(f"{data_dir}/digits/1.0.0", directory)
  (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
  monkeypatch.syspath_prepend(tmp_path)
  path = directory / "features.json"
  theirs = "tensorflow_datasets.core.features.image_feature.Image"
  path.write_text(path.read_text().replace(theirs, "trap.Image"))
  with pytest.raises(ValueError, match="Unrecognized"):
    tfds.builder_from_directory(str(directory))
  (tmp_path / "ran").unlink()  # It works; now it must not.
  sys.modules.pop("trap")
  for read in (
    sources.load_info,
    lambda *x: sources.open_source(x[0], "test", x[1]),
  ):
    with pytest.raises(DataError, match="import 'trap.Image', which can"):
      read("tfds:digits", str(tmp_path))
  assert not (tmp_path / "ran").exists()
