# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers that are not finite, in steps that really make them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support import build, lower
from vit_jax import optim
from vit_jax.metrics import spikes as spiking
from vit_jax.objectives.objective import Objective
from vit_jax.optim import nonfinite
from vit_jax.optim.options import OPTIMIZERS
from vit_jax.runtime.nonfinite import add_range
from vit_jax.sharding import get_path
from vit_jax.train_state import NonFinite, TrainState
from vit_jax.train_step import make_train_step


def get_bits(state):
  """Everything of a state but its non-finite record, by path."""
  leaves = jax.tree_util.tree_leaves_with_path(state.replace(nonfinite=None))
  return {
    jax.tree_util.keystr(keys): np.asarray(x).tobytes() for keys, x in leaves
  }


def read_record(state):
  """(first bad step, its tensor, ranges that were skipped)."""
  found = jax.device_get(state.nonfinite)
  skipped = found.skipped[: found.count].tolist()
  assert not found.skipped[found.count :].any()
  return int(found.bad_step), int(found.bad_tensor), skipped


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_bad_step_leaves_the_state_to_the_bit(config, accumulate):
  """An infinite parameter, on a mesh, in one batch and in micro-batches."""
  config["train"]["accumulate"] = accumulate
  config["mesh"] = dict(fsdp=2, tensor=2)
  exp = build(config, jax.devices()[:4])
  step, batches = lower(exp).compile(), exp.make_batches(0)
  state, metrics = step(exp.make_state(), next(batches))
  assert read_record(state) == (0, 0, [])
  good, before = jax.device_get(state), get_bits(state)
  bias = state.params["head"]["bias"]
  state.params["head"]["bias"] = jax.device_put(
    np.full(bias.shape, np.inf, np.float32), bias.sharding
  )
  poisoned = get_bits(state)
  assert poisoned != before
  state, metrics = step(state, next(batches))
  assert get_bits(state) == poisoned
  assert read_record(state) == (2, 1, [])
  assert [int(metrics[name][0]) for name in nonfinite.CHECKS] == [2, 1, 0]
  assert nonfinite.list_tensors(state.params, state.aux)[0] == "loss"
  # Of the same program no later step changes anything, however good it is.
  places = jax.tree.map(lambda x: x.sharding, exp.abstract_state)
  state = jax.device_put(good.replace(nonfinite=state.nonfinite), places)
  state, metrics = step(state, next(batches))
  assert get_bits(state) == before
  assert read_record(state) == (2, 1, [])
  assert [int(metrics[name][0]) for name in nonfinite.CHECKS] == [2, 1, 0]


class Sum(Objective):
  """An objective whose gradient is its batch, path by path."""

  evaluate = None

  def loss(self, params, aux, batch, key):
    found = sum(
      (leaf * batch[get_path(keys)]).sum()
      for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
    )
    return found, ({"loss": (jnp.zeros(()), 1.0)}, aux)


def run(objective, tx, schedule, params, batches, *, aux=None, **options):
  """States after every step of a small objective, the first included."""
  step = jax.jit(
    make_train_step(
      objective, tx, schedule, lambda batch, _: batch, seed=0, **options
    )
  )
  ema = None if options["ema"] is None else jax.tree.map(jnp.copy, params)
  state = TrainState(jnp.int32(0), params, tx.init(params), ema, aux or {})
  states = [state]
  for batch in batches:
    state, metrics = step(state, batch)
    states.append(state)
  return states, metrics


