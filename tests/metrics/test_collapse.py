# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
from vit_jax.metrics.collapse import CollapseDetector


def test_a_collapse_is_said_once_and_not_at_the_beginning():
  """In the third bad row running, of those after a tenth of the run."""

  def find(values):
    return "alike" if values["spread"] < 0.01 else None

  detector = CollapseDetector(find, steps=100)
  spreads = [0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
  said = [detector.add(5 * i, {"spread": x}) for i, x in enumerate(spreads)]
  assert said == [None] * 6 + ["alike"] + [None] * 2


def test_an_objective_that_cannot_tell_says_nothing():
  detector = CollapseDetector(lambda values: None, steps=10)
  assert not any(detector.add(i, {}) for i in range(10))
