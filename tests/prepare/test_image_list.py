# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sets given by an image list: several labels, archives, invalid lines."""

import io
import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.support import fakes
from vit_jax.data import sources
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import image_list
from vit_jax.prepare.dataset import prepare_dataset


def write_images(folder, number=6):
  """Files 0.jpg, 1.jpg, ... whose grey value is ten times the number."""
  folder.mkdir(parents=True, exist_ok=True)
  for i in range(number):
    (folder / f"{i}.jpg").write_bytes(fakes.make_jpeg(10 * i))


def write_lines(path, *entries):
  """JSON lines of (image, labels) or (image, labels, split)."""
  keys = ("image", "labels", "split")
  path.write_text(
    "".join(
      json.dumps(dict(zip(keys, entry, strict=False))) + "\n"
      for entry in entries
    )
  )
  return path


def run(path, tmp_path, **keys):
  progress = Progress(stream=io.StringIO())
  return prepare_dataset(
    f"manifest:{path}", str(tmp_path / "data"), progress=progress, **keys
  )


ENTRIES = (
  ("0.jpg", ["sofa", "cat"], "train"),
  ("1.jpg", ["dog"], "train"),
  ("2.jpg", ["dog", "cat", "ein Stück"], "train"),
  ("3.jpg", ["cat"], "val"),
  ("4.jpg", ["sofa"], "test"),
)
# cat, dog, ein Stück, sofa; padded to three labels.
EXPECTED = {
  "train": [
    ("0.jpg", [3, 0, -1], 0),
    ("1.jpg", [1, -1, -1], 10),
    ("2.jpg", [1, 0, 2], 20),
  ],
  "validation": [("3.jpg", [0, -1, -1], 30)],
  "test": [("4.jpg", [3, -1, -1], 40)],
}


def read_raw(directory, split):
  """Through TFDS alone, for load_info may not know several labels."""
  builder = tfds.builder_from_directory(str(directory))
  source = builder.as_data_source(split)
  return sorted(
    (
      example["file_name"].decode(),
      np.asarray(example["label"]).tolist(),
      int(example["image"].mean().round()),
    )
    for example in (source[i] for i in range(len(source)))
  )


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_several_labels_an_image(kind, tmp_path):
  write_images(tmp_path)
  path = write_lines(tmp_path / "Some Photos.jsonl", *ENTRIES)
  if kind == "csv":
    path = tmp_path / "Some Photos.csv"
    lines = (
      "\ufeffsplit,image,labels",
      *(
        f'{split},"{image}",{"|".join(labels)}'
        for image, labels, split in ENTRIES
      ),
    )
    path.write_text("\r\n".join(lines))
  directory = run(path, tmp_path)
  assert directory == tmp_path / "data" / "some_photos" / "1.0.0"
  for split, expected in EXPECTED.items():
    assert read_raw(directory, split) == expected
  label = tfds.builder_from_directory(str(directory)).info.features["label"]
  assert isinstance(label, tfds.features.Sequence)
  assert label.feature.names == ["cat", "dog", "ein Stück", "sofa"]
  assert label.get_tensor_info().shape == (3,)


def test_a_list_of_test_images_alone_is_a_set_to_evaluate_on(tmp_path):
  write_images(tmp_path)
  path = write_lines(
    tmp_path / "m.jsonl", *((f"{i}.jpg", ["ab"[i % 2]], "test") for i in (0, 1))
  )
  run(path, tmp_path, new_name="two")
  info = sources.load_info("tfds:two", str(tmp_path / "data"))
  assert info.class_names == ("a", "b") and info.count("test") == 2
  with pytest.raises(DataError, match="no split 'train': it has test \\(2"):
    info.count("train")


def test_one_label_an_image_is_a_class_label(tmp_path):
  write_images(tmp_path)
  path = write_lines(
    tmp_path / "m.jsonl", *((f"{i}.jpg", ["ab"[i % 2]]) for i in range(6))
  )
  run(path, tmp_path, new_name="six")
  assert fakes.read("six", "train", tmp_path / "data") == [
    (f"{i}.jpg", i % 2, 10 * i) for i in range(6)
  ]
  info = sources.load_info("tfds:six", str(tmp_path / "data"))
  assert info.class_names == ("a", "b")


