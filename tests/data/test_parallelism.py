# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from vit_jax.data import parallelism, pipeline, sources
from vit_jax.data.parallelism import Cost
from vit_jax.devices.machine import Machine

GIB = 1 << 30
PHOTO = Cost(read=1e-3, resize=3e-4, bytes=375 * 500 * 3)
BATCH = 256 * 224 * 224 * 3


def choose(machine, cost=PHOTO, **options):
  usual = dict(size=1_281_167, batch=BATCH, threads=1, images=None, kept=GIB)
  return parallelism.choose_workers(machine, cost, **usual | options)


@pytest.mark.parametrize(
  ("machine", "options", "workers", "word"),
  [
    (Machine(16, memory=99 * GIB, shared=49 * GIB), {}, 16, "16 cores"),
    (Machine(16), {}, 16, "16 cores"),
    (Machine(16), dict(threads=4), 4, "16 cores"),
    (Machine(3), {}, 0, "3 cores"),
    (Machine(1), {}, 0, "1 core"),
    (Machine(8, "a quota of 8 cores"), {}, 8, "quota"),
    # All 1,000 photographs would be more than is kept, digits are not.
    (Machine(16), dict(size=1000, kept=256 << 20), 16, "16 cores"),
    (Machine(16), dict(size=400, kept=256 << 20), 0, "214.6 MiB"),
    # Half a minute of reading by threads: 300,000 photographs.
    (Machine(16), dict(images=200_000), 0, "20.0 s"),
    (Machine(16), dict(images=400_000), 16, "16 cores"),
    # Docker gives 64 MiB of shared memory, a batch has 37.
    (Machine(16, shared=64 << 20), {}, 0, "/dev/shm"),
    (Machine(16, shared=GIB), {}, 6, "/dev/shm"),
    (Machine(16, memory=4 * GIB), {}, 3, "memory"),
    (Machine(16, memory=GIB), {}, 0, "memory"),
  ],
)
def test_the_number_of_processes(machine, options, workers, word):
  value, reason = choose(machine, **options)
  assert value == workers and word in reason
  assert "\n" not in reason


def test_nothing_readable_decides_nothing():
  assert choose(Machine(16), cost=None)[0] == 16


@pytest.mark.parametrize(
  ("cores", "workers", "rows", "size", "threads"),
  [
    (2, 0, 256, 10**6, 2),
    (16, 0, 256, 10**6, 16),
    (16, 16, 256, 10**6, 1),
    (16, 5, 256, 10**6, 3),
    (16, 0, 4, 10**6, 4),
    (4, 9, 256, 10**6, 1),
    (16, 0, 256, 10, 4),  # Kept, but each is resized.
  ],
)
def test_the_number_of_threads(cores, workers, rows, size, threads):
  value, reason = parallelism.choose_threads(
    Machine(cores), PHOTO, workers, size=size, rows=rows, kept=GIB
  )
  assert value == threads and reason


def test_tiny_images_are_read_by_one_thread(data_dir, monkeypatch):
  # What a digit costs where nothing else is running.
  cost = Cost(read=3e-5, resize=1e-5, bytes=64)
  monkeypatch.setattr(parallelism, "measure_cost", lambda *_: cost)
  data = pipeline.Data(source="tfds:digits", size=16)
  source = sources.open_source("tfds:digits", "train", data_dir)
  chosen, choices = pipeline.choose_for_training(data, source, 1, rows=128)
  assert (chosen.workers, chosen.threads) == (0, 1)
  assert [choice.key for choice in choices] == ["data.workers", "data.threads"]
  assert [choice.value for choice in choices] == [0, 1]
  assert str(choices[0]).startswith("data.workers=0: all 1,437 images")


def test_what_a_user_says_is_kept():
  image = cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes()
  source = [dict(image=image, label=0)] * 5
  data = pipeline.Data(source="x", size=8, workers=3, threads=2)
  assert parallelism.choose_parallelism(data, source, 1, rows=4) == (data, [])
  # One of the two.
  machine = Machine(16)
  for key, other in itertools.permutations(("workers", "threads")):
    one = dataclasses.replace(data, **{key: "auto"})
    found, (choice,) = parallelism.choose_parallelism(
      one, source, 1, rows=64, machine=machine
    )
    assert choice.key == f"data.{key}"
    assert (
      choice.value == getattr(found, key) == {"workers": 8, "threads": 5}[key]
    )
    assert getattr(found, other) == getattr(data, other)


def test_the_cost_of_an_image_is_measured():
  images = [np.zeros((9, 9 + i), np.uint8) for i in range(30)]
  source = [
    dict(image=cv2.imencode(".png", x)[1].tobytes(), label=0) for x in images
  ]
  cost = parallelism.measure_cost(source, 3, (8, 8), "area")
  assert cost.read > 0 and cost.resize > 0
  assert 9 * 9 * 3 < cost.bytes < 9 * 39 * 3
  broken = [dict(image=b"", label=0)]
  assert parallelism.measure_cost(broken, 3, (8, 8), "area") is None
  assert (
    parallelism.measure_cost([*broken, source[0]], 3, (8, 8), "area")
    is not None
  )
