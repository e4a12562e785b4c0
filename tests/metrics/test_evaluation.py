# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation prints and writes of names that may be anything."""

import csv
import json

import numpy as np
import pytest
from etils import epath

from vit_jax.metrics import evaluation, predictions
from vit_jax.metrics.classification import compute_wilson

NAMES = ["a|b", 'c",\n', "\x1b[31mred\x07", "d\u202ee", "日本"]


def describe(label, predicted):
  """A result, as of `vit_jax.evaluate`."""
  scores = np.asarray(predicted)[:, None], np.full((len(label), 1), 0.5)
  found = evaluation.describe_scores(np.asarray(label), *scores, NAMES)
  right = int((np.asarray(label) == predicted).sum())
  facts = dict(weights="w\x1b[2J", data="folder:\r", split="test", loss=0.5)
  facts |= dict(images=len(label), correct=right, total=len(label))
  facts |= dict(accuracy=right / len(label), notes=["note\x08 of it"])
  return facts | found


def test_a_terminal_gets_names_it_does_not_act_on():
  text = evaluation.format_table(describe([0, 1, 2, 3, 4], [1, 2, 3, 4, 0]))
  lines = text.removesuffix("\n").split("\n")
  assert all(line.replace("\t", "").isprintable() for line in lines)
  assert r"\x1b[31mred\x07 taken for d\u202ee: 1 of 1" in text
  assert r"w\x1b[2J on folder:\r" in text and r"note\x08 of it" in text
  assert "日本 taken for a|b" in text
  shown = predictions.format_table(
    predictions.Prediction("x\n.jpg", [(2, NAMES[2], 0.5)])
  )
  assert shown == "x\\n.jpg\n   50.0%  \\x1b[31mred\\x07\n"


def test_several_labels_are_read_back_as_they_are(tmp_path):
  """Names with the characters that could part them."""
  label = np.array([[0, 1, -1], [4, -1, -1], [-1, -1, -1]])
  classes, chance = np.array([[1], [4], [0]]), np.full((3, 1), 0.5)
  evaluation.write_predictions(
    epath.Path(tmp_path), ["p", "q", "r"], label, classes, chance, NAMES
  )
  with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as x:
    rows = list(csv.DictReader(x))
  found = [json.loads(row["label_class"]) for row in rows]
  assert found == [["a|b", 'c",\n'], ["日本"], []]
  assert [row["label"] for row in rows] == ["0 1", "4", ""]
  assert [row["prediction_class"] for row in rows] == ['c",\n', "日本", "a|b"]


@pytest.mark.parametrize("wrong", [0, 2])
def test_intervals_of_few_images_are_no_points(wrong):
  label = [0] * 4 + [1] * 3
  found = describe(label, [1] * wrong + label[wrong:])
  total = compute_wilson(7 - wrong, 7)
  assert found["accuracy_wilson"] == list(total)
  assert found["accuracy_wilson"][0] < found["accuracy_wilson"][1]
  first, second, *rest = found["classes"]
  assert first["recall_wilson"] == list(compute_wilson(4 - wrong, 4))
  assert second["recall_wilson"] == list(compute_wilson(3, 3))
  assert all(row["recall_wilson"] is None for row in rest)
  low, high = total
  text = f"95 % interval {low:.2%} to {high:.2%}"
  assert text in evaluation.format_table(found)
  if not wrong:
    assert found["accuracy_interval"] == [1, 1]
