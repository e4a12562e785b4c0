# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools
import pickle
import typing

import cv2
import jax
import numpy as np
import pytest

from vit_jax import sharding
from vit_jax.data import pipeline, placing, sources, transforms
from vit_jax.data.examples import thin
from vit_jax.data.preprocess import Preprocess
from vit_jax.data.resize import Resize, resize
from vit_jax.devices.mesh import make_mesh

BATCH = 96


@pytest.fixture
def source(data_dir):
  return sources.open_source("tfds:digits", "train[:300]", data_dir)


@pytest.fixture
def data(data_dir):
  return pipeline.Data(source="tfds:digits", dir=data_dir, size=8, threads=2)


def make(data, source, batch_size=BATCH, **options):
  options = dict(rows=range(batch_size), seed=7) | options
  return pipeline.make_train_dataset(
    data, 1, source, batch_size=batch_size, **options
  )


def take(dataset, count, data):
  """The next batches, read with threads as training does."""
  return list(itertools.islice(pipeline.read(dataset, data), count))


def test_batches_are_what_the_step_expects(data, source):
  batch = make(data, source)[0]
  assert batch["image"].shape == (BATCH, 8, 8, 1)
  assert batch["image"].dtype == np.uint8
  assert batch["label"].dtype == np.int32
  assert batch["mask"].all()


@pytest.mark.parametrize("crop", ["distorted_box", "random_resized", "none"])
def test_images_are_of_any_height_and_width(data, source, crop):
  assert data.shape == (8, 8)
  data = dataclasses.replace(data, size=(8, 12), crop=crop)
  assert data.shape == (8, 12)
  assert make(data, source)[0]["image"].shape == (BATCH, 8, 12, 1)


def test_evaluation_is_of_any_height_and_width(data, source):
  data = dataclasses.replace(data, size=(16, 12))
  dataset = pipeline.make_eval_dataset(
    data, 1, [source[0]], batch_size=2, rows=range(2)
  )
  image = dataset[0]["image"]
  assert image.shape == (2, 16, 12, 1)
  whole = transforms.decode(source[0]["image"], 1)
  expected = resize(whole, (16, 12), "bilinear")
  np.testing.assert_array_equal(image[0], expected)
  assert not image[1].any()  # Padding.


@pytest.mark.parametrize("method", [None, *typing.get_args(Resize)])
@pytest.mark.parametrize(
  "crop, rounding",
  [
    (None, "big_vision"),
    (0.3, "big_vision"),
    (0.875, "timm"),
    (0.875, "transformers"),
  ],
)
def test_the_library_sees_what_evaluation_sees(data, crop, rounding, method):
  """A run's manifest makes of a file the pixels that the run was scored on."""
  data = dataclasses.replace(
    data,
    size=(24, 16),
    eval_crop=crop,
    eval_resize=method,
    eval_rounding=rounding,
  )
  rng = np.random.default_rng(0)
  examples = []
  for i, shape in enumerate([(31, 44, 3), (90, 20, 3), (8, 8, 3)]):
    image = rng.integers(0, 256, shape, np.uint8)
    file = cv2.imencode(".jpg", image)[1].tobytes()
    examples.append({"image": file, "label": i})
  dataset = pipeline.make_eval_dataset(
    data, 3, examples, batch_size=3, rows=range(3)
  )
  height, width = data.shape
  preprocess = Preprocess(
    height=height,
    width=width,
    channels=3,
    crop=crop,
    resize=method or "bilinear",
    rounding=rounding,
  )
  assert preprocess == data.make_preprocess(3)
  values = preprocess([example["image"] for example in examples])
  # Whole numbers again, exactly: a value is off by 1e-7 at most.
  pixels = np.rint((values + 1) * 127.5).astype(np.uint8)
  np.testing.assert_array_equal(pixels, dataset[0]["image"])


def test_every_epoch_holds_every_example_once_in_another_order(data, source):
  # The same picture under 50 labels tells the examples apart.
  numbered = [source[0] | {"label": i} for i in range(50)]
  dataset = make(data, numbered, batch_size=10)
  epochs = [
    [int(x) for i in range(5) for x in dataset[5 * epoch + i]["label"]]
    for epoch in range(3)
  ]
  assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(
  "shares",
  [
    [range(0, 48), range(48, 96)],
    [range(p, 96, 4) for p in range(4)],  # A mesh may spread rows like this.
    [range(96), range(96)],  # Two processes hold the same rows.
  ],
)
@pytest.mark.parametrize("done", [0, 2])
def test_any_set_of_processes_reads_the_same_batches(
  data, source, shares, done
):
  whole = make(data, source)
  parts = [make(data, source, rows=rows, start_step=done) for rows in shares]
  for step in range(3):  # Well into the second epoch.
    for rows, part in zip(shares, parts, strict=True):
      for name, expected in whole[done + step].items():
        np.testing.assert_array_equal(part[step][name], expected[list(rows)])


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
  whole = dataclasses.replace(data, crop="none")
  dataset = make(whole, one, batch_size=1)
  np.testing.assert_array_equal(dataset[0]["image"], dataset[1]["image"])


