# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support import build, lower
from vit_jax.devices.mesh import make_mesh
from vit_jax.objectives.objective import Objective
from vit_jax.sharding import get_batch_sharding
from vit_jax.train_state import TrainState, compute_digest
from vit_jax.train_step import (
  accumulate_gradient,
  make_train_step,
  split_batch,
)


def run(config, devices, steps):
  """Trains a few steps; returns the state and every step's metrics."""
  exp = build(config, jax.devices()[:devices])
  step, state, history = lower(exp).compile(), exp.make_state(), []
  for batch in itertools.islice(exp.make_batches(0), steps):
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


def test_eight_devices_do_what_one_does(config):
  config["train"]["steps"] = 3
  one, expected = run(config, devices=1, steps=3)
  for mesh in (dict(), dict(fsdp=8), dict(fsdp=4, tensor=2)):
    eight, history = run(config | {"mesh": mesh}, devices=8, steps=3)
    for a, b in zip(expected, history, strict=True):
      assert a == pytest.approx(b, rel=1e-5)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
      # Adam divides by the root of tiny second moments, which amplifies the
      # rounding of sums that are added in another order: atol is 1 % of a step.
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_initial_parameters_do_not_depend_on_the_mesh(config):
  one, eight = (
    build(config, jax.devices()[:n]).make_state().params for n in (1, 8)
  )
  assert compute_digest(one) == compute_digest(eight)


def test_the_state_is_made_and_stays_where_it_belongs(config):
  config["model"]["variant"] = "Ti/4"
  config["mesh"] = dict(fsdp=4, tensor=2)
  exp = build(config)
  step, state = lower(exp).compile(), exp.make_state()
  places = jax.tree.map(lambda x: x.sharding, exp.abstract_state)
  assert jax.tree.map(lambda x: x.sharding, state) == places
  state, _ = step(state, next(exp.make_batches(0)))
  assert jax.tree.map(lambda x: x.sharding, state) == places


def test_one_batch_is_learned_by_heart(config):
  config["model"]["dropout"] = 0.0
  config["data"] |= dict(augment={}, crop="none")
  config["optim"] = dict(lr=1e-2, schedule="constant")
  exp = build(config, jax.devices()[:1])
  step, state = lower(exp).compile(), exp.make_state()
  batch = next(exp.make_batches(0))
  for _ in range(60):
    state, metrics = step(state, batch)
  loss, count = metrics["loss"]
  assert metrics["accuracy"] == (16.0, 16.0)
  assert loss / count < 0.01


def test_the_state_is_donated(config):
  exp = build(config, jax.devices()[:1])
  step, state = lower(exp).compile(), exp.make_state()
  step(state, next(exp.make_batches(0)))
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_steps_draw_keys_of_their_own_and_draw_them_again(config):
  """The same batch and parameters at another step meet another dropout."""
  config["optim"] = dict(lr=1e-3)
  config["model"]["dropout"] = 0.5
  exp = build(config, jax.devices()[:1])
  step, batch = lower(exp).compile(), next(exp.make_batches(0))

  def grad_norm(at):
    state = exp.make_state()
    kernel = state.params["head"]["kernel"]
    state.params["head"]["kernel"] = kernel + 0.1
    _, metrics = step(state.replace(step=state.step + at), batch)
    return float(metrics["grad_norm"][0])

  assert grad_norm(0) == grad_norm(0)
  assert grad_norm(0) != grad_norm(1)


def test_the_average_is_updated(config):
  exp = build(config, jax.devices()[:1])
  step, state = lower(exp).compile(), exp.make_state()
  # Copies, for a step donates what it is given.
  params = [jax.tree.map(np.copy, state.params)]
  for batch in itertools.islice(exp.make_batches(0), 2):
    state, _ = step(state, batch)
    params.append(jax.tree.map(np.copy, state.params))
  # From step 0 on: 1/10 of the first, then 2/11 of the second.
  for p0, p1, p2, average in zip(
    *(jax.tree.leaves(x) for x in (*params, state.ema)), strict=True
  ):
    p0, p1, p2 = (np.asarray(x, np.float64) for x in (p0, p1, p2))
    expected = p0 + 0.9 * (p1 - p0)
    expected = expected + 9 / 11 * (p2 - expected)
    np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-6)


def test_accumulation_is_the_big_batch(config, fill_state):
  """On a mesh, with padding that leaves micro-batches of several sizes."""
  config["model"]["dropout"] = 0.0
  config["data"] |= dict(augment={}, crop="none")
  config["optim"] = dict(name="sgd", lr=0.1, schedule="constant")
  config["objective"] = dict(label_smoothing=0.1)
  mask = np.ones(16, bool)
  mask[[1, 4, 5, 9, 13]] = False  # Of 1::4 all are padding.
  found = []
  for accumulate, devices in ((1, 1), (4, 4)):
    config["train"]["accumulate"] = accumulate
    config["mesh"] = dict(tensor=min(devices, 2))
    exp = build(config, jax.devices()[:devices])
    step, state = lower(exp).compile(), fill_state(exp)
    batch = next(exp.make_batches(0))
    batch["mask"] = jax.device_put(mask, batch["mask"].sharding)
    state, metrics = step(state, batch)
    # From a momentum of zero, this is the gradient itself.
    found.append(jax.device_get((state.opt_state[0].trace, metrics)))
  (expected, reference), (gradient, metrics) = found
  for name, (total, count) in reference.items():
    np.testing.assert_allclose(metrics[name][0], total, rtol=1e-6)
    assert metrics[name][1] == count
  assert reference["loss"][1] == 11
  pairs = zip(
    jax.tree_util.tree_leaves_with_path(expected),
    jax.tree.leaves(gradient),
    strict=True,
  )
  for (keys, a), b in pairs:
    norm = np.linalg.norm
    # Keys' biases have no gradient but rounding, in either form.
    assert norm(a - b) <= 1e-6 * max(1, norm(a)), keys


