# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet from archives and folders, and everything that may be wrong."""

import dataclasses
import hashlib
import io
import shutil

import pytest

from tests.support import fakes
from vit_jax.data import sources
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import imagenet, writing

SYNSETS = fakes.SYNSETS


@pytest.fixture
def progress():
  return Progress(stream=io.StringIO())


def write(source, data_dir, progress):
  return writing.write(
    source,
    str(data_dir),
    verify=True,
    max_unreadable=0.0,
    progress=progress,
  )


def load_2012(folder, facts, progress):
  return imagenet.load_imagenet2012(str(folder), progress, facts)


EXPECTED_TRAIN = sorted(
  (f"{synset}_{j}.JPEG", i, 80 * i + 5 * j)
  for i, (synset, n) in enumerate(zip(SYNSETS, (4, 3, 5), strict=True))
  for j in range(n)
)
EXPECTED_VAL = [
  (imagenet.VAL_NAME.format(n), label, 80 * label + 40)
  for n, label in enumerate((0, 2, 2, 1), 1)
]


def unpack_train(folder):
  for synset, files in fakes.make_train().items():
    (folder / "train" / synset).mkdir(parents=True)
    for name, data in files.items():
      (folder / "train" / synset / name).write_bytes(data)
  (folder / imagenet.TRAIN_TAR).unlink()


def unpack_val(folder, by_class):
  for (name, label, _), data in zip(
    EXPECTED_VAL, fakes.make_val(fakes.IDS).values(), strict=True
  ):
    place = folder / "val" / (SYNSETS[label] if by_class else "")
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)
  (folder / imagenet.VAL_TAR).unlink()


def test_imagenet2012(tmp_path, progress):
  """Archives, class folders, and a flat folder give the same bytes."""
  digests = set()
  for kind in ("archives", "folders", "flat"):
    folder, data = tmp_path / kind, tmp_path / f"{kind}_data"
    facts = fakes.write_imagenet2012(folder)
    if kind != "archives":
      unpack_train(folder)
      unpack_val(folder, kind == "folders")
    if kind == "folders":
      (folder / imagenet.DEVKIT).unlink()  # The folders say what is what.
    path = write(load_2012(folder, facts, progress), data, progress)
    assert fakes.read("imagenet2012", "train", data) == EXPECTED_TRAIN
    assert fakes.read("imagenet2012", "validation", data) == EXPECTED_VAL
    info = sources.load_info("tfds:imagenet2012", str(data))
    assert info.class_names == SYNSETS and info.channels == 3
    for shard in path.glob("*-of-*"):
      digests.add((shard.name, hashlib.sha256(shard.read_bytes()).hexdigest()))
  assert len(digests) == 2  # One file a split, the same three times.


def test_the_official_numbers():
  facts = imagenet.Ilsvrc()
  assert facts.num_classes == 1000
  assert (facts.train, facts.validation) == (1_281_167, 50_000)
  info = sources.load_info("tfds:imagenet2012", "/nowhere")
  assert info.count("train") == facts.train
  assert info.count("validation") == facts.validation
  fall11 = imagenet.Fall11()
  info = sources.load_info("tfds:imagenet21k", "/nowhere")
  assert info.num_classes == fall11.num_synsets + len(fall11.unused)
  assert info.count("train") == fall11.num_images


def test_all_that_is_missing_is_said_at_once(tmp_path, progress):
  with pytest.raises(DataError) as caught:
    load_2012(tmp_path, imagenet.Ilsvrc(), progress)
  message = str(caught.value)
  assert f"neither {tmp_path}/{imagenet.TRAIN_TAR} nor a folder" in message
  assert f"neither {tmp_path}/{imagenet.VAL_TAR} nor a folder" in message


def test_sizes_and_the_devkit_are_checked_before_anything_is_read(
  tmp_path, progress
):
  facts = fakes.write_imagenet2012(tmp_path)
  train = tmp_path / imagenet.TRAIN_TAR
  train.write_bytes(train.read_bytes()[:-512])
  val = tmp_path / imagenet.VAL_TAR
  val.write_bytes(val.read_bytes() + bytes(512))
  with pytest.raises(DataError) as caught:
    load_2012(tmp_path, facts, progress)
  message = str(caught.value)
  assert (
    f"{train} has {facts.train_bytes - 512:,} bytes, not "
    f"{facts.train_bytes:,}: its download is incomplete" in message
  )
  assert f"{val} has {facts.val_bytes + 512:,} bytes" in message
  fakes.write_imagenet2012(tmp_path)
  (tmp_path / imagenet.DEVKIT).unlink()
  with pytest.raises(DataError, match="there is no .*/ILSVRC2012_devkit"):
    load_2012(tmp_path, facts, progress)


def test_a_devkit_that_is_not_image_nets_is_not_opened(tmp_path, progress):
  facts = fakes.write_imagenet2012(tmp_path)
  path = tmp_path / imagenet.DEVKIT
  for data in (b"", path.read_bytes()[:-300], fakes.make_devkit((3, 1, 1, 4))):
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"whose SHA-256 is {'[0-9a-f]' * 64}:"):
      load_2012(tmp_path, facts, progress)


def test_training_and_validation_of_other_classes(tmp_path, progress):
  others = (*SYNSETS[:2], "n09999999")
  facts = fakes.write_imagenet2012(tmp_path, synsets=others)
  with pytest.raises(DataError, match="one of them has n01484850, n09999999"):
    load_2012(tmp_path, facts, progress)


