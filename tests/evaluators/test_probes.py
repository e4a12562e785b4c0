# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Probes of features against scikit-learn, on one device and on eight."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from sklearn import linear_model, neighbors

from tests.support import build
from vit_jax.config import ConfigError
from vit_jax.data import sources, transforms
from vit_jax.data.pipeline import Data
from vit_jax.devices.mesh import make_mesh
from vit_jax.evaluators import fewshot
from vit_jax.evaluators.fewshot import FewShot
from vit_jax.evaluators.knn import Knn
from vit_jax.evaluators.linear import LinearProbe
from vit_jax.evaluators.representation import Features, take

CLASSES, WIDTH, BATCH = 4, 6, 16


@pytest.fixture(params=[dict(devices=1), dict(devices=8, fsdp=4)])
def mesh(request):
  sizes = dict(request.param)
  return make_mesh(jax.devices()[: sizes.pop("devices")], **sizes)


def make_features(mesh, size, seed):
  """Clouds of four classes that overlap, and their features as arrays."""
  rng = np.random.default_rng(seed)
  label = rng.integers(0, CLASSES, size).astype(np.int32)
  centre = np.random.default_rng(7).normal(size=(CLASSES, WIDTH))
  x = (centre[label] + rng.normal(size=(size, WIDTH))).astype(np.float32)
  x = 3 * x + 1
  rows = -(-size // BATCH) * BATCH

  def pad(array):
    padded = np.zeros((rows, *array.shape[1:]), array.dtype)
    padded[:size] = array
    return padded.reshape(-1, BATCH, *array.shape[1:])

  place = NamedSharding(mesh, PartitionSpec(None, ("replica", "fsdp")))
  values = jax.device_put(pad(x), place)
  mask = pad(np.ones(size, bool))
  return Features(values, pad(label), mask), x, label


def make(kind, mesh, **keys):
  data = Data(source="tfds:digits")
  return kind(None, data, mesh, 3, BATCH, split="test", **keys)


def whiten(x):
  white = (x - x.mean(0)) / (x.std(0) + 1e-5)
  return np.concatenate([white, np.full((len(x), 1), 100.0)], axis=1)


def test_features_are_gathered_from_where_they_are(mesh):
  features, x, _ = make_features(mesh, 50, 0)
  places = np.array([49, 0, 17, 17, 31])
  found = take(mesh, features.values, jax.numpy.asarray(places))
  np.testing.assert_array_equal(found, x[places])


@pytest.mark.parametrize("size", [5, 200])  # Fewer than features, and more.
@pytest.mark.parametrize("l2", [1e-3, 1.0, 1024.0])
def test_the_closed_form_is_ridge(size, l2):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(size, 8)).astype(np.float32) * 5 + 2
  label = rng.integers(0, 3, size)
  found = fewshot.fit(x, label, 3, (l2,))
  white = whiten(x.astype(np.float64))
  targets = 2.0 * np.eye(3)[label] - 1
  ridge = linear_model.Ridge(alpha=l2, fit_intercept=False, solver="svd")
  expected = ridge.fit(white, targets).predict(white)
  # The constant of 100 beside an l2 of 1e-3 leaves nine digits of float64.
  np.testing.assert_allclose(x @ found.kernel + found.bias, expected, atol=1e-6)


@pytest.mark.parametrize("size", [7, 60])
def test_the_chosen_regulariser_is_that_of_leaving_one_out(size):
  rng = np.random.default_rng(1)
  x = rng.normal(size=(size, 8)).astype(np.float32)
  label = (x[:, 0] + rng.normal(size=size) > 0).astype(int)
  found = fewshot.fit(x, label, 2, fewshot.CHOICES)
  white = whiten(x.astype(np.float64))
  targets = 2.0 * np.eye(2)[label] - 1
  errors = []
  for l2 in fewshot.CHOICES:
    gaps = []
    for i in range(size):
      rest = np.arange(size) != i
      ridge = linear_model.Ridge(alpha=l2, fit_intercept=False)
      ridge.fit(white[rest], targets[rest])
      gaps.append(targets[i] - ridge.predict(white[i : i + 1])[0])
    errors.append(np.mean(np.square(gaps)))
  assert found.l2 == fewshot.CHOICES[int(np.argmin(errors))]
  assert fewshot.CHOICES[0] < found.l2 < fewshot.CHOICES[-1]


def test_shots_are_drawn_alike_and_nested():
  label = np.array([[0, 1, 1, 0], [0, 1, 2, 9]], np.int32)
  mask = label < 9
  drawn = {n: fewshot.draw(label, mask, n, seed=3).tolist() for n in (1, 2, 25)}
  labels = {n: np.bincount(label.reshape(-1)[x]) for n, x in drawn.items()}
  np.testing.assert_array_equal(labels[1], [1, 1, 1])
  np.testing.assert_array_equal(labels[2], [2, 2, 1])
  assert drawn[25] == [0, 1, 2, 3, 4, 5, 6]  # All there are, no padding.
  assert set(drawn[1]) < set(drawn[2]) < set(drawn[25])
  seeds = {tuple(fewshot.draw(label, mask, 1, seed)) for seed in range(9)}
  assert len(seeds) > 2


