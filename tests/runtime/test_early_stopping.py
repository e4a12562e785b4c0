# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import math

from vit_jax.runtime.early_stopping import describe_end, find_end

LOSSES = {10: 3.0, 20: 2.0, 30: 2.5, 40: 1.9, 50: 1.9, 60: 2.0, 70: 1.0}


def test_a_run_ends_when_patience_is_over():
  found = [find_end(LOSSES, "test/loss", patience) for patience in (1, 2, 3)]
  assert found == [30, 60, None]
  # Of an accuracy more is better.
  assert find_end(LOSSES, "test/accuracy", 2) == 30
  assert find_end({}, "test/loss", 1) is None
  # The order in which values came does not matter, nor what is no number.
  shuffled = dict(sorted(LOSSES.items(), reverse=True))
  assert find_end(shuffled, "test/loss", 2) == 60
  assert find_end({1: math.nan, 2: math.nan}, "test/loss", 2) == 2


def test_it_says_which_step_was_best():
  before = {step: x for step, x in LOSSES.items() if step <= 60}
  text = describe_end(before, "test/loss", 1000)
  assert "step 40, 1.9" in text and "1,000" in text
