# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import math

from vit_jax.checkpoint.directory import CheckpointOptions, choose_old
from vit_jax.checkpoint.metadata import open_metadata, seal
from vit_jax.metrics.rows import read_scores
from vit_jax.runtime.early_stopping import describe_end, find_end
from vit_jax.runtime.record import Record, make_record

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
  text = describe_end({5: math.nan} | before, "test/loss", 1000)
  assert "step 40, 1.9" in text
  assert "never finite" in describe_end({5: math.nan}, "test/loss", 9)


def test_a_score_that_is_no_number_comes_back_as_it_was(tmp_path):
  """In a row and in a checkpoint, whose JSON stays valid."""
  (tmp_path / "metrics.jsonl").write_text(
    '{"step": 1, "test/loss": 2.5}\n{"step": 2, "test/loss": null}\n'
    '{"step": 3, "loss": 1.0}\n'
  )
  scores = read_scores(tmp_path, "test/loss")
  assert scores.keys() == {1, 2}
  assert scores[1] == 2.5 and math.isnan(scores[2])
  sums = {"loss": (math.inf, 3.0)}
  made = make_record(2, sums, [("test/loss", scores)])
  kinds = {"format": 1, "step": 2, "checksums": {}}
  text = json.dumps(seal(kinds | made), allow_nan=False)
  found = Record(open_metadata(json.loads(text)))
  assert found.scores["test/loss"][1] == 2.5
  assert math.isnan(found.scores["test/loss"][2])
  assert math.isnan(found.sums["loss"][0]) and found.sums["loss"][1] == 3
  options = CheckpointOptions(keep=1, best="test/loss", keep_best=1)
  for order in ({1: 2.5, 2: math.nan, 3: 3.0}, {1: math.nan, 2: 2.5, 3: 3.0}):
    best = next(step for step, x in order.items() if x == 2.5)
    steps = [1, 2, 3, 4]
    assert best not in choose_old(steps, options, order, {4}, set())