def test_skipped_batches_leave_what_the_others_would(config):
  """Up to the limit; the learning rate is that of the step all the while."""
  rates = jnp.asarray([1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6])
  schedule = lambda step: rates[step]  # noqa: E731
  tx = optim.optimizer.scale_by_learning_rate(schedule)
  gradients = [1.0, np.nan, 2.0, np.inf, 3.0, -np.inf, 4.0]
  states, metrics = run(
    Sum(),
    tx,
    schedule,
    {"a": jnp.zeros(2), "b": jnp.zeros(())},
    [{"a": jnp.ones(2), "b": jnp.float32(x)} for x in gradients],
    ema=None,
    max_skipped_steps=2,
  )
  found = [float(state.params["b"]) for state in states]
  good = [0.0, -1.0, -201.0, -30201.0]
  assert found == [good[i] for i in (0, 1, 1, 2, 2, 3, 3, 3)]
  assert [float(s.params["a"][1]) for s in states][-1] == -10101.0
  assert [int(s.step) for s in states] == [0, 1, 2, 3, 4, 5, 5, 5]
  names = nonfinite.list_tensors(states[0].params, {})
  assert names[2] == "gradient of b"
  assert read_record(states[5]) == (0, 0, [[2, 2], [4, 4]])
  # The third is one too many: it ends the run, and no good one starts it again.
  for state in states[6:]:
    assert read_record(state) == (6, 3, [[2, 2], [4, 4]])
  assert float(metrics["lr"][0]) == 1e5


def test_a_state_has_room_for_the_most_that_a_config_allows():
  tx = optim.optimizer.scale_by_learning_rate(optax.constant_schedule(1.0))
  batches = [{"a": jnp.float32(np.nan)}] * 65
  states, _ = run(
    Sum(),
    tx,
    optax.constant_schedule(1.0),
    {"a": jnp.zeros(())},
    batches,
    ema=None,
    max_skipped_steps=64,
  )
  rows = [[i, i] for i in range(1, 65)]
  assert read_record(states[64]) == (0, 0, rows)
  assert read_record(states[65]) == (65, 2, rows)
  assert int(states[65].step) == 64


class Roots(Objective):
  """An objective that is finite at zero, where its gradient is not."""

  evaluate = None

  def loss(self, params, aux, batch, key):
    found = jnp.sqrt(params["root"]) + params["a"].sum()
    aux = {"seen": aux["seen"] + batch["x"]}
    return found, ({"loss": (found, 1.0)}, aux)


@pytest.mark.parametrize(
  ("root", "batch", "lr", "name"),
  [
    (0.0, 0.0, 1.0, "gradient of root"),
    (4.0, 0.0, 1e38, "update of a"),
    (4.0, 0.0, np.inf, "update of a"),
    (4.0, np.nan, 1.0, "aux seen"),
    (-1.0, 0.0, 1.0, "loss"),
    (4.0, 0.0, 1.0, None),
  ],
)
def test_the_first_tensor_is_named(root, batch, lr, name):
  schedule = optax.constant_schedule(lr)
  params = {"a": jnp.ones(3), "root": jnp.float32(root)}
  states, metrics = run(
    Roots(),
    optim.optimizer.scale_by_learning_rate(schedule),
    schedule,
    params,
    [{"x": jnp.float32(batch)}],
    ema=0.9,
    aux={"seen": jnp.zeros(2)},
  )
  names = nonfinite.list_tensors(params, {"seen": 0})
  good, skipped, bad = nonfinite.read_results(7, [metrics], names)
  assert not skipped
  if name is None:
    assert bad is None and set(good[0]).isdisjoint(nonfinite.CHECKS)
    np.testing.assert_allclose(
      float(good[0]["update_norm"][0]), np.sqrt(3 + 1 / 16), rtol=1e-6
    )
  else:
    assert not good and (bad.step, bad.tensor) == (7, name)
    assert get_bits(states[1]) == get_bits(states[0])


