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


# What `create_learning_rate_schedule` of google-research/big_vision, commit
# 0127fb6, returns for a run of 1,000 steps, called in a Python of its own with
# base=1.0, decay_type="rsqrt", timescale=100 and these.
STEPS = (0, 5, 10, 50, 100, 300, 400, 700, 800, 850, 900, 999)
RELEASED = [
  (
    dict(warmup_steps=10),  # Shorter than the timescale.
    [0, 0.5, 1, 0.8451542, 0.7254763, 0.5063697, 0.4517539, 0.355784]
    + [0.3352008, 0.326164, 0.3178209, 0.3030303],
  ),
  (
    dict(warmup_steps=100),  # As long.
    [0, 0.05, 0.1, 0.5, 1, 0.5773503, 0.5, 0.3779645]
    + [0.3535534, 0.3429972, 0.3333333, 0.316386],
  ),
  (
    dict(warmup_steps=400),  # Longer.
    [0, 0.0125, 0.025, 0.125, 0.25, 0.75, 1, 0.5]
    + [0.4472136, 0.4264014, 0.4082483, 0.3782347],
  ),
  (
    dict(warmup_steps=50, cooldown_steps=200),
    [0, 0.1, 0.2, 1, 0.8164966, 0.5345225, 0.4714046, 0.3651484]
    + [0.3429972, 0.25, 0.1622214, 0.001543769],
  ),
  (
    dict(warmup_steps=50, cooldown_steps=200, shift=300),
    [0, 0.05, 0.1, 0.5, 0.4714046, 0.3922323, 0.3651484, 0.3086067]
    + [0.2948839, 0.2165063, 0.1414214, 0.001361332],
  ),
]


@pytest.mark.parametrize(("keys", "expected"), RELEASED)
def test_rsqrt_is_that_of_the_released_code(keys, expected):
  options = optim.Optim(lr=1.0, schedule="rsqrt", timescale=100, **keys)
  schedule = optim.make_schedule(options, 1000)
  # Seven digits are written above; 1 - 199 / 200 has five of them.
  np.testing.assert_allclose(
    [schedule(s) for s in STEPS], expected, rtol=2e-6, atol=1e-8
  )


RSQRT = optim.Optim(
  lr=2.0, schedule="rsqrt", timescale=100, warmup_steps=20, end_lr=0.25
)


def compute_rsqrt(step):
  """The formula, in float64."""
  return 2 * min(step / 20, 1) / np.sqrt(1 + max(step - 20, 0) / 100)


@pytest.mark.parametrize("kind", ["rsqrt", "constant"])
def test_cool_down(kind):
  """The schedule goes on, and is faded out."""
  options = dataclasses.replace(RSQRT, schedule=kind, cooldown_steps=100)
  hot = optim.make_schedule(dataclasses.replace(options, cooldown_steps=0), 500)
  cold = optim.make_schedule(options, 500)
  for step in (0, 5, 50, 300, 399, 400):
    assert float(cold(step)) == float(hot(step))
  steps = np.arange(400, 501)
  rates = np.full(101, 2.0)
  if kind == "rsqrt":
    rates = np.array([compute_rsqrt(s) for s in steps])
    np.testing.assert_allclose([hot(s) for s in steps], rates, rtol=1e-6)
  left = (500 - steps) / 100
  found = [cold(s) for s in steps]
  np.testing.assert_allclose(found, rates * left + 0.25 * (1 - left), rtol=1e-6)


def test_a_cool_down_has_what_the_warm_up_leaves_it():
  options = dataclasses.replace(RSQRT, cooldown_steps=10**6)
  schedule = optim.make_schedule(options, 40)
  found = [schedule(s) for s in (5, 10, 20, 30, 40)]
  expected = [0.5, 1, 2, (compute_rsqrt(30) + 0.25) / 2, 0.25]
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  schedule = optim.make_schedule(options, 5)
  np.testing.assert_allclose(schedule(4), 0.4, rtol=1e-6)


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
