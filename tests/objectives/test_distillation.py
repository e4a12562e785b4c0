# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of distillation in NumPy, and what reaches the teacher."""

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax.config import ConfigError
from vit_jax.objectives.distillation import (
  Distillation,
  Teacher,
  hard_loss,
  soft_loss,
)
from vit_jax.objectives.supervised import Supervised

RNG = np.random.default_rng(0)
OURS, THEIRS = RNG.normal(size=(2, 6, 5), scale=3).astype(np.float32)
LABEL = np.array([0, 3, 1, 4, 2, 0], np.int32)
MASK = np.array([True, True, False, True, True, False])


def softmax_kl(ours, theirs, temperature):
  """KL(theirs || ours) of each row, in float64."""
  p, q = (
    scipy.special.softmax(np.float64(x) / temperature, axis=-1)
    for x in (theirs, ours)
  )
  return scipy.special.rel_entr(p, q).sum(axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_loss(temperature):
  found = soft_loss(jnp.asarray(OURS), jnp.asarray(THEIRS), temperature)
  expected = temperature**2 * softmax_kl(OURS, THEIRS, temperature)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  same = soft_loss(jnp.asarray(OURS), jnp.asarray(OURS), temperature)
  np.testing.assert_allclose(same, np.zeros(6), atol=1e-6)


def test_the_gradient_at_a_high_temperature_is_that_of_matching_logits():
  """T^2 makes it (z - v) / Y for centred logits (Hinton et al., equation 4)."""

  def loss(logits):
    return soft_loss(logits, jnp.asarray(THEIRS), 1e4).sum()

  centred = [x - x.mean(axis=-1, keepdims=True) for x in (OURS, THEIRS)]
  expected = (centred[0] - centred[1]) / 5
  # The expansion leaves out terms of logits / T, 1e-3 here; a factor missing
  # would be 1e8.
  found = jax.grad(loss)(jnp.asarray(OURS))
  np.testing.assert_allclose(found, expected, atol=5e-3)


def test_hard_loss():
  found = hard_loss(jnp.asarray(OURS), jnp.asarray(THEIRS))
  log_p = scipy.special.log_softmax(OURS, axis=-1)
  expected = -log_p[range(6), THEIRS.argmax(axis=-1)]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


class Linear(nn.Module):
  """The smallest model: logits are linear in the pixels."""

  @nn.compact
  def __call__(self, image, *, train=False):
    return nn.Dense(5)(image.reshape(len(image), -1))


def make_model(seed, size=4):
  """A model of random parameters, and them."""
  model, image = Linear(), jnp.zeros((1, size, size, 1))
  return model, model.init(jax.random.key(seed), image)["params"]


def make(size=4, mean=0.5, std=0.5, **options):
  """A student, its teacher, their parameters and a batch."""
  student, params = make_model(0)
  model, taught = make_model(1, size)
  reader = Teacher(model, (size, size), (mean,), (std,))
  image = jax.random.uniform(jax.random.key(2), (6, 4, 4, 1), minval=-1)
  batch = dict(image=image, label=jnp.asarray(LABEL), mask=jnp.asarray(MASK))
  objective = Distillation(student, reader, teacher="runs/t", **options)
  return objective, params, {"params": taught}, batch


# Weights of the teacher and of the labels, by the papers' defaults and asked.
@pytest.mark.parametrize(
  ("options", "alpha"),
  [
    (dict(), 1.0),
    (dict(temperature=3.0, alpha=0.1), 0.1),
    (dict(mode="hard"), 0.5),
    (dict(mode="hard", label_smoothing=0.2, alpha=0.25), 0.25),
  ],
)
def test_the_loss_is_a_mean_of_both_over_what_the_mask_keeps(options, alpha):
  objective, params, teacher, batch = make(**options)
  loss, (metrics, aux) = objective.loss(
    params, {}, batch, jax.random.key(0), teacher
  )
  ours = np.asarray(objective.model.apply({"params": params}, batch["image"]))
  said = np.asarray(objective.reader.model.apply(teacher, batch["image"]))
  log_p = scipy.special.log_softmax(ours, axis=-1)
  if options.get("mode") == "hard":
    first = -log_p[range(6), said.argmax(axis=-1)]
  else:
    t = options.get("temperature", 1.0)
    first = t**2 * softmax_kl(ours, said, t)
  smoothing = options.get("label_smoothing", 0.0)
  targets = np.eye(5)[LABEL] * (1 - smoothing) + smoothing / 5
  second = -(targets * log_p).sum(axis=-1)
  expected = (alpha * first + (1 - alpha) * second)[MASK]
  np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
  assert aux == {}
  found = {name: tuple(map(float, pair)) for name, pair in metrics.items()}
  np.testing.assert_allclose(found.pop("loss"), (expected.sum(), 4), rtol=1e-5)
  top, right = ours.argmax(axis=-1), said.argmax(axis=-1)
  assert found == {
    "accuracy": ((top == LABEL)[MASK].sum(), 4.0),
    "agreement": ((top == right)[MASK].sum(), 4.0),
    "teacher_accuracy": ((right == LABEL)[MASK].sum(), 4.0),
  }


def test_an_evaluation_is_of_the_student_on_the_labels():
  objective, params, _, batch = make(mode="hard", label_smoothing=0.3)
  found = objective.evaluate(params, batch)
  expected = Supervised(objective.model).evaluate(params, batch)
  assert found == expected and set(found) == {"loss", "accuracy"}


def test_labels_that_do_not_count_need_not_be_there():
  objective, params, teacher, batch = make()
  key = jax.random.key(0)
  loss, _ = objective.loss(params, {}, batch, key, teacher)
  batch["label"] = jnp.full((6, 5), jnp.nan)
  assert objective.loss(params, {}, batch, key, teacher)[0] == loss


def test_no_gradient_reaches_the_teacher():
  objective, params, teacher, batch = make(mode="soft", alpha=0.5)

  def loss(params, teacher):
    return objective.loss(params, {}, batch, jax.random.key(0), teacher)[0]

  ours, theirs = jax.grad(loss, argnums=(0, 1))(params, teacher)
  assert any(jnp.any(x != 0) for x in jax.tree.leaves(ours))
  assert all(jnp.all(x == 0) for x in jax.tree.leaves(theirs))


def test_a_teacher_of_the_same_input_sees_the_very_pixels():
  objective, _, teacher, batch = make()
  found = objective.reader.compute_logits(teacher, batch["image"])
  expected = objective.reader.model.apply(teacher, batch["image"])
  np.testing.assert_array_equal(found, expected)


def test_a_teacher_of_another_input_sees_them_resized_and_normalised():
  objective, _, teacher, batch = make(size=8, mean=0.2, std=0.3)
  found = objective.reader.compute_logits(teacher, batch["image"])
  values = (np.asarray(batch["image"], np.float64) + 1) / 2
  image = np.stack(
    [cv2.resize(x, (8, 8), interpolation=cv2.INTER_LINEAR) for x in values]
  )
  image = jnp.asarray((image - 0.2) / 0.3, jnp.float32)[..., None]
  expected = objective.reader.model.apply(teacher, image)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(mode="hard", temperature=2.0), "temperature=2 .*mode='hard'"),
    (dict(label_smoothing=0.1), "label_smoothing=0.1 .*alpha=1"),
    (
      dict(alpha=1.0, mode="hard", label_smoothing=0.1),
      "label_smoothing=0.1 .*alpha=1",
    ),
  ],
)
def test_a_key_that_does_nothing_is_an_error(options, message):
  with pytest.raises(ConfigError, match=message):
    make(**options)
