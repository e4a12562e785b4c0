# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is written: whole or not at all, the same bytes every time."""

import io
import json
import pathlib
import shutil

import pytest

from tests.support import fakes
from vit_jax.data import folder, sources
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import listing, writing
from vit_jax.prepare.dataset import load_folder


@pytest.fixture
def photos(tmp_path):
  """Two classes of twenty images in train/, of five in val/."""
  for split, number in (("train", 20), ("val", 5)):
    for label, name in enumerate(("cat", "dog")):
      place = tmp_path / "photos" / split / name
      place.mkdir(parents=True)
      for i in range(number):
        (place / f"{i}.jpg").write_bytes(fakes.make_jpeg(100 * label + 4 * i))
  return tmp_path / "photos"


def write(photos, data_dir, *, max_unreadable=0.0, shard_bytes=2000, **keys):
  """Writes a folder; returns the directory, and what was said."""
  stream = io.StringIO()
  progress = Progress(stream=stream)
  folder.load_folder.cache_clear()  # Of a command of its own.
  source = load_folder(str(photos), "photos", progress)
  path = writing.write(
    source,
    str(data_dir),
    verify=keys.pop("verify", True),
    max_unreadable=max_unreadable,
    progress=progress,
    shard_bytes=shard_bytes,
  )
  return pathlib.Path(path), stream.getvalue()


def read_files(directory):
  """name -> bytes of every file in a directory."""
  return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_every_image_is_there_once(photos, tmp_path):
  path, _ = write(photos, tmp_path / "data")
  for split, place, number in (
    ("train", "train", 20),
    ("validation", "val", 5),
    ("test", "val", 5),  # As data.source=folder: has it.
  ):
    assert fakes.read("photos", split, tmp_path / "data") == sorted(
      (f"{place}/{name}/{i}.jpg", label, 100 * label + 4 * i)
      for label, name in enumerate(("cat", "dog"))
      for i in range(number)
    )
  names = {x.name for x in path.iterdir()}
  shards = {name for name in names if "-of-" in name}
  assert "photos-train.array_record-00012-of-00013" in shards
  assert names - shards == {
    "dataset_info.json",
    "features.json",
    "label.labels.txt",
    "source.json",
  }
  info = sources.load_info("tfds:photos", str(tmp_path / "data"))
  assert info.class_names == ("cat", "dog")


def test_small_images_are_spread_over_files(photos, tmp_path, monkeypatch):
  monkeypatch.setattr(writing, "SHARD_IMAGES", 7)
  path, _ = write(photos, tmp_path / "data", shard_bytes=2**30)
  info = json.loads((path / "dataset_info.json").read_text())
  sizes = {x["name"]: list(map(int, x["shardLengths"])) for x in info["splits"]}
  assert sizes["train"] == [6, 7, 7, 6, 7, 7] and sizes["test"] == [5, 5]


def test_a_slice_is_a_fair_sample(photos, tmp_path):
  """Half of the images hold about half of each class, not one class."""
  write(photos, tmp_path / "data")
  labels = [
    label
    for _, label, _ in fakes.read("photos", "train[:50%]", tmp_path / "data")
  ]
  assert len(labels) == 20 and 5 <= sum(labels) <= 15


def test_the_same_source_gives_the_same_bytes(photos, tmp_path):
  first, _ = write(photos, tmp_path / "a")
  second, _ = write(photos, tmp_path / "b")
  assert read_files(first) == read_files(second)
  # And it is not written again.
  before = {x: x.stat().st_mtime_ns for x in first.iterdir()}
  assert write(photos, tmp_path / "a")[0] == first
  assert before == {x: x.stat().st_mtime_ns for x in first.iterdir()}