def test_classes_and_images_are_counted(tmp_path, progress):
  facts = fakes.write_imagenet2012(tmp_path)
  unpack_train(tmp_path)
  unpack_val(tmp_path, by_class=False)
  shutil.rmtree(tmp_path / "train" / SYNSETS[2])
  with pytest.raises(DataError, match="2 classes, not 3"):
    load_2012(tmp_path, facts, progress)
  (tmp_path / "train" / SYNSETS[2]).mkdir()
  (tmp_path / "train" / SYNSETS[2] / "Thumbs.db").write_bytes(b"no image")
  name = imagenet.VAL_NAME.format(2)
  (tmp_path / "val" / name).rename(tmp_path / "val" / "dog.JPEG")
  with pytest.raises(DataError) as caught:
    load_2012(tmp_path, facts, progress)
  message = str(caught.value)
  assert (
    f"train has 7 images, not 12; the fewest, 0, are in "
    f"{tmp_path}/train/{SYNSETS[2]}" in message
  )
  assert f"validation lacks 1 image: {name}" in message
  assert "validation has 1 file with names unlike" in message


def test_an_archive_in_the_archive_that_is_cut_off(tmp_path, progress):
  facts = fakes.write_imagenet2012(tmp_path)
  path = tmp_path / imagenet.TRAIN_TAR
  inner = {
    f"{synset}.tar": fakes.make_tar(files)
    for synset, files in fakes.make_train().items()
  }
  inner[f"{SYNSETS[1]}.tar"] = inner[f"{SYNSETS[1]}.tar"][:700]
  path.write_bytes(fakes.make_tar(inner))
  facts = dataclasses.replace(facts, train_bytes=path.stat().st_size)
  with pytest.raises(DataError, match="ends within n01443537_0.JPEG"):
    load_2012(tmp_path, facts, progress)


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (bytes(10_240), "has no archives of classes"),
    (b"x" * 600, "is not a complete tar"),
  ],
)
def test_a_train_archive_of_something_else(data, message, tmp_path, progress):
  facts = fakes.write_imagenet2012(tmp_path)
  (tmp_path / imagenet.TRAIN_TAR).write_bytes(data)
  facts = dataclasses.replace(facts, train_bytes=len(data))
  with pytest.raises(DataError, match=message):
    load_2012(tmp_path, facts, progress)


@pytest.fixture
def synsets(tmp_path):
  """Two archives and a folder."""
  folder = tmp_path / "synsets"
  folder.mkdir()
  train = fakes.make_train()
  for synset in SYNSETS[:2]:
    tar = fakes.make_tar(train[synset])
    (folder / f"{synset}.tar").write_bytes(tar)
  (folder / SYNSETS[2]).mkdir()
  for name, data in train[SYNSETS[2]].items():
    (folder / SYNSETS[2] / name).write_bytes(data)
  return folder


def load_21k(folder, progress, **changes):
  facts = fakes.make_fall11(**changes)
  return imagenet.load_imagenet21k(str(folder), progress, facts)


def test_imagenet21k(synsets, tmp_path, progress):
  """Labels are rows of the published head, of which two have no image."""
  write(load_21k(synsets, progress), tmp_path / "data", progress)
  info = sources.load_info("tfds:imagenet21k", str(tmp_path / "data"))
  assert info.class_names == (
    "n01440764",
    "n01442000",
    "n01443537",
    "n01484850",
    "n09859684",
  )
  rows = (0, 2, 3)
  assert fakes.read("imagenet21k", "train", tmp_path / "data") == [
    (name, rows[label], value) for name, label, value in EXPECTED_TRAIN
  ]
  assert "note:" not in progress._stream.getvalue()


def test_imagenet21k_with_another_number_of_images_is_noted(synsets, progress):
  load_21k(synsets, progress, num_images=13)
  assert "found 12 images; image-net.org counted 13" in (
    progress._stream.getvalue()
  )


def test_imagenet21k_of_other_synsets(synsets, progress):
  with pytest.raises(DataError) as caught:
    load_21k(synsets, progress, num_synsets=4, winter21=3)
  message = str(caught.value)
  assert "has 3 synsets, where 4 are needed" in message
  assert "winter 2021" in message
  assert f"prepare folder:{synsets} --name=NAME" in message
  with pytest.raises(DataError) as caught:
    load_21k(synsets, progress, num_synsets=4)
  assert "winter" not in str(caught.value)
  with pytest.raises(DataError, match="not all are of the fall 2011 release"):
    load_21k(synsets, progress, sha256="0" * 64)


def test_imagenet21k_that_is_not_unpacked_or_elsewhere(synsets, progress):
  with pytest.raises(DataError, match=f"give --manual_dir={synsets}"):
    load_21k(synsets.parent, progress)
  with pytest.raises(DataError, match="there is no such folder"):
    load_21k(synsets / "x", progress)
  outer = synsets.parent / "outer"
  outer.mkdir()
  (outer / "winter21_whole.tar.gz").write_bytes(b"")
  with pytest.raises(DataError) as caught:
    load_21k(outer, progress)
  path = outer / "winter21_whole.tar.gz"
  assert f"unpack it with: tar -xf {path} -C {outer}" in str(caught.value)


def test_imagenet21k_names_every_archive_that_is_broken(synsets, progress):
  for synset, size in zip(SYNSETS[:2], (0, 700), strict=True):
    path = synsets / f"{synset}.tar"
    path.write_bytes(path.read_bytes()[:size])
  shutil.rmtree(synsets / SYNSETS[2])
  (synsets / SYNSETS[2]).mkdir()
  with pytest.raises(DataError) as caught:
    load_21k(synsets, progress)
  message = str(caught.value)
  assert f"{synsets / SYNSETS[0]}.tar is not a complete tar: " in message
  assert f"{synsets / SYNSETS[1]}.tar is not a complete tar: the tar" in message
  assert f"{synsets / SYNSETS[2]} has no image" in message
