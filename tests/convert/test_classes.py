# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Classes of weights in the order of a data set's."""

import numpy as np
import pytest

from tests.support.weights import compute_logits, make_tiny_weights
from vit_jax.config import ConfigError
from vit_jax.convert.classes import match_classes, select_classes
from vit_jax.data.info import DatasetInfo

NUMBERS = ("0", "1", "2")


def match(theirs, ours, count=None):
  weights = make_tiny_weights(names=theirs, classes=count or len(theirs))
  info = DatasetInfo("photos", None, len(ours), ours, 3, {})
  return weights, *match_classes(weights, weights.class_names, info)


def test_names_decide_and_accents_may_be_written_apart():
  weights, found, note = match(
    ("fox", "e\u0301pe\u0301e", "owl"), ("owl", "\u00e9p\u00e9e")
  )
  assert found.class_names == ("owl", "e\u0301pe\u0301e", "fox")
  expected = compute_logits(weights)[:, [2, 1, 0]]
  np.testing.assert_array_equal(compute_logits(found), expected)
  assert "not in the data: 1 class of the weights" in note


@pytest.mark.parametrize(
  ("theirs", "ours", "names"),
  [
    ((), ("cat", "dog", "owl"), ("cat", "dog", "owl")),
    (NUMBERS, ("cat", "dog", "owl"), ("cat", "dog", "owl")),
    (("cat", "dog", "owl"), NUMBERS, ("cat", "dog", "owl")),
    ((), NUMBERS, NUMBERS),
  ],
)
def test_without_names_the_order_decides(theirs, ours, names):
  weights, found, note = match(theirs, ours, 3)
  assert found.class_names == names and "order" in note
  assert found.params is weights.params


def test_numbers_are_not_taken_by_their_order_as_strings():
  ours = tuple(sorted(map(str, range(12))))  # 0, 1, 10, 11, 2 and so on.
  weights, found, note = match((), ours, 12)
  kernel = weights.params["head/kernel"]
  assert found.class_names == ours and "numbers" in note
  for i, name in enumerate(ours):
    assert (found.params["head/kernel"][:, i] == kernel[:, int(name)]).all()
  names = tuple("abcdefghijkl")
  _, found, _ = match(names, ours)
  assert found.class_names[:4] == ("a", "b", "k", "l")


def test_the_same_names_are_left_as_they_are():
  for names in (NUMBERS, ("cat", "cat", "owl")):  # Also those of twins.
    weights, found, note = match(names, names)
    assert found is weights and note is None


@pytest.mark.parametrize(
  ("theirs", "ours", "word"),
  [
    (("cat", "dog", "owl"), ("cat", "fox"), "lacks 1 of the 2: 'fox'"),
    (("cat", "cat", "owl"), ("owl", "cat"), "same name: 'cat'"),
    (("cat", "dog"), NUMBERS, "2 classes and photos 3"),
    (NUMBERS, ("cat", "dog"), "3 classes and photos 2"),
  ],
)
def test_what_differs_is_named(theirs, ours, word):
  with pytest.raises(ConfigError, match=word):
    match(theirs, ours)


def test_some_classes_alone():
  weights = make_tiny_weights(names=("cat", "dog", "owl"), classes=3)
  found = select_classes(weights, [2, 0])
  assert found.num_classes == 2 and found.class_names == ("owl", "cat")
  expected = compute_logits(weights)[:, [2, 0]]
  np.testing.assert_allclose(compute_logits(found), expected, rtol=1e-5)
