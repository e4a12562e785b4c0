# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from concurrent import futures

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from tests.support import ROOT
from vit_jax.data import records, sources
from vit_jax.data.info import DataError
from vit_jax.data.tfds_builders import open_builder


@pytest.fixture
def parts(tmp_path):
  """Twelve files of 5 + number records, each without its first and last."""
  made = []
  for number in range(12):
    path = str(tmp_path / f"{number}.array_record")
    writer = ArrayRecordWriter(path, "group_size:1")
    for i in range(5 + number):
      writer.write(f"{number}/{i}".encode())
    writer.close()
    made.append(records.Part(path, 1, 3 + number))
  return made


def get_expected(parts):
  return [
    f"{number}/{i}".encode()
    for number, part in enumerate(parts)
    for i in range(part.skip, part.skip + part.take)
  ]


def count_open(directory):
  handles = pathlib.Path("/proc/self/fd")
  return sum(
    os.path.exists(handle) and str(directory) in os.readlink(handle)
    for handle in handles.iterdir()
  )


def test_every_record_is_found_with_few_files_open(parts, tmp_path):
  found = records.Records(parts, max_open=4)
  expected = get_expected(parts)
  assert len(found) == len(expected) == sum(part.take for part in parts)
  for index in np.random.default_rng(0).permutation(len(found)):
    assert found[int(index)] == expected[index]
    assert count_open(tmp_path) <= 4
  for index in (-1, len(found)):
    with pytest.raises(IndexError):
      found[index]


def test_threads_share_the_files(parts):
  found = records.Records(parts, max_open=2)
  indices = np.random.default_rng(0).integers(0, len(found), 3000).tolist()
  with futures.ThreadPoolExecutor(8) as pool:
    read = list(pool.map(found.__getitem__, indices))
  expected = get_expected(parts)
  assert read == [expected[index] for index in indices]


def test_a_worker_opens_its_own_files(parts):
  found = records.Records(parts)
  first = found[0]
  assert pickle.loads(pickle.dumps(found))[0] == first


@pytest.mark.parametrize("split", ["train", "train[10%:20%]", "test+train[:5]"])
def test_examples_are_those_that_tfds_reads(split, data_dir):
  ours = sources.open_source("tfds:digits", split, data_dir)
  builder = tfds.builder_from_directory(
    str(sources.find_directory("digits", data_dir))
  )
  theirs = builder.as_data_source(split)
  assert len(ours) == len(theirs)
  assert [example["label"] for example in ours] == [
    example["label"] for example in theirs
  ]


MEASURE = """
import pathlib, re, sys
import jax
import numpy as np
from vit_jax.data import pipeline, sources

jax.config.update("jax_platforms", "cpu")
data = pipeline.Data(source="tfds:huge", dir=sys.argv[1], size=8, threads=4)
source = sources.open_source(data.source, data.train, data.dir)
batches = pipeline.read(
  pipeline.make_train_dataset(
    data, 1, source, batch_size=500, rows=range(500), seed=0
  ),
  data,
)
labels = [next(it)["label"] for it in [iter(batches)] for _ in range(3)]
# Not ru_maxrss, which a process inherits from the one that starts it.
status = pathlib.Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) // 1024
print(len(source), len(np.concatenate(labels)), peak)
"""


def test_300_million_examples_in_bounded_memory(data_dir, tmp_path):
  """The digits over and over in a file of 40,000, which has 7,600 names."""
  files, length = 7_600, 40_000
  here = sources.find_directory("digits", data_dir)
  there = tmp_path / "huge" / here.name
  there.mkdir(parents=True)
  for name in ("features.json", "label.labels.txt"):
    (there / name).write_text((here / name).read_text())
  info = json.loads((here / "dataset_info.json").read_text())
  split = next(s for s in info["splits"] if s["name"] == "train")
  digits = records.open_records(open_builder(here).info, "train")
  writer = ArrayRecordWriter(str(tmp_path / "shard"), "group_size:1")
  for i in range(length):
    writer.write(digits[i % len(digits)])
  writer.close()
  split["shardLengths"] = [length] * files
  info |= dict(name="huge", splits=[split])
  (there / "dataset_info.json").write_text(json.dumps(info))
  for i in range(files):
    name = f"huge-train.array_record-{i:05d}-of-{files:05d}"
    os.symlink(tmp_path / "shard", there / name)
  done = subprocess.run(
    [sys.executable, "-c", MEASURE, str(tmp_path)],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  examples, read, mebibytes = map(int, done.stdout.split())
  assert examples == 304_000_000
  assert read == 1500
  assert mebibytes < 2048


def test_a_damaged_file_and_a_class_that_is_none_are_named(data_dir, tmp_path):
  shutil.copytree(f"{data_dir}/digits", tmp_path / "digits")
  source = sources.open_source("tfds:digits", "test", str(tmp_path))
  path = next((tmp_path / "digits" / "1.0.0").glob("*-test.*"))
  two = tfds.features.ClassLabel(num_classes=2)
  info = open_builder(epath.Path(path.parent)).info
  features = tfds.features.FeaturesDict({**info.features, "label": two})
  few = records.make_examples(records.open_records(info, "test"), features)
  wrong = next(i for i in range(360) if source[i]["label"] > 1)
  with pytest.raises(DataError, match=f"record {wrong} of {path} .* 2 classes"):
    few[wrong]
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(DataError, match=f"{path} cannot be read: record 3: "):
    pickle.loads(pickle.dumps(source))[3]


def test_minus_one_pads_several_labels_and_is_no_class_of_one(tmp_path):
  label = tfds.features.ClassLabel(num_classes=2)
  image = tfds.features.Image(shape=(1, 1, 1), encoding_format="png")
  for number, (value, wrong) in enumerate(
    [(1, None), (-1, -1), ([1, -1], None), ([1, -2, 0], -2), ([0, 2], 2)]
  ):
    kind = tfds.features.Sequence(label) if isinstance(value, list) else label
    features = tfds.features.FeaturesDict({"image": image, "label": kind})
    serializer = tfds.core.example_serializer.ExampleSerializer(
      features.get_serialized_info()
    )
    path = str(tmp_path / str(number))
    writer = ArrayRecordWriter(path, "group_size:1")
    example = {"image": b"any", "label": np.array(value, np.int64)}
    writer.write(serializer.serialize_example(example))
    writer.close()
    found = records.make_examples(
      records.Records([records.Part(path, 0, 1)]), features
    )
    if wrong is None:
      np.testing.assert_array_equal(found[0]["label"], value)
    else:
      with pytest.raises(DataError, match=f"label {wrong}"):
        found[0]
