# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""DINO's loss, head, teacher and centre, against NumPy."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models
from vit_jax.models.other_size import find_size_errors, resize_positions
from vit_jax.objectives.dino import Dino, measure_information
from vit_jax.objectives.objective import Setting
from vit_jax.train_step import accumulate_gradient

RNG = np.random.default_rng(0)
MODEL = models.make_model(0, variant="mu/4", dtype="float32")
SETTING = Setting(steps=10, epoch=2.0, views=2, local=3, local_size=4)
OBJECTIVE = Dino(
  MODEL,
  SETTING,
  hidden=24,
  bottleneck=10,
  outputs=16,
  freeze_last_epochs=0.5,
  temperature_epochs=2.0,
)


def make_images(*shape):
  return jnp.asarray(RNG.uniform(-1, 1, shape), jnp.float32)


BATCH = {
  "image": make_images(8, 8, 8, 1),
  "views": make_images(8, 1, 8, 8, 1),
  "local": make_images(8, 3, 4, 4, 1),
  "label": jnp.zeros(8, jnp.int32),
  "mask": jnp.ones(8, bool),
}
KEY = jax.random.key(0)


@functools.cache
def make_params():
  """The student's parameters, and a teacher's."""
  init = jax.jit(OBJECTIVE.module.init)
  return [
    init(jax.random.key(seed), BATCH["image"])["params"] for seed in (1, 2)
  ]


def make_aux(step=1):
  aux = OBJECTIVE.init_aux(make_params()[1], KEY)
  center = jnp.asarray(RNG.normal(size=16) / 20, jnp.float32)
  return aux | {"center": center, "step": jnp.asarray(step, jnp.int32)}


def apply_head(params, x):
  """Logits [B Y] of representations, in float64."""
  own = jax.tree.map(lambda x: np.asarray(x, np.float64), params["dino"])
  for name in ("hidden_0", "hidden_1", "bottleneck"):
    x = x @ own[name]["kernel"] + own[name]["bias"]
    if name != "bottleneck":  # GELU by tanh, as this encoder's.
      inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
      x = 0.5 * x * (1 + np.tanh(inner))
  x = x / np.linalg.norm(x, axis=1, keepdims=True)
  kernel = own["last"]["kernel"]
  return x @ (kernel / np.linalg.norm(kernel, axis=0))


@functools.cache
def get_encoder():
  return jax.jit(MODEL.apply)


def encode(params, image):
  if image.shape[1:3] != (8, 8):
    params = resize_positions(params, MODEL, (8, 8), image.shape[1:3])
  return np.asarray(get_encoder()({"params": params}, image), np.float64)


def compute_loss(aux):
  """The loss by a loop over pairs of views, and the teacher's logits."""
  params, teacher = make_params()
  large = [BATCH["image"], BATCH["views"][:, 0]]
  small = [BATCH["local"][:, i] for i in range(3)]
  said = [apply_head(teacher, encode(teacher, x)) for x in large]
  ours = [apply_head(params, encode(params, x)) for x in (*large, *small)]
  temperature = 0.04 + 0.03 * min(1, int(aux["step"]) / 4)
  center = np.asarray(aux["center"], np.float64)
  terms = []
  for i, x in enumerate(said):
    p = scipy.special.softmax((x - center) / temperature, axis=1)
    for v, y in enumerate(ours):
      if v != i:
        log_q = scipy.special.log_softmax(y / 0.1, axis=1)
        terms.append(-(p * log_q).sum(axis=1).mean())
  assert len(terms) == 8
  return np.mean(terms), np.stack(said)


def test_the_loss_is_the_mean_over_pairs_of_other_views():
  aux = make_aux()
  expected, said = compute_loss(aux)
  loss, (metrics, new) = jax.jit(OBJECTIVE.loss)(
    make_params()[0], aux, BATCH, KEY
  )
  # A temperature of 0.04 enlarges roundings 25-fold.
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  np.testing.assert_allclose(
    new["sum"], said.sum(axis=(0, 1)), rtol=1e-3, atol=1e-5
  )
  assert new["count"] == 16
  assert metrics["loss"][1] == 8


def test_padding_counts_nothing():
  aux, mask = make_aux(), np.arange(8) < 5
  short = {k: x[:5] for k, x in BATCH.items()}
  padded = BATCH | {"mask": jnp.asarray(mask)}
  losses = [
    jax.jit(OBJECTIVE.loss)(make_params()[0], aux, batch, KEY)
    for batch in (short, padded)
  ]
  np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-4)
  np.testing.assert_allclose(
    losses[0][1][1]["sum"], losses[1][1][1]["sum"], rtol=1e-3, atol=1e-5
  )


def test_micro_batches_add_up_to_the_batch():
  """Loss, gradient and the sums of the next centre."""
  params, aux = make_params()[0], make_aux()
  gradient = jax.grad(OBJECTIVE.loss, has_aux=True)
  whole = jax.jit(gradient)(params, aux, BATCH, KEY)
  parts = jax.jit(
    functools.partial(accumulate_gradient, gradient, micro_batches=4)
  )(params, aux, BATCH, KEY)
  largest = max(np.abs(x).max() for x in jax.tree.leaves(whole[0]))
  jax.tree.map(
    # Sums in another order, enlarged by the temperatures.
    functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4 * largest),
    *(parts[0], whole[0]),
  )
  for name in ("sum", "count"):
    np.testing.assert_allclose(
      parts[1][1][name], whole[1][1][name], rtol=1e-4, atol=1e-5
    )
  total, count = parts[1][0]["loss"]
  expected = whole[1][0]["loss"][0] / whole[1][0]["loss"][1]
  np.testing.assert_allclose(total / count, expected, rtol=1e-5)