@pytest.mark.parametrize("batch_size", [7, 96, 300, 512])
def test_evaluation_pads_the_last_batch(data, source, batch_size):
  dataset = pipeline.make_eval_dataset(
    data, 1, source, batch_size=batch_size, rows=range(batch_size)
  )
  batches = [dataset[i] for i in range(len(dataset))]
  assert all(len(batch["mask"]) == batch_size for batch in batches)
  mask = np.concatenate([batch["mask"] for batch in batches])
  label = np.concatenate([batch["label"] for batch in batches])
  assert mask.sum() == 300
  np.testing.assert_array_equal(
    label[mask], [source[i]["label"] for i in range(300)]
  )
  assert (label[~mask] == -1).all()


@pytest.mark.parametrize(
  ("limit", "expected"), [(7, 7), (300, 300), (999, 300)]
)
def test_a_limit_takes_examples_evenly(data, source, limit, expected):
  batches, count = pipeline.make_eval_batches(
    data,
    make_mesh(jax.devices()[:1]),
    1,
    split="train[:300]",
    batch_size=50,
    limit=limit,
  )
  found = list(batches)
  assert count == expected == sum(int(x["mask"].sum()) for x in found)
  labels = np.concatenate([x["label"][np.asarray(x["mask"])] for x in found])
  places = [i * 300 // expected for i in range(expected)]
  assert labels.tolist() == [source[i]["label"] for i in places]
  thinned = pickle.loads(pickle.dumps(thin(source, limit)))  # For workers.
  assert thinned[expected - 1]["label"] == labels[-1]


def test_evaluation_is_shared_by_processes(data, source):
  labels = []
  for rows in (range(0, 64, 2), range(1, 64, 2)):
    dataset = pipeline.make_eval_dataset(
      data, 1, source, batch_size=64, rows=rows
    )
    for i in range(len(dataset)):
      labels.extend(dataset[i]["label"][dataset[i]["mask"]])
  expected = [source[i]["label"] for i in range(300)]
  assert sorted(labels) == sorted(expected)


def test_batches_lie_where_the_mesh_wants_them(data):
  mesh = make_mesh(fsdp=4, tensor=2)
  batches = pipeline.make_train_batches(
    data, mesh, 1, batch_size=16, seed=7, start_step=3
  )
  batch = next(batches)
  assert batch["image"].sharding == sharding.get_batch_sharding(mesh)
  assert {s.data.shape for s in batch["image"].addressable_shards} == {
    (4, 8, 8, 1)
  }
  assert isinstance(batch["label"], jax.Array)


def test_a_cpu_computes_from_the_memory_that_rows_are_written_to(data, source):
  mesh = make_mesh(devices=jax.devices()[:1])
  local = make(data, source)[0]
  batch = placing.place(local, mesh, len(local["image"]))
  (shard,) = batch["image"].addressable_shards
  assert shard.data.unsafe_buffer_pointer() == local["image"].ctypes.data


def test_to_device_keeps_order_and_ends(data):
  mesh = make_mesh()
  batches = ({"x": np.arange(8) + i} for i in range(5))
  found = [np.asarray(b["x"]) for b in pipeline.to_device(batches, mesh, 8)]
  np.testing.assert_array_equal(found, np.arange(8) + np.arange(5)[:, None])


def test_worker_processes_read_the_same_batches(data, source):
  """Two processes of their own, which a user asks for by data.workers."""
  expected = take(make(data, source), 5, data)
  workers = dataclasses.replace(data, workers=2)
  found = take(make(data, source), 5, workers)
  for a, b in zip(expected, found, strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
  # And evaluation has every example once.
  dataset = pipeline.make_eval_dataset(
    workers, 1, source, batch_size=96, rows=range(96)
  )
  masks = [batch["mask"] for batch in pipeline.read(dataset, workers)]
  assert [mask.sum() for mask in masks] == [96, 96, 96, 12]
