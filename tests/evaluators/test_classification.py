# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Every example of the 360 counted once, whatever the batch and the mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn.metrics import top_k_accuracy_score

from tests.support import build
from vit_jax.data import pipeline, sources, transforms


def make(config, devices, batch_size):
  config["evals"] = {"test": dict(split="test", batch_size=batch_size)}
  exp = build(config, jax.devices()[:devices])
  state = exp.make_state()
  # A zero head is right by chance alone: give it something to say.
  head = jax.random.normal(jax.random.key(1), state.ema["head"]["kernel"].shape)
  state.ema["head"]["kernel"] += jax.device_put(
    head, state.ema["head"]["kernel"].sharding
  )
  return exp, state


@pytest.fixture
def expected(config, data_dir):
  """Accuracy and loss in NumPy from logits of the whole split at once."""
  exp, state = make(config, 1, 8)
  source = sources.open_source("tfds:digits", "test", data_dir)
  images = np.stack(
    [transforms.decode(source[i]["image"], 1) for i in range(360)]
  )
  label = np.array([source[i]["label"] for i in range(360)])
  values = jnp.asarray(images / 127.5 - 1, jnp.float32)
  logits = jax.jit(exp.model.apply)({"params": state.ema}, values)
  losses = -scipy.special.log_softmax(logits, axis=-1)[range(360), label]
  correct = int((np.argmax(logits, axis=-1) == label).sum())
  top5 = top_k_accuracy_score(label, logits, k=5)
  return correct, losses.mean(), top5


@pytest.mark.parametrize(
  ("devices", "batch_size"), [(1, 360), (1, 7), (2, 50), (8, 104), (8, 512)]
)
def test_every_example_counts_once(config, expected, devices, batch_size):
  exp, state = make(config, devices, batch_size)
  found = dict(exp.evaluators["test"].run(state))
  correct, loss, top5 = expected
  assert found["total"] == 360
  assert found["correct"] == correct
  assert found["accuracy"] == correct / 360
  np.testing.assert_allclose(found["loss"], loss, rtol=1e-5)
  np.testing.assert_allclose(found["accuracy_top5"], top5)
  assert 0 < correct / 360 < top5 < 1


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 7), (8, 104)])
def test_scores_are_of_every_example_in_order(
  config, expected, data_dir, devices, batch_size
):
  exp, state = make(config, devices, batch_size)
  values = dict(exp.evaluators["test"].run(state))
  found, scores = exp.evaluators["test"].score(state, 3)
  assert found == pytest.approx(values, rel=1e-6)  # Another program.
  source = sources.open_source("tfds:digits", "test", data_dir)
  labels = [source[i]["label"] for i in range(360)]
  np.testing.assert_array_equal(scores.label, labels)
  assert (scores.classes[:, 0] == labels).sum() == expected[0]
  assert scores.classes.shape == scores.probability.shape == (360, 3)
  assert (np.diff(scores.probability) <= 0).all()
  right = scores.classes == scores.label[:, None]
  assert (scores.probability[:, 0] < 1).all() and right.sum(1).max() == 1


def test_five_classes_have_no_top_5(config):
  exp, _ = make(config, 1, 8)
  logits, label = jnp.zeros((2, 5)), jnp.zeros(2, jnp.int32)
  evaluate = exp.objective.evaluate_logits
  assert set(evaluate(logits, label, label == 0)) == {"loss", "accuracy"}


def test_top_5_of_several_labels_by_hand(config):
  exp, _ = make(config, 1, 8)
  # Of the five most likely, 0 to 4: the first has one, the second none, and
  # the third is padding.
  logits = jnp.broadcast_to(-jnp.arange(7.0), (3, 7))
  label = jnp.array([[6, 4], [6, 5], [0, -1]])
  mask = jnp.array([True, True, False])
  found = exp.objective.evaluate_logits(logits, label, mask)
  assert found["accuracy_top5"] == (1, 2)
  assert found["accuracy"] == (0, 2)


def test_a_lost_example_is_an_error(config, monkeypatch):
  exp, state = make(config, 1, 90)
  evaluator = exp.evaluators["test"]
  make_batches = pipeline.make_eval_batches

  def lose_one(*args, **kwargs):
    batches, total = make_batches(*args, **kwargs)
    next(batches)
    return batches, total

  monkeypatch.setattr(pipeline, "make_eval_batches", lose_one)
  with pytest.raises(RuntimeError, match="270 examples of 360"):
    dict(evaluator.run(state))
