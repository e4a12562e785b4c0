# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that have no accuracy are compared by what they have."""

import pytest
from etils import epath

from tests.support import ROOT
from vit_jax.config import ConfigError
from vit_jax.study import scores, seeds

RECIPE = str(ROOT / "configs/mae.py") + ":dataset=digits"


def test_runs_without_labels_are_compared_by_their_loss(tmp_path, monkeypatch):
  losses = {0: 0.5, 1: 0.75, 2: 0.25}
  monkeypatch.setattr(
    seeds,
    "train",
    lambda run: {"loss": losses[int(run.name[5:])], "total": 9, "seconds": 2.0},
  )
  found = seeds.run(RECIPE, epath.Path(tmp_path), [], [0, 1, 2])
  numbers = [found[key] for key in ("score", "mean", "stdev", "worst")]
  assert numbers == ["loss", 0.5, 0.25, 0.75]
  head, first, *_, last = seeds.format_table(found).splitlines()
  assert head.split() == ["seed", "loss", "seconds"]
  assert first.split() == ["0", "0.5000", "2.0"]
  assert last == "loss: mean 0.5000, standard deviation 0.2500, worst 0.7500"


def test_segmentations_are_compared_by_their_mean_iou():
  runs = {
    x: dict(miou=x / 8, pixel_accuracy=0.5, loss=1.0, total=9, seconds=2.0)
    for x in (3, 4)
  }
  found = dict(runs=runs, score="miou", mean=0.4375, stdev=0.1, worst=0.375)
  lines = seeds.format_table(found).splitlines()
  assert lines[0].split() == "seed mean IoU pixel accuracy loss seconds".split()
  assert lines[1].split() == ["3", "37.50%", "50.00%", "1.0000", "2.0"]
  assert lines[-1].startswith("mean IoU: mean 43.75%, ")


def test_runs_on_images_with_several_labels_are_compared_by_their_ranking(
  tmp_path, monkeypatch
):
  maps = {0: 0.5, 1: 0.75}
  row = dict(accuracy=0.9, correct=9, total=10, loss=1.0, seconds=2.0)
  monkeypatch.setattr(
    seeds, "train", lambda run: row | {"map": maps[int(run.name[5:])]}
  )
  digits = str(ROOT / "configs/digits.py")
  found = seeds.run(digits, epath.Path(tmp_path), [], [0, 1])
  assert (found["score"], found["mean"], found["worst"]) == ("map", 0.625, 0.5)
  last = seeds.format_table(found).splitlines()[-1]
  assert last.startswith("mAP: mean 62.50%, ")
  # One run without it, or another metric: as the config says.
  assert (
    scores.take_ranking("accuracy", [row, row | {"map": 1.0}]) == "accuracy"
  )
  assert scores.take_ranking("loss", [row | {"map": 1.0}]) == "loss"


@pytest.mark.parametrize(
  ("kinds", "score"),
  [
    (["knn", "classification"], "accuracy"),
    (["loss", "classification"], "accuracy"),
    (["fewshot", "segmentation", "loss"], "miou"),
    (["knn", "loss"], "loss"),
  ],
)
def test_the_score_is_that_of_result_json(kinds, score):
  evals = {str(i): {"kind": kind} for i, kind in enumerate(kinds)}
  assert scores.find_score({"evals": evals}, "x") == score


def test_runs_without_a_score_are_refused_before_they_are_trained(tmp_path):
  with pytest.raises(ConfigError, match="of the kinds knn, "):
    flags = ["--config.evals.test.kind=knn"]
    seeds.run("configs/digits.py", epath.Path(tmp_path), flags, [0])
  assert not [*tmp_path.iterdir()]
