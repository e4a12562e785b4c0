# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import optim


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


def run(options, params, gradients):
  tx = optim.make_optimizer(options, optim.make_schedule(options, 100))
  state = tx.init(params)
  for gradient in gradients:
    updates, state = tx.update(gradient, state, params)
    params = {k: params[k] + updates[k] for k in params}
  return params


def test_adam_decays_kernels_by_the_learning_rate_and_nothing_else():
  lr, wd, b1, b2 = 0.1, 0.3, 0.9, 0.999
  options = optim.Optim(lr=lr, schedule="constant", weight_decay=wd)
  params = {"kernel": np.float64([1, -2]), "bias": np.float64([1, -2])}
  gradients = np.random.default_rng(0).normal(size=(3, 2))
  expected = {name: value.copy() for name, value in params.items()}
  for name, decay in (("kernel", wd), ("bias", 0.0)):
    m, v = np.zeros(2), np.zeros(2)
    for t, g in enumerate(gradients, 1):
      m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
      step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
      expected[name] -= lr * (step + decay * expected[name])
  found = run(
    options,
    {k: jnp.asarray(v, jnp.float32) for k, v in params.items()},
    [{k: jnp.asarray(g, jnp.float32) for k in params} for g in gradients],
  )
  for name in params:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


def test_sgd_with_momentum():
  options = optim.Optim(name="sgd", lr=0.1, schedule="constant")
  gradients = [{"bias": jnp.asarray([g])} for g in (1.0, 2.0)]
  found = run(options, {"bias": jnp.asarray([0.0])}, gradients)
  np.testing.assert_allclose(found["bias"], [-0.1 * (1 + 0.9 + 2)], rtol=1e-6)


def test_gradients_are_clipped_to_their_global_norm():
  options = optim.Optim(name="sgd", lr=1.0, schedule="constant", clip_norm=1.0)
  gradient = {"a": jnp.asarray([3.0]), "b": jnp.asarray([4.0])}
  params = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
  found = run(options, params, [gradient])
  np.testing.assert_allclose([found["a"][0], found["b"][0]], [-0.6, -0.8])


def test_the_average_follows_early_and_settles_later():
  average, params = {"x": jnp.zeros(1)}, {"x": jnp.ones(1)}
  first = optim.update_ema(average, params, jnp.int32(0), 0.99)
  np.testing.assert_allclose(first["x"], [0.9], rtol=1e-6)
  late = optim.update_ema(average, params, jnp.int32(10**6), 0.99)
  np.testing.assert_allclose(late["x"], [0.01], rtol=1e-5)
