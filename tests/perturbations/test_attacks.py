# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Attacks on a linear model, whose worst images are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.perturbations import attacks
from vit_jax.perturbations.patches import place_squares

SHAPE = (6, 5, 4, 3)


@pytest.fixture
def weights():
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.normal(size=(1, *SHAPE[1:])), jnp.float32)


@pytest.fixture
def images():
  values = np.random.default_rng(1).uniform(-40, 295, SHAPE).clip(0, 255)
  return jnp.asarray(values.round(), jnp.float32)  # Many at the ends.


def make_keys(seed=0):
  return jax.random.split(jax.random.key(seed), SHAPE[0])


@pytest.mark.parametrize("epsilon", [0.25, 1.0, 8.0, 64.0])
@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_stays_in_the_ball_and_the_range(weights, images, epsilon, steps):
  gradient = lambda x: jnp.broadcast_to(weights, x.shape)  # noqa: E731
  found = attacks.attack_pixels(gradient, images, make_keys(), epsilon, steps)
  # Of values up to 255 float32 keeps 2^-16.
  assert (jnp.abs(found - images) <= epsilon + 2e-5).all()
  assert (found >= 0).all() and (found <= 255).all()
  gain = ((found - images) * weights).sum(axis=(1, 2, 3))
  # The best within both: epsilon along each sign, cut off at the range.
  best = jnp.clip(images + epsilon * jnp.sign(weights), 0, 255)
  most = ((best - images) * weights).sum(axis=(1, 2, 3))
  assert (gain <= most * (1 + 1e-5)).all() and (gain > 0).all()
  # 2.5 epsilon in all reach it from anywhere.
  np.testing.assert_allclose(gain, most, rtol=1e-4)


def test_without_ends_the_gain_is_epsilon_times_the_l1_norm(weights):
  images = jnp.full(SHAPE, 128.0)
  gradient = lambda x: jnp.broadcast_to(weights, x.shape)  # noqa: E731
  found = attacks.attack_pixels(gradient, images, make_keys(), 4.0, 10)
  gain = ((found - images) * weights).sum(axis=(1, 2, 3))
  np.testing.assert_allclose(gain, [4 * jnp.abs(weights).sum()] * 6, rtol=1e-5)


def test_starts_differ_and_no_gradient_leaves_them(images):
  found = [
    attacks.attack_pixels(jnp.zeros_like, images, make_keys(seed), 8.0, 3)
    for seed in (0, 0, 1)
  ]
  np.testing.assert_array_equal(found[0], found[1])
  inside = (images > 8) & (images < 247)
  gaps = (found[0] - images)[inside]
  # Uniform in the ball.
  assert abs(float(gaps.mean())) < 2 and 6 < float(jnp.abs(gaps).max()) <= 8
  assert float(jnp.abs(gaps).mean()) == pytest.approx(4, abs=0.6)
  assert (found[0] != found[2])[inside].mean() > 0.99


def test_a_patch_is_all_that_changes(weights, images):
  square = place_squares(make_keys(3), SHAPE[1:3], (5, 4), 2, False)
  gradient = lambda x: jnp.broadcast_to(weights, x.shape)  # noqa: E731
  found = attacks.attack_square(gradient, images, make_keys(), square, 10)
  mask = np.broadcast_to(square, SHAPE)
  np.testing.assert_array_equal(found[~mask], images[~mask])
  # There it is the worst there is.
  worst = np.broadcast_to(np.where(np.asarray(weights) > 0, 255, 0), SHAPE)
  np.testing.assert_array_equal(found[mask], worst[mask])
  assert mask.sum() == 6 * 4 * 3


def test_steps_follow_the_gradient_where_it_turns():
  """Of -(x - 100)^2 the top is inside the ball: x goes there and stays near."""
  start = jnp.full((1, 2, 2, 1), 96.0)
  found = attacks.attack_pixels(
    lambda x: -2 * (x - 100), start, make_keys()[:1], 8.0, 40
  )
  # One step is 2.5 * 8 / 40.
  assert (jnp.abs(found - 100) <= 0.5).all()