def test_nothing_half_written_looks_whole(photos, tmp_path):
  """And what is missing or damaged is written again, the rest is kept."""
  whole, _ = write(photos, tmp_path / "data")
  expected = read_files(whole)
  half = fail_after(photos, tmp_path / "other", shards=5)
  assert sources.find_directory("photos", str(tmp_path / "other")) is None
  written = sorted(half.glob("photos-*-of-*"))
  assert len(written) == 5
  written[1].write_bytes(written[1].read_bytes()[:-1])  # A damaged one.
  (half / "shards" / "train-00002.json").unlink()  # One without a report.
  assert not list(half.glob(".*.writing"))
  # A process that was killed leaves one.
  (half / ".photos-train.array_record-00005-of-00013.writing").touch()
  inodes = {x.name: x.stat().st_ino for x in written}
  path, said = write(photos, tmp_path / "other")
  assert f"continuing after {said_images(expected, (0, 3, 4))} of 60" in said
  assert read_files(path) == expected
  kept = [x for x in written if (path / x.name).stat().st_ino == inodes[x.name]]
  assert [x.name[-14:-9] for x in kept] == ["00000", "00003", "00004"]


def said_images(expected, shards):
  """Counts the images of the shards, from the metadata."""
  info = json.loads(expected["dataset_info.json"])
  lengths = info["splits"][0]["shardLengths"]
  return sum(int(lengths[i]) for i in shards)


class Failing:
  """A split on a disk that fails at one image."""

  def __init__(self, split, index):
    self._split, self._index = split, index
    self.keys, self.num_bytes = split.keys, split.num_bytes
    self.digest, self.locate = split.digest, split.locate

  def load(self, index):
    if index == self._index:
      raise OSError(5, "Input/output error")
    return self._split.load(index)


