# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from vit_jax import optim
from vit_jax.config import ConfigError


@pytest.mark.parametrize(
  ("schedule", "expected"),
  [
    # Step: 0, half the warm-up, its end, half of the rest, the end.
    ("cosine", [0, 0.5, 1, 0.1 + 0.9 / 2, 0.1]),
    ("linear", [0, 0.5, 1, 0.1 + 0.9 / 2, 0.1]),
    ("constant", [0, 0.5, 1, 1, 1]),
  ],
)
def test_schedules(schedule, expected):
  options = optim.Optim(lr=1.0, schedule=schedule, warmup_steps=10, end_lr=0.1)
  found = [optim.make_schedule(options, 110)(s) for s in (0, 5, 10, 60, 110)]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_cosine_is_a_cosine():
  schedule = optim.make_schedule(optim.Optim(lr=2.0), 100)
  steps = np.arange(101)
  expected = 1 + np.cos(np.pi * steps / 100)
  np.testing.assert_allclose([schedule(s) for s in steps], expected, atol=1e-6)


def test_a_run_shorter_than_its_warm_up_does_the_first_of_it():
  options = optim.Optim(lr=1.0, warmup_steps=10)
  schedule = optim.make_schedule(options, 5)
  np.testing.assert_allclose([schedule(s) for s in (0, 2, 4)], [0, 0.2, 0.4])


RSQRT = optim.Optim(
  lr=2.0, schedule="rsqrt", timescale=100, warmup_steps=10, end_lr=0.25
)


def test_rsqrt():
  schedule = optim.make_schedule(RSQRT, 10_000)
  found = [schedule(s) for s in (0, 5, 10, 100, 400, 2500, 10_000)]
  np.testing.assert_allclose(found, [0, 1, 2, 2, 1, 0.4, 0.2], rtol=1e-6)


def test_an_rsqrt_that_falls_during_the_warm_up_does_not_jump():
  options = dataclasses.replace(RSQRT, warmup_steps=400)
  schedule = optim.make_schedule(options, 10_000)
  found = [schedule(s) for s in (0, 200, 399, 400, 1600)]
  np.testing.assert_allclose(found, [0, 0.5, 0.9975, 1, 0.5], rtol=1e-6)


@pytest.mark.parametrize("schedule", ["rsqrt", "constant"])
def test_cool_down(schedule):
  options = dataclasses.replace(RSQRT, schedule=schedule, cooldown_steps=100)
  hot = optim.make_schedule(dataclasses.replace(options, cooldown_steps=0), 500)
  cold = optim.make_schedule(options, 500)
  for step in (0, 5, 50, 300, 399, 400):
    assert float(cold(step)) == float(hot(step))
  start = float(hot(400))
  found = [cold(s) for s in (425, 450, 499, 500)]
  expected = [start + (0.25 - start) * t for t in (0.25, 0.5, 0.99, 1)]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_cool_down_has_what_the_warm_up_leaves_it():
  options = dataclasses.replace(RSQRT, cooldown_steps=10**6)
  schedule = optim.make_schedule(options, 30)
  found = [schedule(s) for s in (5, 10, 20, 30)]
  np.testing.assert_allclose(found, [1, 2, 1.125, 0.25], rtol=1e-6)
  schedule = optim.make_schedule(options, 5)
  np.testing.assert_allclose(schedule(4), 0.8, rtol=1e-6)


@pytest.mark.parametrize(
  ("lengths", "expected"),
  [
    (dict(steps=3, epochs=9.0, examples=9), 3),
    (dict(epochs=0.5, examples=9), 156),  # 1,250 / 2 / 4 is 156.25.
    (dict(examples=9), 2),
    ({}, None),
  ],
)
def test_durations(lengths, expected):
  lengths = dict.fromkeys(optim.LENGTHS) | lengths
  assert optim.count_steps(lengths, 1250, 4) == expected


@pytest.mark.parametrize(
  ("lengths", "expected"),
  [
    (dict(warmup_steps=7), (7, 0)),
    (dict(warmup_epochs=2.0), (500, 0)),
    (dict(warmup_examples=40, cooldown_epochs=1.0), (8, 250)),
    (dict(cooldown_examples=50), (0, 10)),
  ],
)
def test_phases_are_counted_in_steps(lengths, expected):
  options = optim.Optim(lr=1.0, schedule="rsqrt", **lengths)
  once = optim.set_phases(options, 1250, 5)
  assert (once.warmup_steps, once.cooldown_steps) == expected
  assert optim.set_phases(once, 1250, 5) == once


def test_a_phase_has_one_length():
  options = optim.Optim(
    lr=1.0, warmup_steps=7, warmup_epochs=1.0, cooldown_epochs=2.0
  )
  with pytest.raises(ConfigError) as caught:
    optim.set_phases(options, 1250, 5)
  given = "optim.warmup_steps=7 and optim.warmup_epochs=1.0"
  assert str(caught.value).startswith(given)
