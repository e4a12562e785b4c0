# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sets of one name are told apart, wherever they lie."""

import hashlib
import io
import json
import shutil

import pytest

from tests.support import fakes
from vit_jax.data import fingerprint, folder
from vit_jax.data.info import DataError
from vit_jax.data.sources import compute_fingerprint, describe_changes
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import writing
from vit_jax.prepare.dataset import load_folder


def make(root, number=20, shade=0, rename=None):
  """Two classes of images in train/ and test/, of no two sizes in bytes."""
  for split in ("train", "test"):
    for label, name in enumerate(("cat", rename or "dog")):
      place = root / split / name
      place.mkdir(parents=True)
      for i in range(number):
        data = fakes.make_jpeg(100 * label + 4 * i + shade)
        (place / f"{i}.jpg").write_bytes(data)
  return root


def look(root, *splits):
  folder.load_folder.cache_clear()  # Of a command of its own.
  return compute_fingerprint(f"folder:{root}", splits or ("train",), None)


def write(root, data_dir, **keys):
  """Prepares a folder as the set photos; returns its fingerprint."""
  folder.load_folder.cache_clear()
  progress = Progress(stream=io.StringIO())
  source = load_folder(str(root), "photos", progress)
  keys = dict(verify=False, max_unreadable=0.0, progress=progress) | keys
  writing.write(source, str(data_dir), **keys)
  return compute_fingerprint("tfds:photos", ("train",), str(data_dir))


def test_a_folder_is_its_names_and_sizes(tmp_path):
  one = make(tmp_path / "one")
  before = look(one, "train[:90%]", "test")
  assert {before["train examples"], before["test examples"]} == {40}
  assert before["classes"] == 2
  shutil.copytree(one, tmp_path / "elsewhere")
  assert look(tmp_path / "elsewhere", "train", "test") == before

  with (one / "train" / "cat" / "3.jpg").open("ab") as file:
    file.write(b"more")
  size = before["train bytes"]
  assert describe_changes(before, look(one, "train", "test")) == [
    f"train bytes: {size:,}, now {size + 4:,}",
    "train names and sizes changed",
  ]
  (tmp_path / "elsewhere" / "test" / "cat" / "0.jpg").rename(
    tmp_path / "elsewhere" / "test" / "cat" / "zero.jpg"
  )
  assert describe_changes(before, look(tmp_path / "elsewhere", "test")) == [
    "test names and sizes changed"
  ]
  renamed = look(make(tmp_path / "renamed", rename="fox"), "train", "test")
  assert "class names changed" in describe_changes(before, renamed)


def test_a_set_is_its_metadata_and_the_ends_of_its_files(data_dir, tmp_path):
  def read(where, *splits):
    return compute_fingerprint("tfds:digits", splits, str(where))

  before = read(data_dir, "train", "test[:40]")
  assert before["train examples"] == 1437 and before["test examples"] == 360
  assert before["features"] == "image uint8, label int64"
  assert before["version"] == "1.0.0" and before["train files"] == 1
  copy = tmp_path / "copy"
  shutil.copytree(data_dir, copy)
  assert read(copy, "train", "test") == before

  (shard,) = copy.rglob("*-train.array_record-*")
  whole = shard.read_bytes()
  for place in (100, len(whole) - 100):
    broken = bytearray(whole)
    broken[place] ^= 1
    shard.write_bytes(broken)
    now = read(copy, "train", "test")
    assert describe_changes(before, now) == ["train content changed"]
  shard.write_bytes(whole)
  (path,) = copy.rglob("dataset_info.json")
  info = json.loads(path.read_text())
  # TFDS lists them in no order of ours.
  (train,) = (x for x in info["splits"] if x["name"] == "train")
  train["shardLengths"] = ["1300"]
  path.write_text(json.dumps(info))
  assert describe_changes(before, read(copy, "train")) == [
    "train examples: 1,437, now 1,300",
    "train examples of each file changed",
  ]
  shard.unlink()
  with pytest.raises(DataError, match="array_record-00000.* cannot be read"):
    read(copy, "train")


