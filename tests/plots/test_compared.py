# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that classified the same images, compared on a page."""

import json

import numpy as np
import pytest
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.metrics import evaluation
from vit_jax.plots.compared import compare, compute_mcnemar
from vit_jax.plots.report import make_report, save_report
from vit_jax.plots.run_files import read_run

NAMES = ["cat", 'a "dog"\n', "日本"]


def write_run(workdir, predicted, label=(0, 1, 2, 0, 1, 2), step=40, **facts):
  """A finished run that classified images so."""
  directory = workdir / "evaluation"
  directory.mkdir(parents=True)
  (workdir / "config.json").write_text(json.dumps({"train": {"steps": 40}}))
  label, predicted = np.array(label), np.array(predicted)
  right = (label.reshape(len(predicted), -1) == predicted[:, None]).any(axis=1)
  result = dict(steps=40, correct=int(right.sum()), total=len(right))
  result["accuracy"] = result["correct"] / result["total"]
  (workdir / "result.json").write_text(json.dumps(result))
  found = dict(step=step, split="test", data="folder:a") | facts
  found["images"] = len(right)
  (directory / "evaluation.json").write_text(json.dumps(found))
  paths = [f"photos/{i}.jpg" for i in range(len(predicted))]
  chance = np.full((len(predicted), 1), 0.5)
  evaluation.write_predictions(
    epath.Path(directory), paths, label, predicted[:, None], chance, NAMES
  )
  return str(workdir)


def test_mcnemar_by_hand():
  """Of the 2^5 divisions of five, 2 are as uneven as 0 to 5, 12 as 1 to 4."""
  assert compute_mcnemar(0, 5) == compute_mcnemar(5, 0) == 2 / 32
  assert compute_mcnemar(4, 1) == 12 / 32
  assert compute_mcnemar(3, 3) == compute_mcnemar(0, 0) == 1
  assert 0 < compute_mcnemar(4000, 4400) < 1e-4


def test_two_runs_are_compared_image_by_image(tmp_path):
  paths = [
    write_run(tmp_path / "a", [0, 0, 0, 0, 1, 0]),  # Right: 0, 3, 4.
    write_run(tmp_path / "b", [0, 1, 2, 1, 1, 2]),  # Right: all but 3.
  ]
  (section,) = compare([read_run(path) for path in paths])
  (table,) = section.tables
  assert table.header[0] == "6 images of test of folder:a"
  assert table.rows == [["b and a", "3", "1", "0.62"]]
  page = make_report([read_run(path) for path in paths])
  rows = {row[0]: row[1:] for row in page.sections[0].tables[0].rows}
  # Wilson's interval, as statsmodels has it.
  assert rows["95 % interval"] == ["18.76 to 81.24 %", "43.65 to 96.99 %"]
  text = save_report(paths, tmp_path / "page.html").read_text()
  assert "Compared on the same images" in text and ">0.62</td>" in text


def test_only_the_same_images_are_compared(tmp_path):
  right = [0, 1, 2, 0, 1, 2]
  made = {
    "one": write_run(tmp_path / "one", right),
    "earlier": write_run(tmp_path / "earlier", right, step=20),
    "elsewhere": write_run(tmp_path / "elsewhere", right, data="folder:b"),
    "fewer": write_run(tmp_path / "fewer", right[:5], right[:5]),
    "relabelled": write_run(tmp_path / "relabelled", right, [0] * 6),
  }
  runs = {name: read_run(path) for name, path in made.items()}
  assert compare(list(runs.values())) == []
  (tmp_path / "one" / "evaluation" / "predictions.csv").write_bytes(b"\xff")
  with pytest.raises(ConfigError, match="one/evaluation is damaged"):
    compare(list(runs.values()))


@pytest.mark.parametrize(
  ("count", "pairs"),
  [
    (3, ["0 and 1", "0 and 2", "1 and 2"]),
    (5, [f"0 and {i}" for i in range(1, 5)]),
  ],
)
def test_of_many_all_are_compared_with_the_best(tmp_path, count, pairs):
  label = [0, 1, 2, 0, 1, 2]
  runs = [
    read_run(write_run(tmp_path / f"{i}", [1, 2, 0, 1, 2, 0][:i] + label[i:]))
    for i in range(count)
  ]
  (section,) = compare(runs)
  assert [row[0] for row in section.tables[0].rows] == pairs


def test_paths_of_any_bytes_are_compared(tmp_path):
  paths = [write_run(tmp_path / name, [0, 1, 2], [0, 1, 2]) for name in "ab"]
  for path in paths:
    file = epath.Path(path) / "evaluation/predictions.csv"
    file.write_bytes(file.read_bytes().replace(b"photos/1", b"caf\xe9/1"))
  (section,) = compare([read_run(path) for path in paths])
  assert section.tables[0].rows == [["a and b", "0", "0", "1"]]


def test_runs_without_their_predictions_are_left_out(tmp_path):
  paths = [write_run(tmp_path / name, [0, 1, 2], [0, 1, 2]) for name in "abc"]
  (tmp_path / "a/evaluation/predictions.csv").unlink()
  (section,) = compare([read_run(path) for path in paths])
  assert [row[0] for row in section.tables[0].rows] == ["b and c"]


def test_any_of_several_labels_is_right(tmp_path):
  label = [[0, 1], [2, -1], [1, 2]]
  paths = [
    write_run(tmp_path / "a", [1, 2, 2], label),
    write_run(tmp_path / "b", [2, 0, 1], label),
  ]
  (section,) = compare([read_run(path) for path in paths])
  assert section.tables[0].rows == [["a and b", "2", "0", "0.5"]]
