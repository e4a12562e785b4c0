# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models
from vit_jax.objectives.supervised import Supervised, get_targets

LOGITS = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
LABEL = np.array([0, 3, 1, 4], np.int32)
MODEL = models.get_model(5, variant="mu/4")
ALL = np.ones(4, bool)


def get_metrics(label=LABEL, mask=ALL, smoothing=0.0, **options):
  objective = Supervised(MODEL, **options)
  arrays = map(jnp.asarray, (LOGITS, label, mask))
  metrics = objective.get_metrics(*arrays, smoothing)
  return {name: tuple(map(float, pair)) for name, pair in metrics.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_loss(smoothing):
  targets = np.eye(5)[LABEL] * (1 - smoothing) + smoothing / 5
  expected = -(targets * scipy.special.log_softmax(LOGITS, axis=-1)).sum()
  total, count = get_metrics(smoothing=smoothing)["loss"]
  assert count == 4
  np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_smoothing_is_for_training_only():
  """An evaluation reports the cross-entropy of the labels themselves."""
  image = jnp.zeros((4, 4, 4, 1))
  batch = dict(image=image, label=jnp.asarray(LABEL), mask=jnp.asarray(ALL))
  objective = Supervised(
    models.get_model(5, variant="mu/4", dtype="float32"), label_smoothing=0.5
  )
  params = objective.model.init(jax.random.key(0), image)["params"]
  # A logit of 3 for class 0 alone, whatever the image.
  params["head"]["bias"] = jnp.asarray([3.0, 0, 0, 0, 0])
  log_p = scipy.special.log_softmax([3.0, 0, 0, 0, 0])
  plain = -log_p[LABEL].mean()
  smoothed = 0.5 * plain - 0.5 * log_p.mean()
  total, count = objective.evaluate(params, batch)["loss"]
  np.testing.assert_allclose(total / count, plain, rtol=1e-5)
  loss, _ = objective.loss(params, {}, batch, jax.random.key(0))
  np.testing.assert_allclose(loss, smoothed, rtol=1e-5)


def test_sigmoid_loss_is_summed_over_classes():
  p = scipy.special.expit(LOGITS.astype(np.float64))
  targets = np.eye(5)[LABEL]
  expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum()
  total, _ = get_metrics(cross_entropy="sigmoid")["loss"]
  np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_padding_counts_neither_as_loss_nor_as_example():
  mask = np.array([True, False, True, False])
  label = np.where(mask, LABEL, -1).astype(np.int32)
  kept = Supervised(MODEL).get_metrics(
    jnp.asarray(LOGITS[mask]), jnp.asarray(LABEL[mask]), jnp.ones(2, bool)
  )
  padded = get_metrics(label, mask)
  for name, (total, count) in padded.items():
    np.testing.assert_allclose((total, count), kept[name], rtol=1e-6)


def test_accuracy_counts_the_top_class():
  top = LOGITS.argmax(axis=-1).astype(np.int32)
  assert get_metrics(top)["accuracy"] == (4.0, 4.0)
  assert get_metrics((top + 1) % 5)["accuracy"] == (0.0, 4.0)
  # Mixed labels: the heavier class is the right one.
  mixed = 0.7 * np.eye(5)[top] + 0.3 * np.eye(5)[(top + 1) % 5]
  assert get_metrics(mixed.astype(np.float32))["accuracy"] == (4.0, 4.0)
  mixed = 0.3 * np.eye(5)[top] + 0.7 * np.eye(5)[(top + 1) % 5]
  assert get_metrics(mixed.astype(np.float32))["accuracy"] == (0.0, 4.0)


def test_targets_of_several_labels():
  label = jnp.asarray([[1, 3, -1], [-1, -1, -1], [2, 2, 0]])
  expected = [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]]
  np.testing.assert_array_equal(get_targets(label, 4), expected)


def test_an_image_without_a_label_is_never_right():
  label = jnp.full((4, 2), -1)
  assert get_metrics(label)["accuracy"] == (0.0, 4.0)


def test_gradient_is_of_the_mean_loss():
  def loss(logits):
    metrics = Supervised(MODEL).get_metrics(
      logits, jnp.asarray(LABEL), jnp.asarray(ALL)
    )
    total, count = metrics["loss"]
    return total / count

  expected = (scipy.special.softmax(LOGITS, axis=-1) - np.eye(5)[LABEL]) / 4
  gradient = jax.grad(loss)(jnp.asarray(LOGITS))
  np.testing.assert_allclose(gradient, expected, atol=1e-6)