def fail_after(photos, data_dir, shards):
  """Writes so many shards, until the disk fails; returns where they are."""
  folder.load_folder.cache_clear()
  progress = Progress(stream=io.StringIO())
  source = load_folder(str(photos), "photos", progress)
  train = source.splits["train"]
  count = writing.make_plan(source, True, 2000)["train shards"]
  index = writing.sort(train)[shards * len(train.keys) // count]
  source.splits["train"] = Failing(train, index)
  with pytest.raises(DataError, match="jpg cannot be read: .*Input/output"):
    writing.write(
      source,
      str(data_dir),
      verify=True,
      max_unreadable=0.0,
      progress=progress,
      shard_bytes=2000,
    )
  return data_dir / "photos" / "1.0.0.incomplete"


def test_a_source_that_changed_is_refused(photos, tmp_path):
  directory = fail_after(photos, tmp_path / "data", shards=3)
  (photos / "train" / "cat" / "0.jpg").write_bytes(fakes.make_jpeg(255, (9, 9)))
  (photos / "train" / "cat" / "1.jpg").unlink()
  with pytest.raises(DataError) as caught:
    write(photos, tmp_path / "data")
  message = str(caught.value)
  assert f"{directory} was started, and the source has changed since" in message
  assert "train images: was 40, now 39" in message
  assert "train names, sizes and labels differ\n" in message
  assert f"--name=NAME, or delete {directory}" in message
  assert "validation" not in message
  shutil.rmtree(directory)
  path, _ = write(photos, tmp_path / "data")
  (photos / "val" / "cat" / "0.jpg").unlink()
  with pytest.raises(DataError, match="is already prepared, and the source"):
    write(photos, tmp_path / "data")
  with pytest.raises(DataError, match="verified: was True, now False"):
    write(photos, tmp_path / "data", verify=False)
  (path / "source.json").unlink()
  with pytest.raises(DataError, match=f"{path} was not written by"):
    write(photos, tmp_path / "data")


def test_unreadable_images_are_left_out_and_reported(photos, tmp_path):
  cut = photos / "train" / "cat" / "7.jpg"
  cut.write_bytes(cut.read_bytes()[:-60])
  text = photos / "val" / "dog" / "1.jpg"
  text.write_text("no image")
  path, said = write(photos, tmp_path / "data", max_unreadable=0.1)
  assert "left out: 2 images that cannot be read" in said
  assert f"  {cut}: not a readable image" in said
  assert f"{text}: not an image" in said
  assert f"list: {path}/unreadable.txt" in said
  lines = (path / "unreadable.txt").read_text().splitlines()
  assert [line.split("\t")[0] for line in lines] == [str(text), str(cut)]
  info = sources.load_info("tfds:photos", str(tmp_path / "data"))
  assert info.count("train") == 39
  assert info.count("validation") == 9
  names = {x for x, _, _ in fakes.read("photos", "train", tmp_path / "data")}
  assert len(names) == 39 and "train/cat/7.jpg" not in names
  # Without a look at them, they are written as they are.
  write(photos, tmp_path / "other", max_unreadable=0.1, verify=False)
  info = sources.load_info("tfds:photos", str(tmp_path / "other"))
  assert info.count("train") == 40


def test_too_many_unreadable_images_stop_with_the_list(photos, tmp_path):
  bad = sorted((photos / "train" / "cat").iterdir())[:8]
  for path in bad:
    path.write_bytes(path.read_bytes()[:-60])
  with pytest.raises(DataError) as caught:
    write(photos, tmp_path / "data", max_unreadable=0.1, shard_bytes=10**6)
  message = str(caught.value)
  assert "8 images that cannot be read" in message
  assert message.count(str(photos)) == 5 and "  ..." in message
  assert "of 60 images --max_unreadable=0.1 allows 6: " in message
  directory = tmp_path / "data" / "photos" / "1.0.0.incomplete"
  lines = (directory / "unreadable.txt").read_text().splitlines()
  assert sorted(line.split("\t")[0] for line in lines) == list(map(str, bad))
  assert sources.find_directory("photos", str(tmp_path / "data")) is None
  # With more allowed the same command goes on.
  write(photos, tmp_path / "data", max_unreadable=0.2, shard_bytes=10**6)
  info = sources.load_info("tfds:photos", str(tmp_path / "data"))
  assert info.count("train") == 32


def test_a_split_without_a_readable_image_is_refused(photos, tmp_path):
  for path in (photos / "val").rglob("*.jpg"):
    path.write_bytes(path.read_bytes()[:-60])
  with pytest.raises(DataError, match="no readable image in the split 'valid"):
    write(photos, tmp_path / "data", max_unreadable=1.0)


def test_two_processes_do_not_write_one_set(photos, tmp_path):
  root = tmp_path / "data" / "photos"
  root.mkdir(parents=True)
  with writing.locked(sources.resolve_data_dir(str(root)) / ".1.0.0.lock"):
    with pytest.raises(
      DataError, match=f"another process is writing to {root}"
    ):
      write(photos, tmp_path / "data")
  write(photos, tmp_path / "data")


def test_a_place_that_can_not_be_written(photos, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(DataError, match=r"cannot be written to(.|\s)*--data_dir"):
    write(photos, tmp_path / "file")
  with pytest.raises(DataError, match="gs://bucket is not on a disk"):
    write(photos, "gs://bucket")


def test_a_disk_that_is_too_small(photos, tmp_path):
  source = load_folder(str(photos), "photos", Progress(stream=io.StringIO()))
  source.splits["train"].num_bytes = 10**18
  with pytest.raises(DataError, match="needs 1,000,000,000.0 GB more"):
    writing.write(
      source,
      str(tmp_path / "data"),
      verify=True,
      max_unreadable=0.0,
      progress=Progress(stream=io.StringIO()),
      shard_bytes=10**18,
    )


def test_class_names_that_would_be_read_as_others(photos, tmp_path):
  (photos / "train" / "dog").rename(photos / "train" / "dog ")
  (photos / "val" / "dog").rename(photos / "val" / "dog ")
  with pytest.raises(DataError, match="class name 'dog '"):
    write(photos, tmp_path / "data")


def test_keys_are_the_same_on_every_machine():
  # The first 8 of the bytes that `printf cat/1.jpg | b2sum -l 64` prints.
  assert listing.hash_name("cat/1.jpg").to_bytes(8, "little").hex() == KEY


KEY = "32018dafbde900d2"