def test_images_in_archives_and_files_below_another_root(tmp_path):
  """Members in any order, of several archives, one of them in two splits."""
  root = tmp_path / "root"
  write_images(root / "loose")
  for number, name in enumerate(("x", "y")):
    files = {
      f"./in/{i}.jpg": fakes.make_jpeg(100 * (number + 1) + 10 * i)
      for i in range(3)
    }
    (root / f"{name}.tar").write_bytes(fakes.make_tar(files))
  path = write_lines(
    tmp_path / "m.jsonl",
    ("y.tar#in/2.jpg", ["b"]),
    ("x.tar#in/0.jpg", ["a"]),
    ("loose/1.jpg", ["a"]),
    ("y.tar#in/0.jpg", ["b"], "test"),
    (f"{root}/loose/5.jpg", ["b"]),
    ("x.tar#in/2.jpg", ["a"]),
  )
  run(path, tmp_path, root=str(root))
  assert fakes.read("m", "train", tmp_path / "data") == sorted(
    [
      ("y.tar#in/2.jpg", 1, 220),
      ("x.tar#in/0.jpg", 0, 100),
      ("loose/1.jpg", 0, 10),
      (f"{root}/loose/5.jpg", 1, 50),
      ("x.tar#in/2.jpg", 0, 120),
    ]
  )
  assert fakes.read("m", "test", tmp_path / "data") == [
    ("y.tar#in/0.jpg", 1, 200)
  ]


def test_what_archives_lack_is_said_before_anything_is_written(tmp_path):
  tar = fakes.make_tar({"0.jpg": fakes.make_jpeg(0)})
  (tmp_path / "x.tar").write_bytes(tar)
  (tmp_path / "cut.tar").write_bytes(tar[:300])
  path = write_lines(
    tmp_path / "m.jsonl",
    ("x.tar#0.jpg", ["a"]),
    ("x.tar#1.jpg", ["a"]),
    ("x.tar#2.jpg", ["a"]),
    ("cut.tar#0.jpg", ["a"]),
    ("gone.tar#0.jpg", ["a"]),
  )
  with pytest.raises(DataError) as caught:
    run(path, tmp_path)
  message = str(caught.value)
  assert f"missing: 2 images, as {tmp_path}/x.tar#1.jpg" in message
  assert f"{tmp_path}/cut.tar cannot be read" in message
  assert f"{tmp_path}/gone.tar cannot be read" in message
  assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ('{"image": "a.jpg"', "line 2: Expecting"),
    ("[]", 'line 2: it must be {"image"'),
    ('{"labels": ["a"]}', "line 2: it has no image"),
    ('{"image": "a.jpg", "labels": "a"}', "line 2: it has no list of labels"),
    ('{"image": "a.jpg", "labels": []}', "line 2: it has no list of labels"),
    (
      '{"image": "a.jpg", "labels": [1]}',
      "line 2: labels must be non-empty",
    ),
    (
      '{"image": "a.jpg", "labels": [" "]}',
      "line 2: labels must be non-",
    ),
    (
      '{"image": "a.jpg", "labels": ["a", "a"]}',
      "labels ['a', 'a']",
    ),
    (
      '{"image": "a.jpg", "labels": ["a"], "split": "extra"}',
      "line 2: its split 'extra'",
    ),
    (
      '{"image": "x.tar.gz#a.jpg", "labels": ["a"]}',
      "line 2: x.tar.gz#a.jpg is in a compressed archive",
    ),
    (
      '{"image": "a.jpg", "labels": ["a"], "weight": 1}',
      "line 2: unknown fields weight",
    ),
    ("\udcff", "line 2: 'utf-8' codec can't decode"),
  ],
)
def test_a_wrong_line_is_named(line, message, tmp_path):
  path = write_lines(tmp_path / "m.jsonl", ("0.jpg", ["a"]))
  path.write_bytes(path.read_bytes() + os.fsencode(line) + b"\n")
  with pytest.raises(DataError) as caught:
    run(path, tmp_path)
  assert message in str(caught.value)


def test_an_image_list_that_changes_while_it_is_read(tmp_path):
  write_images(tmp_path)
  path = write_lines(tmp_path / "m.jsonl", ("0.jpg", ["a"]), ("1.jpg", ["a"]))
  progress = Progress(stream=io.StringIO())
  source = image_list.load_image_list(str(path), "m", None, progress)
  path.write_text("something else")
  with pytest.raises(DataError, match="m.jsonl changed while it was read"):
    source.splits["train"].load(1)


