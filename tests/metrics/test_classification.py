# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Each figure against a case by hand, and against scikit-learn."""

import numpy as np
import pytest
import scipy.stats
from sklearn import calibration
from sklearn import metrics as judge

from vit_jax.metrics import classification as ours

# Class 0: two of three right; class 1: one of two; class 2: never predicted;
# class 3: never there.
LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 0, 0])


@pytest.fixture
def random():
  """Labels and predictions of seven classes, of which one has no example."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 6, 500)
  wrong = rng.integers(0, 7, 500)
  return labels, np.where(rng.random(500) < 0.6, labels, wrong)


def test_by_hand():
  confusion = ours.compute_confusion(LABELS, PREDICTIONS, 4)
  expected = [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
  np.testing.assert_array_equal(confusion, expected)
  found = ours.compute_by_class(LABELS, PREDICTIONS, 4)
  np.testing.assert_array_equal(found.precision, [2 / 4, 1 / 2, np.nan, np.nan])
  np.testing.assert_array_equal(found.recall, [2 / 3, 1 / 2, 0, np.nan])
  np.testing.assert_array_equal(found.support, [3, 2, 1, 0])
  # Equally frequent ones in the order of the classes.
  assert ours.list_confusions(LABELS, PREDICTIONS) == [
    (0, 1, 1),
    (1, 0, 1),
    (2, 0, 1),
  ]


def test_classes_equal_scikit_learn(random):
  labels, predictions = random
  np.testing.assert_array_equal(
    ours.compute_confusion(labels, predictions, 7),
    judge.confusion_matrix(labels, predictions, labels=range(7)),
  )
  precision, recall, _, support = judge.precision_recall_fscore_support(
    labels, predictions, labels=range(7), zero_division=np.nan
  )
  found = ours.compute_by_class(labels, predictions, 7)
  np.testing.assert_allclose(found.precision, precision, rtol=1e-12)
  np.testing.assert_allclose(found.recall, recall, rtol=1e-12)
  np.testing.assert_array_equal(found.support, support)


def test_the_most_frequent_confusions_are_those_of_the_matrix(random):
  labels, predictions = random
  matrix = ours.compute_confusion(labels, predictions, 7)
  np.fill_diagonal(matrix, 0)
  listed = ours.list_confusions(labels, predictions)
  assert {(i, j): n for i, j, n in listed} == {
    (i, j): matrix[i, j] for i, j in zip(*np.nonzero(matrix), strict=True)
  }
  assert listed[:3] == ours.list_confusions(labels, predictions, 3)
  counts = [count for _, _, count in listed]
  assert counts == sorted(counts, reverse=True)


def test_calibration_by_hand():
  # Two bins: (0, 1/2] has 0.5 and 0.3, one right; (1/2, 1] has 0.9 and 1.0.
  found = ours.compute_reliability(
    np.array([0.5, 0.3, 0.9, 1.0]), np.array([True, False, True, True]), 2
  )
  np.testing.assert_array_equal(found.total, [2, 2])
  np.testing.assert_allclose(found.confidence, [0.4, 0.95])
  np.testing.assert_allclose(found.accuracy, [0.5, 1.0])
  # (2 * 0.1 + 2 * 0.05) / 4
  error = ours.compute_calibration_error(found)
  np.testing.assert_allclose(error, 0.075)


def test_borders_belong_to_the_bin_below_and_empty_bins_count_nothing():
  confidence = np.concatenate([np.arange(16) / 15, [1e-9]])
  found = ours.compute_reliability(confidence, confidence > 2)
  np.testing.assert_array_equal(found.total, [3, *(1,) * 14])
  one = ours.compute_reliability(np.array([0.9]), np.array([False]))
  assert np.isnan(one.accuracy).sum() == 14
  np.testing.assert_allclose(ours.compute_calibration_error(one), 0.9)


def test_the_diagram_equals_scikit_learn():
  rng = np.random.default_rng(0)
  confidence = rng.uniform(0.2, 1, 1000)
  correct = rng.random(1000) < confidence**2
  found = ours.compute_reliability(confidence, correct)
  accuracy, mean = calibration.calibration_curve(
    correct, confidence, n_bins=15, strategy="uniform"
  )
  used = found.total > 0
  np.testing.assert_allclose(found.accuracy[used], accuracy, rtol=1e-12)
  np.testing.assert_allclose(found.confidence[used], mean, rtol=1e-12)
  assert found.total.sum() == 1000 and not used[:2].any()


@pytest.mark.parametrize(("correct", "total"), [(30, 40), (900, 1000), (5, 5)])
def test_the_interval_equals_resampling(correct, total):
  low, high = ours.compute_interval(correct, total)
  found = np.arange(total) < correct
  if correct < total:
    rng = np.random.default_rng(1)
    means = [rng.choice(found, total).mean() for _ in range(10_000)]
    expected = np.percentile(means, [2.5, 97.5])
    # Two samples of 10,000: their quantiles differ by a few hundredths of the
    # standard error, and accuracies are multiples of 1 / total.
    np.testing.assert_allclose([low, high], expected, atol=1.01 / total)
  else:
    assert (low, high) == (1, 1)
  assert (low, high) == ours.compute_interval(correct, total)
  assert low <= correct / total <= high


@pytest.mark.parametrize(
  ("correct", "total"), [(30, 40), (0, 7), (5, 5), (1, 1), (49_999, 50_000)]
)
def test_wilsons_interval_is_that_of_scipy(correct, total):
  found = ours.compute_wilson(correct, total)
  expected = scipy.stats.binomtest(correct, total).proportion_ci(
    method="wilson"
  )
  np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
  assert found[0] <= correct / total <= found[1] and found[0] < found[1]


def test_wilsons_interval_of_nothing_is_all():
  assert ours.compute_wilson(0, 0) == (0, 1)