def test_a_set_prepared_again_from_other_images_is_another(tmp_path):
  before = write(make(tmp_path / "photos"), tmp_path / "a")
  # The same images on another disk, whether or not they were verified.
  again = write(make(tmp_path / "p2" / "photos"), tmp_path / "b", verify=True)
  assert again == before
  # One image of forty, in the middle of the names, is another.
  other = make(tmp_path / "p3" / "photos")
  data = fakes.make_jpeg(7, (9, 31))
  (other / "train" / "cat" / "12.jpg").write_bytes(data)
  changes = describe_changes(before, write(other, tmp_path / "c"))
  assert "what it was prepared from changed" in changes
  assert "train content changed" in changes


def test_a_mixture_is_its_parts(tmp_path, data_dir):
  folder.load_folder.cache_clear()
  root = make(tmp_path / "photos")
  source = f"mix:1*folder:{root},2*tfds:digits,1*synthetic:10"
  found = compute_fingerprint(source, ["train"], data_dir)
  assert found[f"folder:{root}: train examples"] == 40
  assert found["tfds:digits: train examples"] == 1437
  assert found["synthetic:10: classes"] == 10
  alone = compute_fingerprint("tfds:digits", ["train"], data_dir)
  assert {f"tfds:digits: {key}": x for key, x in alone.items()}.items() <= (
    found.items()
  )


def test_what_only_one_of_two_knows_is_no_change(data_dir):
  before = compute_fingerprint("tfds:digits", ["train"], data_dir)
  now = compute_fingerprint("tfds:digits", ["train", "test"], data_dir)
  assert before != now and describe_changes(before, now) == []
  assert describe_changes(now, before) == []
  # It goes through JSON and comes back.
  assert describe_changes(json.loads(json.dumps(now)), now) == []
  newer = now | {"version": "1.1.0", "features": "image uint16, label int64"}
  assert describe_changes(now, newer) == [
    "version: 1.0.0, now 1.1.0",
    "features: image uint8, label int64, now image uint16, label int64",
  ]


@pytest.mark.parametrize("text", ["[]", '"x"', "null", "{", "[" * 100_000])
def test_a_set_that_does_not_say_what_it_is_made_of(text, data_dir, tmp_path):
  shutil.copytree(data_dir, tmp_path / "copy")
  (info,) = (tmp_path / "copy" / "digits").rglob("dataset_info.json")
  path = info.with_name(fingerprint.PLAN)
  path.write_text(text)
  with pytest.raises(DataError, match=f"^{path} "):
    compute_fingerprint("tfds:digits", ("train",), str(tmp_path / "copy"))


def test_digests_of_any_strings():
  words = ["a", "\ud800", "\udcff", "ä", "a\nb", ""]
  digests = {fingerprint.make_digest([word]) for word in words}
  assert len(digests) == len(words)
  assert (
    fingerprint.make_digest(["a", "ä"])
    == (hashlib.sha256("a\nä\n".encode()).hexdigest()[:16])
  )


@pytest.mark.parametrize("key", ["shardLengths", "shard_lengths"])
def test_sets_of_more_files_than_memory_has_room_for(key, data_dir, tmp_path):
  shutil.copytree(data_dir, tmp_path / "copy")
  (path,) = (tmp_path / "copy" / "digits").rglob("dataset_info.json")
  info = json.loads(path.read_text())
  split = info["splits"][0]
  del split["shardLengths"]
  message = f"split '{split['name']}' has 100,001 files, "
  split[key] = ["1"] * 100_001
  path.write_text(json.dumps(info))
  with pytest.raises(DataError, match=message):
    compute_fingerprint("tfds:digits", ("train",), str(tmp_path / "copy"))