def test_five_wrong_lines_are_named(tmp_path):
  path = tmp_path / "m.csv"
  path.write_text("image,labels\n" + "a.jpg\n" * 7)
  with pytest.raises(DataError) as caught:
    run(path, tmp_path)
  lines = str(caught.value).splitlines()
  assert lines[1] == "  line 2: it has 1 columns, and the first line 2"
  assert len(lines) == 6 and lines[5].startswith("  line 6:")


@pytest.mark.parametrize(
  ("name", "text", "keys", "message"),
  [
    ("m.txt", "", {}, "m.txt must be a .jsonl or .csv file"),
    ("m.csv", "a.jpg,cat\n", {}, "m.csv has the columns a.jpg,cat"),
    ("m.csv", "", {}, "must have image,labels"),
    ("m.csv", "image,labels\n" + "x" * 200_000, {}, "line 2: field larger"),
    ("m.jsonl", "", {}, "m.jsonl lists no image"),
    ("m.jsonl", "", {"root": "/nowhere"}, "--root=/nowhere: there is no"),
    ("m.jsonl", "", {"new_name": "My Set"}, "'My Set'"),
  ],
)
def test_an_invalid_image_list(name, text, keys, message, tmp_path):
  (tmp_path / name).write_text(text)
  with pytest.raises(DataError) as caught:
    run(tmp_path / name, tmp_path, **keys)
  assert message in str(caught.value)


def test_an_image_list_that_is_not_there(tmp_path):
  with pytest.raises(DataError, match="there is no such file"):
    run(tmp_path / "m.jsonl", tmp_path)


def test_an_image_that_is_listed_twice(tmp_path):
  write_images(tmp_path)
  path = write_lines(
    tmp_path / "m.jsonl", ("0.jpg", ["a"]), ("1.jpg", ["a"]), ("0.jpg", ["b"])
  )
  with pytest.raises(DataError) as caught:
    run(path, tmp_path)
  assert f"{tmp_path}/0.jpg and {tmp_path}/0.jpg have the same" in (
    str(caught.value)
  )


def test_a_wrong_root_is_said_at_once(tmp_path):
  path = write_lines(tmp_path / "m.jsonl", ("x/0.jpg", ["a"]))
  with pytest.raises(DataError) as caught:
    run(path, tmp_path)
  message = str(caught.value)
  assert f"all images are missing, as {tmp_path}/x/0.jpg" in message
  assert "--root=DIR" in message


def test_memory_is_a_few_bytes_an_image(tmp_path):
  """What the docstring promises, of what is kept for a line."""
  write_images(tmp_path, 1)
  tar = fakes.make_tar({f"{i}.jpg": b"" for i in range(50)})
  (tmp_path / "x.tar").write_bytes(tar)
  path = write_lines(
    tmp_path / "m.jsonl",
    ("0.jpg", ["a"]),
    *((f"x.tar#{i}.jpg", ["a"]) for i in range(50)),
  )
  progress = Progress(stream=io.StringIO())
  source = image_list.load_image_list(str(path), "m", None, progress)
  lines = source.splits["train"]
  arrays = (lines._lines, lines.keys, lines.archives, lines.members)
  assert sum(np.asarray(x).nbytes for x in arrays) == 51 * 28


def test_an_image_is_within_the_root_that_is_said(tmp_path):
  """An untrusted list could otherwise name any file of the machine."""
  write_images(tmp_path / "pool", 2)
  (tmp_path / "list").mkdir()
  (tmp_path / "pool" / "a").mkdir()
  inside = ("a/../0.jpg", ["a"])
  for name in ("../pool/1.jpg", str(tmp_path / "pool" / "1.jpg")):
    path = write_lines(tmp_path / "list" / "m.jsonl", (name, ["a"]))
    with pytest.raises(DataError) as caught:
      run(path, tmp_path)
    assert f"line 1: {name} is outside of {tmp_path}/list" in str(caught.value)
    assert "--root=DIR" in str(caught.value)
  name = str(tmp_path / "pool" / "1.jpg")
  path = write_lines(tmp_path / "list" / "m.jsonl", inside, (name, ["b"]))
  found = run(path, tmp_path, root=str(tmp_path / "pool"))
  assert len(read_raw(found, "train")) == 2


def test_lines_without_an_end_take_no_memory(tmp_path):
  path = tmp_path / "m.jsonl"
  path.write_bytes(b" " * (3 << 20))
  with pytest.raises(DataError, match="line 1 .*1,048,576 bytes"):
    run(path, tmp_path)