def test_few_shot_equals_scikit_learn(mesh):
  train, x, label = make_features(mesh, 90, 0)
  test, x_test, label_test = make_features(mesh, 70, 1)
  probe = make(FewShot, mesh, shots=(1, 10), seeds=2)
  found = dict(probe.measure(train, test))
  for shots in (1, 10):
    values = []
    for seed in range(2):
      places = fewshot.draw(train.label, train.mask, shots, seed)
      chosen = x[places].astype(np.float64)
      mean, std = chosen.mean(0), chosen.std(0) + 1e-5
      ridge = linear_model.Ridge(alpha=1024, fit_intercept=False)
      ridge.fit(whiten(chosen), 2 * np.eye(CLASSES)[label[places]] - 1)
      white = np.c_[(x_test - mean) / std, np.full(len(x_test), 100.0)]
      values.append((ridge.predict(white).argmax(1) == label_test).mean())
    assert found[f"accuracy_{shots}shot"] == pytest.approx(np.mean(values))
    assert found[f"std_{shots}shot"] == pytest.approx(np.std(values))
  assert 0.3 < found["accuracy_1shot"] < found["accuracy_10shot"] < 1


@pytest.mark.parametrize("k", [1, 5, 200])  # 200 are more than there are.
def test_knn_equals_scikit_learn(mesh, k):
  train, x, label = make_features(mesh, 90, 0)
  test, x_test, label_test = make_features(mesh, 70, 1)
  found = dict(make(Knn, mesh, k=k, temperature=0.2).measure(train, test))
  judge = neighbors.KNeighborsClassifier(
    min(k, len(x)),
    metric="cosine",
    weights=lambda distance: np.exp((1 - distance) / 0.2),
  )
  expected = judge.fit(x, label).score(x_test, label_test)
  assert found == {"accuracy_knn": expected}
  assert expected < 1


def test_the_linear_probe_is_logistic_regression(mesh):
  train, x, label = make_features(mesh, 90, 0)
  probe = make(
    LinearProbe,
    mesh,
    epochs=300,
    lr=0.5,
    sgd_batch_size=90,
    weight_decay=0.1,
  )
  found = probe.fit(train, CLASSES, lambda: None)
  white = (x - x.mean(0)) / (x.std(0) + 1e-5)
  # C weighs the sum of the losses, and ours is their mean.
  judge = linear_model.LogisticRegression(C=1 / (0.1 * 90), tol=1e-8)
  judge.fit(white, label)
  logits = x @ found.kernel + found.bias
  # Of the softmax only differences count: scikit-learn's biases sum to zero.
  logits -= logits.mean(1, keepdims=True)
  expected = white @ judge.coef_.T + judge.intercept_
  expected -= expected.mean(1, keepdims=True)
  np.testing.assert_allclose(logits, expected, atol=1e-3)  # SGD in float32.
  test, x_test, label_test = make_features(mesh, 70, 1)
  right = ((x_test @ found.kernel + found.bias).argmax(1) == label_test).mean()
  assert dict(probe.measure(train, test)) == {"accuracy_linear": right}


@pytest.mark.parametrize("devices", [1, 8])
def test_probes_of_a_state(config, data_dir, devices):
  """The features of a model of its own, through a config's evals section."""
  few = dict(kind="fewshot", split="test[:50]", train_split="train[:70]")
  config["evals"] = {
    "few": few | dict(shots=(5,), seeds=1, batch_size=16),
    "near": dict(kind="knn", split="test[:50]", train_split="train[:70]"),
  }
  exp = build(config, jax.devices()[:devices])
  state = exp.make_state()
  found = {}
  for evaluator in exp.evaluators.values():
    found |= dict(evaluator.run(state))
  source = functools.partial(sources.open_source, "tfds:digits")
  parts = [source(f"{x}", data_dir) for x in ("train[:70]", "test[:50]")]
  x, y = [], []
  model = exp.model.clone(num_classes=0)
  apply = jax.jit(model.apply)
  for part in parts:
    images = np.stack(
      [transforms.decode(part[i]["image"], 1) for i in range(len(part))]
    )
    values = np.asarray(images / 127.5 - 1, np.float32)
    x.append(np.asarray(apply({"params": state.ema}, values)))
    y.append(np.array([part[i]["label"] for i in range(len(part))]))
  features = exp.evaluators["near"].embed(state, "train[:70]", lambda: None)
  np.testing.assert_allclose(
    np.asarray(features.values)[features.mask], x[0], rtol=1e-5, atol=1e-5
  )
  np.testing.assert_array_equal(features.label[features.mask], y[0])
  shard = features.values.addressable_shards[0].data
  assert shard.shape[1] * devices == features.values.shape[1]
  judge = neighbors.KNeighborsClassifier(
    20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)
  )
  expected = judge.fit(x[0], y[0]).score(x[1], y[1])
  # One of 50 may be as near to two classes.
  assert found["accuracy_knn"] == pytest.approx(expected, abs=0.021)
  assert found["accuracy_5shot"] > 0.4 and "std_5shot" not in found


def test_several_labels_are_refused():
  several = Data(source="folder:photos", label_slots=3)
  mesh = make_mesh(jax.devices()[:1])
  with pytest.raises(ConfigError, match="folder:photos have several labels"):
    Knn(None, several, mesh, 3, BATCH, split="test")
