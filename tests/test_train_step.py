# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import jax
import numpy as np
import pytest

from vit_jax.data import pipeline
from vit_jax.experiment import Experiment
from vit_jax.train_state import get_digest


def get_batches(exp):
  return pipeline.make_train_batches(
    exp.data,
    exp.mesh,
    exp.info.channels,
    batch_size=exp.train.batch_size,
    seed=exp.train.seed,
    start_step=0,
  )


def run(config, devices, steps):
  """Trains a few steps; returns the state and every step's metrics."""
  exp = Experiment(config, jax.devices()[:devices])
  step, state, history = exp.lower_train_step().compile(), exp.make_state(), []
  for batch in itertools.islice(get_batches(exp), steps):
    state, metrics = step(state, batch)
    history.append({k: float(s / n) for k, (s, n) in metrics.items()})
  return state, history


def test_the_first_loss_is_that_of_knowing_nothing(config):
  _, history = run(config, devices=1, steps=1)
  assert history[0]["loss"] == pytest.approx(math.log(10), abs=1e-5)


def test_the_first_sigmoid_loss_is_that_of_its_bias(config):
  config["objective"] = dict(cross_entropy="sigmoid")
  config["model"]["head_bias"] = -10.0
  _, history = run(config, devices=1, steps=1)
  # One class is there at log-odds of -10 and nine are not.
  expected = math.log1p(math.exp(10)) + 9 * math.log1p(math.exp(-10))
  assert history[0]["loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
  "mesh", [dict(), dict(fsdp=1, replica=8), dict(fsdp=4, tensor=2)]
)
def test_eight_devices_do_what_one_does(config, mesh):
  config["train"]["steps"] = 3
  one, expected = run(config, devices=1, steps=3)
  eight, history = run(config | {"mesh": mesh}, devices=8, steps=3)
  for a, b in zip(expected, history, strict=True):
    assert a == pytest.approx(b, rel=1e-5)
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
    # Adam divides by the root of tiny second moments, which amplifies the
    # rounding of sums that are added in another order: atol is 1 % of a step.
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_initial_parameters_do_not_depend_on_the_mesh(config):
  one, eight = (
    Experiment(config, jax.devices()[:n]).make_state().params for n in (1, 8)
  )
  assert get_digest(one) == get_digest(eight)


def test_the_state_is_made_and_stays_where_it_belongs(config):
  config["model"]["variant"] = "Ti/4"
  config["mesh"] = dict(fsdp=4, tensor=2)
  exp = Experiment(config)
  step, state = exp.lower_train_step().compile(), exp.make_state()
  places = jax.tree.map(lambda x: x.sharding, exp.abstract_state)
  assert jax.tree.map(lambda x: x.sharding, state) == places
  state, _ = step(state, next(get_batches(exp)))
  assert jax.tree.map(lambda x: x.sharding, state) == places


def test_one_batch_is_learned_by_heart(config):
  config["model"]["dropout"] = 0.0
  config["data"] |= dict(augment={}, crop="none")
  config["optim"] = dict(lr=1e-2, schedule="constant")
  exp = Experiment(config, jax.devices()[:1])
  step, state = exp.lower_train_step().compile(), exp.make_state()
  batch = next(get_batches(exp))
  for _ in range(60):
    state, metrics = step(state, batch)
  loss, count = metrics["loss"]
  assert metrics["accuracy"] == (16.0, 16.0)
  assert loss / count < 0.01


def test_the_state_is_donated(config):
  exp = Experiment(config, jax.devices()[:1])
  step, state = exp.lower_train_step().compile(), exp.make_state()
  step(state, next(get_batches(exp)))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_steps_draw_keys_of_their_own_and_draw_them_again(config):
  """The same batch and parameters at another step meet another dropout."""
  config["optim"] = dict(lr=1e-3)
  config["model"]["dropout"] = 0.5
  exp = Experiment(config, jax.devices()[:1])
  step, batch = exp.lower_train_step().compile(), next(get_batches(exp))

  def grad_norm(at):
    state = exp.make_state()
    kernel = state.params["head"]["kernel"]
    state.params["head"]["kernel"] = kernel + 0.1
    _, metrics = step(state.replace(step=state.step + at), batch)
    return float(metrics["grad_norm"][0])

  assert grad_norm(0) == grad_norm(0)
  assert grad_norm(0) != grad_norm(1)


def test_the_average_is_updated(config):
  state, _ = run(config, devices=1, steps=2)
  # From step 0 on: 1/10 of the first, then 2/11 of the second.
  first, _ = run(config, devices=1, steps=1)
  start = Experiment(config, jax.devices()[:1]).make_state().params
  for p0, p1, p2, average in zip(
    *(
      jax.tree.leaves(x) for x in (start, first.params, state.params, state.ema)
    ),
    strict=True,
  ):
    p0, p1, p2 = (np.asarray(x, np.float64) for x in (p0, p1, p2))
    expected = p0 + 0.9 * (p1 - p0)
    expected = expected + 9 / 11 * (p2 - expected)
    np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)
