# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped and goes on, as its loggers see it."""

import csv
import io
import json
import math

import numpy as np
import PIL.Image
import pytest

from tests.metrics.samples import load_events
from tests.support.runs import get_timeless, make_config, reuse_experiment
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.metrics import read_rows
from vit_jax.train import train


def make_logged(data_dir):
  """A run that is looked into in every other step."""
  config = make_config(data_dir)
  config["model"]["depth"] = 2
  config["optim"]["layer_decay"] = 0.5
  config["data"]["augment"] = {}  # Mixup takes long to compile.
  config["train"] |= dict(log_every=1, layers_every=2, report=True)
  config["train"] |= dict(loggers="tensorboard,csv", steps=4)
  config["evals"]["test"] |= dict(split="test[:24]", every=2)
  return config


@pytest.fixture
def logged(data_dir):
  """Its config."""
  return make_logged(data_dir)


@pytest.fixture(scope="module")
def straight(data_dir, tmp_path_factory):
  """The workdir of that run, and its result."""
  workdir = tmp_path_factory.mktemp("straight")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("vit_jax.train.Experiment", reuse_experiment)
    return workdir, train(make_logged(data_dir), str(workdir))


def read_table(workdir):
  """The rows of metrics.csv, without empty cells."""
  with (workdir / "metrics.csv").open(newline="") as file:
    table = list(csv.DictReader(file))
  return [{k: float(x) for k, x in row.items() if x} for row in table]


def sum_squares(row, name):
  return sum(x**2 for k, x in row.items() if k.startswith(f"layers/{name}/"))


def test_a_run_that_goes_on_tells_its_loggers_all_once(
  logged, straight, tmp_path, ask_at, monkeypatch, same_programs
):
  ask_at(3)
  with pytest.raises(Preempted, match="saved step"):
    train(logged, str(tmp_path))
  monkeypatch.undo()
  train(logged, str(tmp_path))
  rows = read_rows(tmp_path)
  assert get_timeless(rows) == get_timeless(read_rows(straight[0]))
  assert read_table(tmp_path) == rows
  steps = {row["step"]: row for row in rows if "loss" in row}
  looks = {row["step"]: row for row in rows if "layers/lr/head" in row}
  assert [*steps] == [1, 2, 3, 4] and [*looks] == [2, 4]
  for step, look in looks.items():
    # The norm of all is that of the norms of all layers.
    assert math.sqrt(sum_squares(look, "grad_norm")) == pytest.approx(
      steps[step]["grad_norm"], rel=1e-5
    )
    names = [k.rpartition("/")[2] for k in look if "/update_ratio/" in k]
    assert "encoderblock_00" in names and "encoderblock_01" in names
    norms = [
      look[f"layers/update_ratio/{x}"] * look[f"layers/param_norm/{x}"]
      for x in names
    ]
    # Of layers whose parameters are 0 there is no ratio: the head, the tokens.
    assert math.hypot(*norms) <= steps[step]["update_norm"] * (1 + 1e-5)
    lr = steps[step]["lr"]
    assert look["layers/lr/head"] == lr
    assert look["layers/lr/encoderblock_01"] == pytest.approx(lr / 2)
    assert look["layers/lr/encoderblock_00"] == pytest.approx(lr / 4)

  events = load_events(tmp_path / "events")
  tags = events.Tags()
  names = {name for row in rows for name in row} - {"step"}
  assert set(tags["scalars"]) == names
  for name in names:
    found = [(x.step, x.value) for x in events.Scalars(name)]
    expected = [(row["step"], row[name]) for row in rows if name in row]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # float32.
  found = events.Histograms("weights/encoderblock_00")
  assert [x.step for x in found] == [2, 4]
  width, mlp = 32, 128
  assert found[0].histogram_value.num == 4 * width**2 + 2 * width * mlp


def test_what_a_run_has_learned_is_seen_in_tensorboard(straight):
  workdir, result = straight
  events = load_events(workdir / "events")
  found = {
    name: events.Images(name)[0] for name in sorted(events.Tags()["images"])
  }
  pictures = ("confusion", "mistakes", "recall", "reliability")
  assert [*found] == [*(f"evaluation/{x}" for x in pictures), "examples"]
  assert found["examples"].step == 1, "early"
  assert {found[f"evaluation/{x}"].step for x in pictures} == {4}
  file = PIL.Image.open(workdir / "examples.png").convert("RGBA")
  page = PIL.Image.new("RGBA", file.size, "white")
  page.alpha_composite(file)
  shown = PIL.Image.open(io.BytesIO(found["examples"].encoded_image_string))
  np.testing.assert_array_equal(shown, page.convert("RGB"))
  (recalls,) = events.Histograms("evaluation/recalls")
  content = json.loads((workdir / "evaluation/evaluation.json").read_text())
  there = [row for row in content["classes"] if row["support"]]
  assert recalls.histogram_value.num == len(there)
  assert content["correct"] == result["correct"]


def test_a_look_changes_nothing(logged, straight, tmp_path):
  """And a run that asks for none has one at its end."""
  logged["train"]["layers_every"] = None
  blind = train(logged, str(tmp_path))
  workdir, looked = straight
  assert blind["params_sha256"] == looked["params_sha256"]
  rows = read_rows(tmp_path)
  other = [row for row in read_rows(workdir) if "layers/lr/head" not in row]
  assert get_timeless(rows) == get_timeless(other)
  events = load_events(tmp_path / "events")
  found = events.Histograms("weights/encoderblock_01")
  assert [x.step for x in found] == [4]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(loggers="tensorbord"), "train.loggers: .*'tensorboard'"),
    (dict(loggers="nowhere.Class"), "train.loggers: nowhere.Class cannot be"),
    (dict(layers_every=3, log_every=2), "train.layers_every=3.*2 or 4"),
  ],
)
def test_what_cannot_be_logged_ends_a_run_before_it_starts(
  logged, tmp_path, change, message
):
  logged["train"] |= change
  with pytest.raises(ConfigError, match=message):
    train(logged, str(tmp_path / "run"))
  assert not (tmp_path / "run").exists()