def test_teacher_and_centre_after_three_steps():
  params, teacher = make_params()
  aux = make_aux() | {"center": jnp.zeros(16)}
  expected = jax.tree.map(lambda x: np.asarray(x, np.float64), teacher)
  center = np.zeros(16)
  for i in range(3):
    sums = np.arange(16) * (i + 1.0)
    aux |= {"sum": jnp.asarray(sums, jnp.float32), "count": jnp.asarray(8.0)}
    aux = jax.jit(OBJECTIVE.update_aux)(aux, params, jnp.asarray(i))
    momentum = 1 - 0.5 * (1 + math.cos(math.pi * i / 10)) * 0.004
    expected = jax.tree.map(
      lambda a, p, m=momentum: m * a + (1 - m) * np.asarray(p, np.float64),
      *(expected, params),
    )
    center = 0.9 * center + 0.1 * sums / 8
    assert aux["step"] == i + 1
    assert aux["count"] == 0 and not np.any(aux["sum"])
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    *(aux["teacher"], expected),
  )
  np.testing.assert_allclose(aux["center"], center, rtol=1e-5)


def test_the_last_layer_waits():
  """Half an epoch of two steps: it learns from the second step on."""

  @jax.jit
  def differentiate(params, aux):
    return jax.grad(OBJECTIVE.loss, has_aux=True)(params, aux, BATCH, KEY)[0]

  for step, learns in ((0, False), (1, True)):
    gradient = differentiate(make_params()[0], make_aux(step))["dino"]
    assert np.any(gradient["last"]["kernel"]) == learns
    assert np.any(gradient["bottleneck"]["kernel"])


def test_the_temperature_rises_along_a_line():
  found = [
    float(OBJECTIVE.compute_temperature(jnp.asarray(i))) for i in range(7)
  ]
  expected = [0.04, 0.0475, 0.055, 0.0625, 0.07, 0.07, 0.07]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  fixed = dataclasses.replace(OBJECTIVE, temperature_epochs=0.0)
  assert float(fixed.compute_temperature(jnp.asarray(0))) == pytest.approx(0.07)


def test_information_is_that_of_the_distributions():
  p = RNG.dirichlet(np.ones(5), size=(4, 2))
  mean = p.reshape(-1, 5).mean(axis=0)
  kl = scipy.special.rel_entr(p, mean).sum(axis=-1).mean()
  entropy, information = measure_information(jnp.log(jnp.asarray(p)))
  np.testing.assert_allclose(entropy, -(mean * np.log(mean)).sum(), rtol=1e-5)
  np.testing.assert_allclose(information, kl, rtol=1e-4)
  for x in (np.full((4, 2, 5), 0.2), np.tile([1.0, 0, 0, 0, 0], (4, 2, 1))):
    logs = jnp.log(jnp.maximum(jnp.asarray(x), 1e-30))
    assert abs(float(measure_information(logs)[1])) < 1e-5


@pytest.mark.parametrize(
  ("entropy", "key"), [(2.7, "teacher_temperature"), (0.1, "center_momentum")]
)
def test_a_collapse_is_said_with_what_helps(entropy, key):
  values = dict(entropy=entropy, information=0.5)
  assert OBJECTIVE.find_collapse(values) is None
  assert key in OBJECTIVE.find_collapse(values | dict(information=1e-4))


def test_positions_are_resized_bicubically():
  """Against Keys' kernel at the centres of cells, inside the border."""
  params = make_params()[0]
  path = ("Transformer", "posembed_input", "pos_embedding")
  whole = jax.tree.map(lambda x: x, params)
  old = np.asarray(RNG.normal(size=(1, 65, 32)), np.float32)
  whole["Transformer"]["posembed_input"]["pos_embedding"] = jnp.asarray(old)
  found = resize_positions(whole, MODEL, (32, 32), (16, 16))
  for name in path:
    found = found[name]
  assert found.shape == (1, 17, 32)
  np.testing.assert_array_equal(found[:, 0], old[:, 0])  # The class token's.
  # Between cells 2 and 3: half of them on both sides, less their neighbours.
  weights = np.array([-1, 9, 9, -1]) / 16
  grid = old[0, 1:].reshape(8, 8, 32)
  expected = np.einsum("h,hwd,w->d", weights, grid[1:5, 1:5], weights)
  np.testing.assert_allclose(found[0, 1 + 4 + 1], expected, atol=1e-5)


@pytest.mark.parametrize("position", ["learned_2d", "sincos_2d", "rope"])
def test_models_are_applied_to_smaller_images(position):
  """`MODEL` is of learned_1d; all but the learned ones stay as they are."""
  model = models.make_model(
    0, variant="mu/4", dtype="float32", position=position
  )
  image = make_images(2, 16, 16, 1)
  params = jax.jit(model.init)(KEY, image)["params"]
  resized = resize_positions(params, model, (16, 16), (8, 8))
  found = model.apply({"params": resized}, image[:, :8, :8])
  assert found.shape == (2, model.width) and np.isfinite(found).all()


@pytest.mark.parametrize(
  ("model", "key"),
  [
    (dict(variant="mu/4", position="relative"), "model.position='relative'"),
    (dict(variant="Mixer-B/4"), "model.variant"),
  ],
)
def test_models_of_one_size_are_named(model, key):
  (error,) = find_size_errors(models.make_model(0, **model), 8, 8)
  assert key in error


def test_what_does_not_go_together_is_named():
  errors = (
    Dino(MODEL).place(Setting(local=2, local_size=6)).find_errors(8, 8, 1)
  )
  assert "data.views.count=1" in errors[0]
  assert "data.views.local_size=6" in errors[1]
