# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""MoCo v3's loss, heads and average, against NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models
from vit_jax.objectives.moco import Heads, Moco, compare
from vit_jax.objectives.momentum import (
  compute_momentum,
  measure_spread,
  merge,
  split,
  stack_views,
)
from vit_jax.objectives.objective import Setting

RNG = np.random.default_rng(0)
MODEL = models.make_model(0, variant="mu/4", dtype="float32")
SETTING = Setting(steps=10, epoch=2.0, views=2)
OBJECTIVE = Moco(MODEL, SETTING, hidden=24, outputs=12)
BATCH = {
  "image": jnp.asarray(RNG.uniform(-1, 1, (6, 8, 8, 1)), jnp.float32),
  "views": jnp.asarray(RNG.uniform(-1, 1, (6, 1, 8, 8, 1)), jnp.float32),
  "label": jnp.zeros(6, jnp.int32),
  "mask": jnp.ones(6, bool),
}
KEY = jax.random.key(0)


@functools.cache
def make_params():
  """Parameters, and others, of which the average is made."""
  init = jax.jit(OBJECTIVE.module.init)
  return [
    init(jax.random.key(seed), BATCH["image"])["params"] for seed in (1, 2)
  ]


def apply_heads(params, x):
  """Projections and predictions [B E] of one view, in float64."""
  own, found = params["moco"], []
  for name, count in (("projector", 3), ("predictor", 2)):
    for i in range(count):
      layer = {
        k: np.asarray(v, np.float64) for k, v in own[f"{name}_{i}"].items()
      }
      x = x @ layer["kernel"]
      x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
      if i < count - 1:
        x = np.maximum(x * layer["scale"] + layer["bias"], 0)
      else:
        assert layer.keys() == {"kernel"}
    found.append(x)
  return found


def encode(params, image):
  return np.asarray(jax.jit(MODEL.apply)({"params": params}, image), np.float64)


def test_the_loss_is_infonce_of_both_ways():
  params, other = make_params()
  views = [BATCH["image"], BATCH["views"][:, 0]]
  queries = [apply_heads(params, encode(params, x))[1] for x in views]
  keys = [apply_heads(other, encode(other, x))[0] for x in views]
  expected, hits = 0.0, 0
  for q, k in ((queries[0], keys[1]), (queries[1], keys[0])):
    q, k = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
    logits = q @ k.T / 0.2
    log_p = scipy.special.log_softmax(logits, axis=1)
    expected += -2 * 0.2 * np.diag(log_p).mean()
    hits += (logits.argmax(axis=1) == np.arange(6)).mean() / 2
  loss, (metrics, aux) = jax.jit(OBJECTIVE.loss)(
    params, {"momentum": other}, BATCH, KEY
  )
  # Batches of six are normalised by their deviations, in float32.
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  total, count = metrics["accuracy"]
  assert count == 6
  np.testing.assert_allclose(total / count, hits, rtol=1e-5)
  units = [
    x / np.linalg.norm(x, axis=1)[:, None]
    for x in (encode(params, v) for v in views)
  ]
  units = np.concatenate(units)
  spread = math.sqrt(1 - np.square(units.mean(axis=0)).sum())
  np.testing.assert_allclose(metrics["spread"][0], spread, rtol=1e-3)
  assert aux.keys() == {"momentum"}


def test_no_gradient_reaches_the_average():
  params, other = make_params()

  def loss(other):
    return OBJECTIVE.loss(params, {"momentum": other}, BATCH, KEY)[0]

  for gradient in jax.tree.leaves(jax.jit(jax.grad(loss))(other)):
    np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_the_average_after_three_steps():
  """In float64; the momentum is that of the step that follows."""
  _, *steps = (
    jax.tree.map(lambda x, i=i: x + i, make_params()[0]) for i in range(4)
  )
  params = make_params()[0]
  aux = OBJECTIVE.init_aux(params, KEY)
  expected = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  for i, params in enumerate(steps):
    aux = jax.jit(OBJECTIVE.update_aux)(aux, params, jnp.asarray(i))
    momentum = 1 - 0.5 * (1 + math.cos(math.pi * (i + 1) / 10)) * 0.01
    expected = jax.tree.map(
      lambda a, p, m=momentum: m * a + (1 - m) * np.asarray(p, np.float64),
      *(expected, params),
    )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    *(aux["momentum"], expected),
  )


def test_momentum_rises_to_one():
  found = [float(compute_momentum(0.99, i, 10)) for i in (0, 5, 10)]
  np.testing.assert_allclose(found, [0.99, 0.995, 1.0], atol=1e-6)


def test_views_are_merged_and_split_again():
  views = stack_views(BATCH, "image", "views")
  assert views.shape == (6, 2, 8, 8, 1)
  np.testing.assert_array_equal(views[:, 1], BATCH["views"][:, 0])
  flat = merge(views).reshape(12, -1)
  np.testing.assert_array_equal(split(flat, 2)[4, 1], flat[9])


def test_spread_is_of_directions():
  x = jnp.asarray([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [0.0, -0.1]])
  np.testing.assert_allclose(measure_spread(x), 1, rtol=1e-6)
  assert measure_spread(jnp.full((4, 3), 7.0)) < 1e-3


def test_heads_normalise_each_view_for_itself():
  """A view that is shifted as a whole is projected alike."""
  heads = Heads(hidden=8, outputs=4)
  x = jnp.asarray(RNG.normal(size=(5, 2, 6)), jnp.float32)
  x = x.at[:, 1].set(x[:, 0] + 3)
  (found, _), _ = jax.jit(heads.init_with_output)(KEY, x)
  # What is left of the shift is rounding, enlarged by the normalisation.
  np.testing.assert_allclose(found[:, 0], found[:, 1], atol=1e-3)


def test_logits_are_cosines():
  q, k = (jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32) for _ in "ab")
  found = compare(q, k, 0.5)
  for i in range(3):
    for j in range(3):
      cosine = q[i] @ k[j] / (jnp.linalg.norm(q[i]) * jnp.linalg.norm(k[j]))
      np.testing.assert_allclose(found[i, j], 2 * cosine, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  ("setting", "keys"),
  [
    (Setting(), ["data.views.count=1"]),
    (Setting(views=3), ["data.views.count=3"]),
    (Setting(views=2, local=4), ["data.views.local=4"]),
    (Setting(views=2, accumulate=4), ["train.accumulate=4"]),
    (Setting(views=2, accumulate="auto"), []),
  ],
)
def test_what_does_not_go_together_is_named(setting, keys):
  errors = Moco(MODEL).place(setting).find_errors(8, 8, 1)
  assert len(errors) == len(keys)
  for error, key in zip(errors, keys, strict=True):
    assert key in error


def test_a_collapse_is_said_with_what_helps():
  assert OBJECTIVE.find_collapse({"spread": 0.2}) is None
  assert "optim.lr" in OBJECTIVE.find_collapse({"spread": 0.001})
