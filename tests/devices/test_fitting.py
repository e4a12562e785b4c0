# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Micro-batches and rematerialisation by memory."""

import types

import pytest

from vit_jax.devices import fitting
from vit_jax.devices.fitting import (
  Fit,
  Fitting,
  find_filling,
  get_memory,
  list_fits,
)
from vit_jax.devices.machine import find_memory_limit

GIB = 2**30
# A device with 90 GiB that a step may take.
GPU = types.SimpleNamespace(
  platform="gpu",
  device_kind="unknown",
  memory_stats=lambda: {"bytes_limit": 100 * GIB},
)
# GiB of activations of an image.
KEPT = {"none": 4.0, "dots": 1.0, "full": 0.25}


def choose(remat="auto", accumulate="auto", examples=64, device=GPU):
  return Fitting(
    remat,
    accumulate,
    examples=examples,
    tokens=1024,
    between=2 << 20,
    device=device,
    estimate=lambda fit: (
      (10 + KEPT[fit.remat] * examples / fit.accumulate) * GIB
    ),
  )


def test_the_order_is_of_speed():
  assert list_fits(("none", "dots", "full"), (1, 2, 4), (8, 16)) == [
    *(Fit(1, "none"), Fit(2, "none"), Fit(4, "none")),
    *(Fit(1, "dots"), Fit(2, "dots"), Fit(4, "dots")),
    *(Fit(1, "full"), Fit(2, "full"), Fit(4, "full")),
    *(Fit(8, "full"), Fit(16, "full")),
  ]
  assert list_fits((None,), (3,), ()) == [Fit(3, None)]


def test_sizes_of_micro_batches():
  """Filled by 8,192 tokens; 48 MiB is what the fast memory of a TPU holds."""
  whole, mib = (1, 2, 4, 8, 16), 2**20
  assert find_filling(whole, "gpu", 32_768, 200 * mib) == [1, 2, 4]
  assert find_filling(whole, "tpu", 32_768, 48 * mib) == [1, 2, 4]
  assert find_filling(whole, "tpu", 32_768, 96 * mib) == [2, 4]
  assert find_filling(whole, "tpu", 32_768, 900 * mib) == [4]
  assert find_filling(whole, "tpu", 100, 900 * mib) == [1]
  assert find_filling([3], "tpu", 32_768, 900 * mib) == [3]


def test_a_batch_is_split_for_the_fast_memory_of_a_tpu():
  tpu = types.SimpleNamespace(platform="tpu", device_kind="TPU v99")
  found = choose(examples=96, device=tpu)  # 192 MiB between blocks.
  assert found.fit == Fit(4, "none")
  reasons = {choice.key: choice.reason for choice in found.choices}
  assert "micro-batches of 24 examples" in reasons["train.accumulate"]
  assert "unknown" in reasons["model.remat"]
  assert choose(examples=96, accumulate=1, device=tpu).fit == Fit(1, "none")


def test_the_first_that_fits_is_taken():
  # 8 examples of 1,024 tokens fill a GPU: 64 may be split by 8.
  assert choose(examples=16).fit == Fit(1, "none")  # 74 GiB.
  assert choose(examples=64).fit == Fit(4, "none")  # 74, by 2 138.
  assert choose(examples=4096).fit == Fit(256, "none")
  assert choose(accumulate=1).fit == Fit(1, "dots")  # 74, 266 with none.
  assert choose(remat="full", examples=512).fit == Fit(2, "full")  # 74.
  assert choose(remat="none", accumulate=1).fit == Fit(1, "none")  # As asked.


def test_what_nothing_fits_is_tried_with_the_least():
  small = types.SimpleNamespace(
    **vars(GPU) | {"memory_stats": lambda: {"bytes_limit": GIB}}
  )
  found = choose(device=small)
  assert found.fit == Fit(64, "full")
  assert not found.take_next()


def test_a_fit_that_takes_more_is_no_remedy():
  """4 micro-batches with nothing recomputed take less than 1 with "dots"."""
  found = choose(examples=32)
  assert found.fit == Fit(2, "none")  # 74 GiB.
  assert found.take_next() and found.fit == Fit(4, "none")  # 42.
  # One with "dots" takes 42 too, two 26.
  assert found.take_next() and found.fit == Fit(2, "dots")


def test_a_step_that_does_not_fit_is_followed_by_a_smaller_one():
  found = choose(accumulate=2)
  assert found.fit == Fit(2, "dots")
  assert found.take_next() and found.fit == Fit(2, "full")
  assert not found.take_next() and found.fit == Fit(2, "full")
  (choice,) = found.choices
  assert (choice.key, choice.value) == ("model.remat", "full")
  assert "18.00 GiB" in choice.reason and "90.00 GiB" in choice.reason


def test_memory_of_a_device(monkeypatch):
  tpu = types.SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
  assert get_memory(tpu) == pytest.approx(0.9 * 16 * GIB)
  unknown = types.SimpleNamespace(platform="tpu", device_kind="TPU v99")
  assert get_memory(unknown) is None
  monkeypatch.setattr(fitting, "find_memory_limit", lambda root: 16 * GIB)
  cpu = types.SimpleNamespace(
    platform="cpu", client=types.SimpleNamespace(device_count=lambda: 2)
  )
  assert get_memory(cpu) == pytest.approx(0.6 * 8 * GIB)


def test_memory_of_a_container(tmp_path):
  assert find_memory_limit(tmp_path) is None
  (tmp_path / "proc").mkdir()
  (tmp_path / "proc/meminfo").write_text("MemTotal: 8388608 kB\n")
  limit = tmp_path / "sys/fs/cgroup/memory.max"
  limit.parent.mkdir(parents=True)
  limit.write_text("max\n")
  assert find_memory_limit(tmp_path) == 8 * GIB
  limit.write_text("1048576\n")
  assert find_memory_limit(tmp_path) == 2**20