@pytest.mark.parametrize("lr", [1e-3, 1e38])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimizer_makes_what_is_not_finite(name, clip, lr):
  """Up to the largest numbers: its state is finite, or that of the step before.

  Moments and new parameters are not looked at by the step; here they are.
  """
  options = optim.Optim(
    name=name,
    lr=lr,
    schedule="constant",
    clip_norm=clip,
    weight_decay=0.1,
    ema=0.9,
  )
  schedule = optim.make_schedule(options, 100)
  shapes = {
    "Transformer": {
      "encoderblock": {"Dense_0": {"kernel": (2, 32, 40), "bias": (2, 40)}}
    },
    "head": {"kernel": (40, 3), "bias": (3,)},
  }
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )
  direction = {
    get_path(keys): jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    for keys, x in jax.tree_util.tree_leaves_with_path(params)
  }
  sizes = [1.0, 1e10, 1e16, 1e17, 1e18, 1e19, 1e20, 3e37, np.inf, np.nan, 0.0]
  states, _ = run(
    Sum(),
    optim.make_optimizer(options, schedule),
    schedule,
    params,
    [{path: x * size for path, x in direction.items()} for size in sizes],
    ema=0.9,
    max_skipped_steps=64,
  )
  changed = []
  for before, after in zip(states, states[1:], strict=False):
    a, b = (get_bits(s.replace(step=0)) for s in (before, after))
    changed.append(a != b)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
  assert changed[0] == (lr < 1) and not any(changed[5:10])
  skipped = read_record(states[-1])[2]
  assert skipped == [[i, i] for i, x in enumerate(changed, 1) if not x]


def test_only_results_of_steps_that_changed_something_are_kept():
  def result(loss, *verdict):
    pairs = {"loss": (loss, 2.0), "grad_norm": (3.0, 1.0), "lr": (0.5, 1.0)}
    pairs |= {"update_norm": (4.0, 1.0)}
    return pairs | {
      name: (x, 1.0) for name, x in zip(nonfinite.CHECKS, verdict, strict=True)
    }

  results = [
    result(2.0, 0, 0, 3),
    result(np.nan, 0, 1, 4),
    result(4.0, 0, 0, 4),
    result(6.0, 14, 2, 4),
    result(8.0, 14, 2, 4),
  ]
  names = ["loss", "gradient of x"]
  good, skipped, bad = nonfinite.read_results(15, results, names)
  assert [pairs["loss"][0] for pairs in good] == [2.0, 4.0]
  assert [(x.step, x.tensor, x.skipped) for x in skipped] == [(12, "loss", 4)]
  assert bad == nonfinite.NonFiniteStep(
    14, "gradient of x", 4, 3.0, 3.0, 4.0, 0.5
  )
  assert str(bad) == (
    "step 14: gradient of x is not finite (loss 3, gradient norm 3, update "
    "norm 4, learning rate 0.5)"
  )
  assert nonfinite.read_results(15, results[:1], names)[1:] == ([], None)


def test_a_spike_is_far_above_the_median():
  spikes = spiking.SpikeDetector()
  # Median 2, and half of them are 0.1 or more away from it.
  assert [spikes.add(x) for x in [1.9, 2.1] * 10] == [None] * 20
  spread = 6 * 1.4826 * 0.1
  assert spikes.add(2 + spread - 0.01) is None
  again = spiking.SpikeDetector()
  for x in [1.9, 2.1] * 10:
    again.add(x)
  assert again.add(2 + spread + 0.01) == 2.0
  # The spike hardly moves the level, and a loss that falls is none.
  assert again.add(0.1) is None
  assert again.add(9.0) == pytest.approx(2.0, abs=0.11)


def test_a_steady_loss_must_rise_by_a_tenth():
  spikes = spiking.SpikeDetector()
  for _ in range(19):
    assert spikes.add(1.0) is None
  assert spikes.add(5.0) is None, "there are not enough before it"
  assert spikes.add(1.09) is None
  assert spikes.add(1.11) == 1.0


def test_the_record_is_small_and_new_in_every_state():
  made = jax.tree.leaves(dataclasses.astuple(NonFinite()))
  assert sum(x.nbytes for x in made) == 4 * (3 + 2 * 64)
  skipped = add_range(NonFinite(bad_step=np.int32(9)), 4, 9)
  skipped = add_range(skipped, 4, 12)
  found = functools.partial(TrainState, 0, {}, (), None, {})(skipped)
  assert read_record(found) == (0, 0, [[4, 9], [4, 12]])
  assert read_record(TrainState(0, {}, (), None, {})) == (0, 0, [])
