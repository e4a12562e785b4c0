# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of images with several labels, before scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn import metrics as judge

from vit_jax.metrics import evaluation
from vit_jax.metrics.ranking import (
  compute_average_precision,
  compute_map,
  describe_ranking,
  mark_labels,
)

CLASSES, SLOTS = 7, 4


@pytest.fixture
def labels():
  """Of 60 images none to four; class 6 has none, class 5 all."""
  rng = np.random.default_rng(0)
  found = np.full((60, SLOTS), -1, np.int32)
  for row in found:
    chosen = rng.permutation(5)[: rng.integers(SLOTS)]
    row[: len(chosen) + 1] = [5, *chosen]
  return found


@pytest.fixture(params=[8, 0], ids=["distinct", "many equal"])
def scores(request):
  rng = np.random.default_rng(1)
  logits = rng.normal(size=(60, CLASSES)).round(request.param)
  return -np.logaddexp(0, -logits).astype(np.float32)


def test_average_precision(scores, labels):
  present = mark_labels(labels, CLASSES)
  assert present.sum() == (labels >= 0).sum() and present[:, 5].all()
  found = compute_average_precision(scores, present)
  expected = [
    judge.average_precision_score(present[:, i], scores[:, i]) for i in range(6)
  ]
  np.testing.assert_allclose(found[:6], expected, rtol=1e-12)
  assert found[5] == 1 and math.isnan(found[6])
  macro = judge.average_precision_score(present[:, :6], scores[:, :6])
  assert compute_map(scores, labels) == pytest.approx(macro, rel=1e-12)
  assert math.isnan(compute_map(scores, np.full_like(labels, -1)))


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf, 0])
def test_scores_that_tell_nothing_are_worth_chance(value):
  """However the images lie: here those of the class are the first."""
  present = np.arange(8)[:, None] < 2
  scores = np.full((8, 1), value, np.float32)
  assert compute_average_precision(scores, present) == [0.25]
  some = np.where(np.arange(8)[:, None] == 0, 3, np.nan).astype(np.float32)
  # 1/1 for the first half of recall, 2/8 for the other.
  assert compute_average_precision(some, present) == [0.625]


def test_figures_by_class_and_of_all_labels(scores, labels):
  names = list("abcdefg")
  found = describe_ranking(scores, labels, names)
  present, taken = mark_labels(labels, CLASSES), np.exp(scores) >= 0.5
  by_class = judge.precision_recall_fscore_support(
    present, taken, zero_division=np.nan
  )
  for i, row in enumerate(found["classes"]):
    assert (row["index"], row["class"]) == (i, names[i])
    for name, values in zip(
      ("precision", "recall", None, "support"), by_class, strict=True
    ):
      if name:
        expected = pytest.approx(values[i], nan_ok=True)
        assert row[name] == expected, (names[i], name)
  precision, recall, f1, _ = judge.precision_recall_fscore_support(
    present, taken, average="micro"
  )
  assert found["labels"] == dict(
    total=present.sum(),
    precision=pytest.approx(precision),
    recall=pytest.approx(recall),
    f1=pytest.approx(f1),
  )


def test_what_people_read():
  """Of four images, by hand."""
  label = np.array([[0, -1], [1, 0], [1, -1], [-1, -1]])
  chance = np.array([[0.9, 0.2], [0.4, 0.8], [0.6, 0.7], [0.1, 0.3]])
  scores = np.log(chance).astype(np.float32)
  first = chance.argmax(axis=1)[:, None]
  found = evaluation.describe_scores(
    label, first, chance.max(axis=1)[:, None], ["cat", "dog"], scores
  )
  # Cats are at places 1 and 3: (1/1 + 2/3) / 2.
  assert found["map"] == pytest.approx((5 / 6 + 1) / 2)
  facts = dict(weights="w", data="d", split="test", loss=0.5, notes=[])
  facts |= dict(images=4, correct=3, total=4, accuracy=0.75)
  text = evaluation.format_table(facts | found)
  for line in (
    "mAP                  91.67%   mean average precision of 2 classes",
    "F1                   75.00%   precision 75.00%, recall 75.00% of 4 labels,"
    " predicted from a probability of 50 % on",
    "top-1                75.00%   3 of 4 have it among their labels; 95 %",
    "classes         AP   recall  precision  images",
    "  cat       83.33%   50.00%     50.00%       2",
    "  dog      100.00%  100.00%    100.00%       2",
  ):
    assert line in text, text


@pytest.mark.parametrize("label", [[[0], [1]], [[-1], [-1]]])
def test_where_nothing_is_predicted_or_labelled(label):
  """All classes have less than one half; the others have no label at all."""
  scores = np.log(np.array([[0.4, 0.1], [0.3, 0.2]], np.float32))
  found = evaluation.describe_scores(
    np.array(label),
    np.zeros((2, 1), int),
    scores[:, :1],
    ["cat", "dog"],
    scores,
  )
  facts = dict(weights="w", data="d", split="test", loss=0.5, notes=[])
  facts |= dict(images=2, correct=1, total=2, accuracy=0.5)
  text = evaluation.format_table(facts | found)
  assert "precision -, recall " in text and "nan" not in text