class Drawing(Objective):
  """An objective whose gradient is a number that it draws for its batch."""

  evaluate = None

  def loss(self, params, aux, batch, key):
    drawn = jax.random.uniform(key)
    count = batch["mask"].sum(dtype=jnp.float32)
    metrics = {"loss": (drawn * count, count)}
    aux = aux | {"seen": aux["seen"] + batch["image"]}
    return params["kernel"] * drawn, (metrics, aux)

  def update_aux(self, aux, params, step):
    return aux | {"new": aux["new"] + params["kernel"] + step}


def test_no_gradient_of_what_is_frozen_is_accumulated():
  """It is zero, and the loop over micro-batches does not carry it."""
  params = {"frozen": jnp.ones(7), "head": jnp.ones(3)}
  batch = {"x": jnp.arange(4.0), "mask": jnp.ones(4, bool)}

  def loss(params, aux, batch, key):
    total = batch["x"].mean() * (params["head"].sum() + params["frozen"].sum())
    return total, ({"loss": (total, 1.0)}, aux)

  def compute(trained):
    return accumulate_gradient(
      jax.grad(loss, has_aux=True),
      *(params, {}, batch, jax.random.key(0)),
      micro_batches=2,
      trained=trained,
    )[0]

  trained = {"frozen": False, "head": True}
  found, every = compute(trained), compute(None)
  np.testing.assert_array_equal(found["head"], every["head"])
  np.testing.assert_array_equal(every["head"], np.full(3, 1.5))
  np.testing.assert_array_equal(found["frozen"], np.zeros(7))
  for given, carried in ((trained, 0), (None, 1)):
    traced = jax.make_jaxpr(lambda given=given: compute(given))()
    (loop,) = (x for x in traced.eqns if x.primitive.name == "scan")
    assert sum(x.aval.shape == (7,) for x in loop.outvars) == carried


def run_drawing(accumulate):
  """One step on [0, 1, ... 7], which augmentation reverses and multiplies."""

  def augment(batch, key):
    factor = jax.random.uniform(key)
    return batch | {"image": batch["image"][::-1] * factor}

  tx = optax.sgd(1.0)
  step = make_train_step(
    Drawing(),
    tx,
    optax.constant_schedule(1.0),
    augment,
    seed=0,
    ema=None,
    accumulate=accumulate,
  )
  params = {"kernel": jnp.zeros(())}
  aux = {"seen": jnp.zeros(8 // accumulate), "new": jnp.float32(10)}
  state = TrainState(jnp.int32(0), params, tx.init(params), None, aux)
  batch = {"image": jnp.arange(8.0), "mask": jnp.ones(8, bool)}
  state, metrics = jax.jit(step)(state, batch)
  # It is changed once, whatever the micro-batches, by the new parameters.
  np.testing.assert_array_equal(state.aux["new"], 10 + state.params["kernel"])
  return -float(state.params["kernel"]), metrics, np.asarray(state.aux["seen"])


def test_a_micro_batch_has_its_own_key_and_a_batch_one_augmentation():
  whole, _, seen = run_drawing(1)
  mean, metrics, sums = run_drawing(2)
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0)
  augment_key, loss_key = jax.random.split(key)
  factor = float(jax.random.uniform(augment_key))
  np.testing.assert_allclose(seen, factor * np.arange(8.0)[::-1], rtol=1e-6)
  # Not split, the key is the step's, as it always was.
  assert whole == pytest.approx(float(jax.random.uniform(loss_key)))
  draws = [
    float(jax.random.uniform(jax.random.fold_in(loss_key, i))) for i in (0, 1)
  ]
  assert draws[0] != draws[1]
  assert mean == pytest.approx(np.mean(draws), rel=1e-6)
  assert float(metrics["loss"][0]) == pytest.approx(4 * sum(draws), rel=1e-6)
  # What an objective keeps goes from one to the next: 7+6, 5+4, 3+2, 1+0.
  np.testing.assert_allclose(sums, factor * np.array([13, 9, 5, 1]), rtol=1e-6)


def test_splitting_a_batch_moves_nothing():
  mesh = make_mesh(fsdp=2, replica=2, tensor=2)
  place = get_batch_sharding(mesh)
  batch = {
    "image": jnp.arange(24.0).reshape(24, 1, 1, 1),
    "label": jnp.arange(24.0).reshape(24, 1),
    "mask": jnp.ones(24, bool),
  }
  batch = jax.device_put(batch, place)
  with jax.set_mesh(mesh):
    split = jax.jit(lambda batch: split_batch(batch, 3))
    compiled = split.lower(batch).compile()
    parts = compiled(batch)
  for name, x in parts.items():
    assert x.shape == (3, 8, *batch[name].shape[1:])
    assert x.sharding.shard_shape(x.shape)[:2] == (3, 2)
  for i in range(3):
    np.testing.assert_array_equal(parts["label"][i, :, 0], np.arange(i, 24, 3))
  text = compiled.as_text()
  for transfer in ("all-to-all", "all-gather", "all-reduce", "permute"):
    assert transfer not in text, transfer
