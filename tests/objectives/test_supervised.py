# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models
from vit_jax.devices.mesh import make_mesh
from vit_jax.objectives.supervised import Supervised, make_targets
from vit_jax.sharding import get_batch_sharding

LOGITS = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
LABEL = np.array([0, 3, 1, 4], np.int32)
MODEL = models.make_model(5, variant="mu/4")
ALL = np.ones(4, bool)


def compute_metrics(label=LABEL, mask=ALL, smoothing=0.0, **options):
  objective = Supervised(MODEL, **options)
  arrays = map(jnp.asarray, (LOGITS, label, mask))
  metrics = objective.compute_metrics(*arrays, smoothing)
  return {name: tuple(map(float, pair)) for name, pair in metrics.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_loss(smoothing):
  targets = np.eye(5)[LABEL] * (1 - smoothing) + smoothing / 5
  expected = -(targets * scipy.special.log_softmax(LOGITS, axis=-1)).sum()
  total, count = compute_metrics(smoothing=smoothing)["loss"]
  assert count == 4
  np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_smoothing_is_for_training_only():
  """An evaluation reports the cross-entropy of the labels themselves."""
  image = jnp.zeros((4, 4, 4, 1))
  batch = dict(image=image, label=jnp.asarray(LABEL), mask=jnp.asarray(ALL))
  objective = Supervised(
    models.make_model(5, variant="mu/4", dtype="float32"), label_smoothing=0.5
  )
  params = jax.jit(objective.model.init)(jax.random.key(0), image)["params"]
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
  total, _ = compute_metrics(cross_entropy="sigmoid")["loss"]
  np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_padding_counts_neither_as_loss_nor_as_example():
  mask = np.array([True, False, True, False])
  label = np.where(mask, LABEL, -1).astype(np.int32)
  kept = Supervised(MODEL).compute_metrics(
    jnp.asarray(LOGITS[mask]), jnp.asarray(LABEL[mask]), jnp.ones(2, bool)
  )
  padded = compute_metrics(label, mask)
  for name, (total, count) in padded.items():
    np.testing.assert_allclose((total, count), kept[name], rtol=1e-6)


def test_accuracy_counts_the_top_class():
  top = LOGITS.argmax(axis=-1).astype(np.int32)
  assert compute_metrics(top)["accuracy"] == (4.0, 4.0)
  assert compute_metrics((top + 1) % 5)["accuracy"] == (0.0, 4.0)
  # Mixed labels: the heavier class is the right one.
  mixed = 0.7 * np.eye(5)[top] + 0.3 * np.eye(5)[(top + 1) % 5]
  assert compute_metrics(mixed.astype(np.float32))["accuracy"] == (4.0, 4.0)
  mixed = 0.3 * np.eye(5)[top] + 0.7 * np.eye(5)[(top + 1) % 5]
  assert compute_metrics(mixed.astype(np.float32))["accuracy"] == (0.0, 4.0)


def test_targets_of_several_labels():
  label = jnp.asarray([[1, 3, -1], [-1, -1, -1], [2, 2, 0]])
  expected = [[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]]
  np.testing.assert_array_equal(make_targets(label, 4), expected)


def test_ids_that_are_no_class_are_no_label():
  label = jnp.asarray([[-1, -7, 4, 3], [9, 0, -4, 2**31 - 1]])
  expected = [[0, 0, 0, 1], [1, 0, 0, 0]]
  np.testing.assert_array_equal(make_targets(label, 4), expected)


@pytest.mark.parametrize("cross_entropy", ["softmax", "sigmoid"])
def test_the_loss_of_several_labels_counts_an_id_once(cross_entropy):
  label = np.array([[1, 3, -1], [-1, -1, -1], [2, 2, 0], [4, 4, 4]], np.int32)
  targets = np.zeros((4, 5))
  for row, ids in enumerate(label):
    for i in set(ids) - {-1}:
      targets[row, i] = 1
  if cross_entropy == "softmax":
    losses = -targets * scipy.special.log_softmax(LOGITS, axis=-1)
  else:
    p = scipy.special.expit(LOGITS.astype(np.float64))
    losses = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
  total, count = compute_metrics(label, cross_entropy=cross_entropy)["loss"]
  assert count == 4
  np.testing.assert_allclose(total, losses.sum(), rtol=1e-5)


def get_shapes(jaxpr):
  """Shapes of all that a program computes, at any depth."""
  for equation in jaxpr.eqns:
    yield from (variable.aval.shape for variable in equation.outvars)
    for inner in jax.tree.leaves(equation.params):
      if hasattr(inner, "jaxpr"):
        yield from get_shapes(inner.jaxpr)


def test_several_labels_are_never_one_hot_a_slot():
  """4,096 images of 21,843 classes, 16 slots each: [B Y] and no [B s Y]."""
  label = jax.ShapeDtypeStruct((4096, 16), jnp.int32)
  jaxpr = jax.make_jaxpr(lambda y: make_targets(y, 21_843))(label)
  sizes = [math.prod(shape) for shape in get_shapes(jaxpr.jaxpr)]
  assert len(sizes) > 5 and max(sizes) == 4096 * 21_843


def test_several_labels_stay_where_their_images_are():
  """Every device scatters its own: no targets go from one to another."""
  mesh = make_mesh(fsdp=4, tensor=2)
  place = get_batch_sharding(mesh)
  label = jax.ShapeDtypeStruct((16, 3), jnp.int32, sharding=place)
  with jax.set_mesh(mesh):
    compiled = jax.jit(lambda y: make_targets(y, 10)).lower(label).compile()
  (place,) = jax.tree.leaves(compiled.output_shardings)
  assert place.shard_shape((16, 10)) == (4, 5)
  text = compiled.as_text()
  for transfer in ("all-to-all", "all-gather", "all-reduce", "permute"):
    assert transfer not in text, transfer


def test_an_image_without_a_label_is_never_right():
  label = jnp.full((4, 2), -1)
  assert compute_metrics(label)["accuracy"] == (0.0, 4.0)


def test_gradient_is_of_the_mean_loss():
  def loss(logits):
    metrics = Supervised(MODEL).compute_metrics(
      logits, jnp.asarray(LABEL), jnp.asarray(ALL)
    )
    total, count = metrics["loss"]
    return total / count

  expected = (scipy.special.softmax(LOGITS, axis=-1) - np.eye(5)[LABEL]) / 4
  gradient = jax.grad(loss)(jnp.asarray(LOGITS))
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_class_weights_are_for_training_only(kind):
  """Each class's part of the loss, weighted; evaluations know no weights."""
  weights = (0.5, 2.0, 0.0, 1.0, 3.0)
  image = jnp.zeros((4, 4, 4, 1))
  batch = dict(image=image, label=jnp.asarray(LABEL), mask=jnp.asarray(ALL))
  objective = Supervised(
    models.make_model(5, variant="mu/4", dtype="float32"),
    cross_entropy=kind,
    label_smoothing=0.1,
    class_weights=weights,
  )
  params = jax.jit(objective.model.init)(jax.random.key(0), image)["params"]
  bias = np.array([3.0, 0, -1, 0, 0.5])
  params["head"]["bias"] = jnp.asarray(bias)

  def compute(targets, weights):
    if kind == "softmax":
      parts = -targets * scipy.special.log_softmax(bias)
    else:
      p = scipy.special.expit(bias)
      parts = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
    return (parts * weights).sum(-1).mean()

  hot = np.eye(5)[LABEL]
  loss, _ = objective.loss(params, {}, batch, jax.random.key(0))
  expected = compute(0.9 * hot + 0.02, np.array(weights))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  total, count = objective.evaluate(params, batch)["loss"]
  np.testing.assert_allclose(total / count, compute(hot, 1.0), rtol=1e-5)
