# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import jax
import numpy as np
import pytest

from vit_jax import sharding
from vit_jax.data import pipeline, sources

BATCH = 96


@pytest.fixture
def source(data_dir):
  return sources.open_source("tfds:digits", "train[:300]", data_dir)


@pytest.fixture
def data(data_dir):
  return pipeline.Data(source="tfds:digits", dir=data_dir, size=8, threads=2)


def make(data, source, **options):
  options = dict(batch_size=BATCH, seed=7) | options
  return pipeline.make_train_dataset(data, 1, source, **options)


def take(dataset, count, data):
  """The next batches, read with threads as training does."""
  return list(itertools.islice(pipeline.read(dataset, data), count))


def test_batches_are_what_the_step_expects(data, source):
  batch = make(data, source)[0]
  assert batch["image"].shape == (BATCH, 8, 8, 1)
  assert batch["image"].dtype == np.uint8
  assert batch["label"].dtype == np.int32
  assert batch["mask"].all()


def test_every_epoch_holds_every_example_once_in_another_order():
  keys = [{"image": None, "label": i} for i in range(50)]
  dataset = pipeline.grain.MapDataset.source(keys).seed(0).shuffle().repeat()
  epochs = [[dataset[50 * e + i]["label"] for i in range(50)] for e in range(3)]
  assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_processes_reads_the_same_batches(data, source, count):
  whole = make(data, source)
  shares = [
    make(data, source, process_index=p, process_count=count)
    for p in range(count)
  ]
  for step in range(5):  # Well into the second epoch.
    parts = [share[step] for share in shares]
    for name, expected in whole[step].items():
      joined = np.concatenate([part[name] for part in parts])
      np.testing.assert_array_equal(joined, expected)


def test_a_resumed_run_reads_on_exactly(data, source):
  straight = take(make(data, source), 6, data)
  resumed = take(make(data, source, start_step=4), 2, data)
  for a, b in zip(straight[4:], resumed, strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


def test_the_seed_decides(data, source):
  a, b = make(data, source)[0], make(data, source, seed=8)[0]
  assert not np.array_equal(a["image"], b["image"])


def test_random_boxes_differ_between_epochs(data, source):
  """The same example, met again, is cropped anew."""
  one = [source[0]]
  dataset = make(data, one, batch_size=1)
  assert not np.array_equal(dataset[0]["image"], dataset[1]["image"])
  whole = pipeline.dataclasses.replace(data, crop="none")
  dataset = make(whole, one, batch_size=1)
  np.testing.assert_array_equal(dataset[0]["image"], dataset[1]["image"])


@pytest.mark.parametrize("batch_size", [7, 96, 300, 512])
def test_evaluation_pads_the_last_batch(data, source, batch_size):
  dataset = pipeline.make_eval_dataset(data, 1, source, batch_size=batch_size)
  batches = [dataset[i] for i in range(len(dataset))]
  assert all(len(batch["mask"]) == batch_size for batch in batches)
  mask = np.concatenate([batch["mask"] for batch in batches])
  label = np.concatenate([batch["label"] for batch in batches])
  assert mask.sum() == 300
  np.testing.assert_array_equal(
    label[mask], [source[i]["label"] for i in range(300)]
  )
  assert (label[~mask] == -1).all()


def test_evaluation_is_shared_by_processes(data, source):
  labels = []
  for index in range(2):
    dataset = pipeline.make_eval_dataset(
      data, 1, source, batch_size=64, process_index=index, process_count=2
    )
    for i in range(len(dataset)):
      labels.extend(dataset[i]["label"][dataset[i]["mask"]])
  expected = [source[i]["label"] for i in range(300)]
  assert sorted(labels) == sorted(expected)


def test_batches_lie_where_the_mesh_wants_them(data):
  mesh = sharding.make_mesh(fsdp=4, tensor=2)
  batches = pipeline.make_train_batches(
    data, mesh, 1, batch_size=16, seed=7, start_step=3
  )
  batch = next(batches)
  assert batch["image"].sharding == sharding.get_batch_sharding(mesh)
  assert {s.data.shape for s in batch["image"].addressable_shards} == {
    (4, 8, 8, 1)
  }
  assert isinstance(batch["label"], jax.Array)


def test_to_device_keeps_order_and_ends(data):
  mesh = sharding.make_mesh()
  batches = ({"x": np.full(8, i)} for i in range(5))
  found = [int(b["x"][0]) for b in pipeline.to_device(batches, mesh)]
  assert found == [0, 1, 2, 3, 4]
