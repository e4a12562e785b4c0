# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loop from end to end, on real images through the real parts."""

import contextlib
import copy
import io
import json
import math
import re
import shutil
import subprocess

import jax
import pytest
from etils import epath

from tests.support import build
from tests.support.runs import OF_CALL, get_timeless, make_config
from tests.support.shared import make_once
from vit_jax import optim
from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.evaluators.classification import Classification
from vit_jax.runtime.resume import load_result
from vit_jax.runtime.run import Run
from vit_jax.train import train
from vit_jax.train_state import compute_digest

pytestmark = pytest.mark.usefixtures("same_programs")


def read_rows(workdir):
  text = (workdir / "metrics.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, data_dir):
  """Where one run and its last words are kept, for tests to copy."""

  def make(directory):
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown):
      train(make_config(data_dir), str(directory / "straight"))
    (directory / "shown").write_text(shown.getvalue())

  return make_once(tmp_path_factory, "trained", make)


@pytest.fixture
def straight(trained, tmp_path):
  """A run that nobody interrupts: its workdir, result and last words."""
  workdir = tmp_path / "straight"
  shutil.copytree(trained / "straight", workdir)
  result = json.loads((workdir / "result.json").read_text())
  shown = (trained / "shown").read_text()
  return workdir, result, shown.replace(str(trained), str(tmp_path))


def test_a_run_leaves_what_people_and_programs_need(config, straight):
  workdir, result, shown = straight
  assert json.loads((workdir / "result.json").read_text()) == result
  assert set(result) == {
    *("accuracy", "correct", "total", "loss", "accuracy_top5"),
    *("steps", "parameters", "train_images", "start_step"),
    *("seconds", "compile_seconds", "finished"),
    *("params_sha256", "choices"),
  }
  assert result["steps"] == 6 and result["total"] == 40
  assert result["accuracy"] == result["correct"] / 40

  # The digest is that of the parameters in the checkpoint, not their average.
  exp = build(config)
  directory = epath.Path(workdir) / "checkpoints"
  with Checkpointer(directory, exp.checkpoint) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  assert int(state.step) == 6
  assert compute_digest(state.params) == result["params_sha256"]
  assert compute_digest(state.ema) != result["params_sha256"]

  recorded = json.loads((workdir / "config.json").read_text())
  assert recorded["versions"]["jax"] == jax.__version__
  assert {"flax", "vit_jax"} <= set(recorded["versions"])
  assert recorded["model"]["width"] == 32
  manifest = json.loads((workdir / "manifest.json").read_text())
  assert manifest["class_names"] == list("0123456789")
  assert manifest["model"]["gelu"] == "tanh"
  assert "10 classes at 8 px, 6 steps of 16" in shown
  assert list((workdir / "events").glob("events.out.tfevents.*"))

  rows = read_rows(workdir)
  assert [r["step"] for r in rows if "loss" in r] == [2, 4, 6]
  assert rows[-1]["test/accuracy"] == result["accuracy"]
  schedule = optim.make_schedule(exp.optim, 6)
  for row in rows[:3]:
    # A mean over the row's two steps; updates are counted from 0.
    rates = [float(schedule(row["step"] - i)) for i in (1, 2)]
    assert row["lr"] == pytest.approx(sum(rates) / 2, rel=1e-6)
    assert 0 < row["grad_norm"] and 0 < row["images_per_second"]
    assert 0 <= row["data_wait"] <= 1
  assert rows[0]["loss"] == pytest.approx(math.log(10), abs=0.1)

  line = r"step 6/6 100%  loss \d\.\d{4}  [\d,]+ images/s  data \d+%  0s left"
  assert re.search(line, shown)
  assert f"({result['correct']}/40)" in shown
  assert str(workdir / "checkpoints" / "6") in shown


def test_a_finished_run_says_so_and_does_nothing(config, straight, capsys):
  workdir, result, _ = straight
  before = (workdir / "metrics.jsonl").read_bytes()
  assert train(config, str(workdir)) == result
  assert "finished at step 6" in capsys.readouterr().err
  assert (workdir / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_an_interrupted_run_is_the_run_that_was_not(
  config, straight, tmp_path, monkeypatch, ask_at, stop
):
  """Stopped after any step and taken up, to the same bits."""
  ask_at(stop)
  workdir = tmp_path / "resumed"
  with pytest.raises(Preempted, match=f"saved step {stop}"):
    train(config, str(workdir))
  assert not (workdir / "result.json").exists()
  monkeypatch.undo()
  result = train(config, str(workdir))
  expected = straight[1]
  for name in set(expected) - OF_CALL:
    assert result[name] == expected[name], name
  # The row of the interval in which it was stopped is of all its steps.
  rows = get_timeless(read_rows(workdir))
  assert rows == get_timeless(read_rows(straight[0]))


def test_a_run_killed_after_its_last_checkpoint_is_evaluated_again(
  config, straight
):
  workdir, result, _ = straight
  (workdir / "result.json").unlink()
  again = train(config, str(workdir))
  for name in set(result) - OF_CALL:
    assert again[name] == result[name], name


def test_rows_after_the_checkpoint_are_written_again(config, tmp_path):
  """What a killed run logged after its last save does not stand twice."""
  config["checkpoint"] = dict(every=2)
  short = copy.deepcopy(config)
  train(short, str(tmp_path))
  rows = read_rows(tmp_path)
  # As if it had been killed after step 5, with step 4 saved.
  (tmp_path / "result.json").unlink()
  for path in (tmp_path / "checkpoints" / "6").rglob("*"):
    if path.is_file():
      path.unlink()
  subprocess.run(["rm", "-r", str(tmp_path / "checkpoints" / "6")], check=True)
  train(config, str(tmp_path))
  assert get_timeless(read_rows(tmp_path)) == get_timeless(rows)


def test_evaluations_run_when_they_are_due(config, tmp_path):
  config["evals"]["often"] = dict(split="test[:24]", batch_size=24, every=2)
  train(config, str(tmp_path))
  rows = read_rows(tmp_path)
  assert [r["step"] for r in rows if "often/accuracy" in r] == [2, 4, 6]
  assert [r["step"] for r in rows if "test/accuracy" in r] == [6]


def test_images_need_not_be_square(config, tmp_path, capsys):
  config["data"]["size"] = (8, 12)
  exp = build(config)
  assert exp.image_shape == (8, 12, 1)
  assert exp.abstract_batch["image"].shape == (16, 8, 12, 1)
  result = train(config, str(tmp_path))
  assert result["steps"] == 6 and result["total"] == 40
  assert "10 classes at 8x12 px, 6 steps of 16" in capsys.readouterr().err
  manifest = json.loads((tmp_path / "manifest.json").read_text())
  found = manifest["preprocess"]
  assert (found["height"], found["width"], found["channels"]) == (8, 12, 1)
  # What config.json holds is the same run.
  config["data"]["size"] = [8, 12]
  assert train(config, str(tmp_path)) == result
  config["data"]["size"] = (12, 8)
  with pytest.raises(ConfigError, match="a run of another config"):
    train(config, str(tmp_path))


def test_the_host_fetches_once_an_interval(config, tmp_path, monkeypatch):
  config["train"] |= dict(steps=8, log_every=4)
  fetches = []
  fetch = jax.device_get

  def count(x):
    # Metrics of an interval come in a list, and what a look into the layers has
    # found beside it; other fetches are not of the loop.
    if isinstance(x, tuple) and isinstance(x[0], list):
      fetches.append(len(x[0]))
    return fetch(x)

  monkeypatch.setattr(jax, "device_get", count)
  train(config, str(tmp_path))
  assert fetches == [4, 4]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"data": dict(size=10)},
      r"data.size=10 .* 4, the patch size: take 8 or 12",
    ),
    (
      {"data": dict(size=(10, 11))},
      r"\(10, 11\): height=10 .*: take 8 or 12\n.*\(10, 11\): width=11 .*",
    ),
    (
      {"train": dict(batch_size=12)},
      r"batch_size=12 .* 8, the number of data-parallel .*: take 8 or 16",
    ),
    ({"evals": {"test": dict(split="tset")}}, r"no split 'tset'"),
    ({"data": dict(num_classes=9)}, "data.num_classes=9 is less than the 10"),
    ({"train": dict(steps=None)}, "set train.steps, train.epochs or train.ex"),
    ({"mesh": dict(fsdp=3)}, "mesh.fsdp=3"),
    ({"train": dict(allow_cpu=False)}, "jax found no accelerator"),
  ],
)
def test_a_bad_config_ends_before_anything_is_compiled(
  config, tmp_path, monkeypatch, change, message
):
  monkeypatch.setattr(Run, "start_compiling", None)
  for section, keys in change.items():
    config.setdefault(section, {}).update(keys)
  with pytest.raises(ConfigError, match=message):
    train(config, str(tmp_path / "run"))
  assert not (tmp_path / "run" / "result.json").exists()


def test_a_shorter_run_is_refused_in_a_longer_ones_workdir(config, straight):
  config["train"]["steps"] = 4
  with pytest.raises(ConfigError, match="--extend changes its length"):
    train(config, str(straight[0]))
  with pytest.raises(ConfigError, match="holds a run of 6 steps"):
    train(config, str(straight[0]), extend=True)


def test_a_run_goes_on_under_its_own_config_alone(
  config, straight, monkeypatch
):
  workdir, result, _ = straight
  changed = copy.deepcopy(config)
  changed["optim"]["lr"] = 2e-3
  changed["model"]["width"] = 64
  with monkeypatch.context() as patch:
    patch.setattr(Run, "start_compiling", None)  # Nothing is compiled.
    with pytest.raises(ConfigError, match="a run of another config") as caught:
      train(changed, str(workdir))
  lines = str(caught.value).splitlines()[1:5]
  assert lines == [
    "  - model.width=32",
    "  + model.width=64",
    "  - optim.lr=0.001",
    "  + optim.lr=0.002",
  ]
  # What no step depends on may change.
  changed = copy.deepcopy(config)
  changed["train"]["log_every"] = 5
  changed["checkpoint"] = dict(every=3)
  assert train(changed, str(workdir)) == result


def test_a_longer_run_goes_on_and_is_evaluated_anew(config, straight):
  workdir, _, _ = straight
  config["train"]["steps"] = 7
  with pytest.raises(ConfigError, match="--extend changes its length"):
    train(config, str(workdir))
  assert train(config, str(workdir), extend=True)["steps"] == 7
  config["evals"]["test"]["split"] = "test[:30]"
  assert train(config, str(workdir))["total"] == 30


def test_a_result_is_never_that_of_another_evaluation(
  config, straight, monkeypatch
):
  """Killed while a finished run was evaluated anew."""
  workdir, _, _ = straight
  config["evals"]["test"]["split"] = "test[:30]"

  def die(self, state, mark):
    raise InterruptedError

  monkeypatch.setattr(Classification, "run", die)
  with pytest.raises(InterruptedError):
    train(config, str(workdir))
  monkeypatch.undo()
  assert train(config, str(workdir))["total"] == 30


def test_an_evaluation_that_was_cut_off_is_made_up_for(
  config, tmp_path, monkeypatch
):
  """Killed between a checkpoint and the evaluation of the same step."""
  config["checkpoint"] = dict(every=2)
  config["evals"]["often"] = dict(split="test[:24]", batch_size=24, every=2)
  evaluate = Classification.run
  seen = []

  def die_the_second_time(self, state, mark):
    seen.append(int(state.step))
    if len(seen) == 2:
      raise InterruptedError
    return evaluate(self, state, mark)

  monkeypatch.setattr(Classification, "run", die_the_second_time)
  with pytest.raises(InterruptedError):
    train(config, str(tmp_path))
  train(config, str(tmp_path))
  # Step 4 again, then 6 with both evaluations; step 2 has its row.
  assert seen == [2, 4, 4, 6, 6]
  rows = read_rows(tmp_path)
  assert [r["step"] for r in rows if "often/accuracy" in r] == [2, 4, 6]
  assert [r["step"] for r in rows if "loss" in r] == [2, 4, 6]


def test_a_workdir_that_can_not_be_written_ends_the_run(config, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ConfigError, match="--workdir=.*run"):
    train(config, str(tmp_path / "file" / "run"))


def test_a_workdir_that_has_no_usable_name_is_refused(config, tmp_path):
  for name in ("lr[0.1]", "a\\b"):
    with pytest.raises(ConfigError, match="nothing can be read back"):
      train(config, str(tmp_path / name))
    assert not (tmp_path / name).exists()
  with pytest.raises(ConfigError, match="--workdir is empty"):
    train(config, "")


def test_damaged_records_are_written_anew(config, straight):
  """The checkpoint has all that they are made of."""
  workdir, result, _ = straight
  before = (workdir / "config.json").read_text()
  (workdir / "config.json").write_text("{")
  found = train(config, str(workdir))
  assert (workdir / "config.json").read_text() == before
  recorded = json.loads(before)
  assert load_result(epath.Path(workdir), recorded, 6) == found
  for text in ("{", "[]", '{"steps": "6"}', "[" * 100_000, "\0"):
    (workdir / "result.json").write_text(text)
    assert load_result(epath.Path(workdir), recorded, 6) is None
  (workdir / "config.json").write_text("[]")
  (workdir / "result.json").write_text(json.dumps(found))
  assert load_result(epath.Path(workdir), recorded, 6) is None
  for name in set(result) - OF_CALL:
    assert found[name] == result[name], name


def test_a_run_does_not_go_on_with_other_data(
  config, tmp_path, data_dir, ask_at
):
  """Elsewhere they may lie, but they must be what they were."""
  config["data"]["dir"] = str(tmp_path / "copy")
  shutil.copytree(data_dir, tmp_path / "copy")
  ask_at(3)
  with pytest.raises(Preempted):
    train(config, str(tmp_path / "run"))
  (path,) = (tmp_path / "copy").rglob("dataset_info.json")
  before = path.read_text()
  info = json.loads(before)
  split = next(x for x in info["splits"] if x["name"] == "train")
  split["numBytes"] = str(int(split["numBytes"]) + 1)
  path.write_text(json.dumps(info))
  with pytest.raises(ConfigError) as error:
    train(config, str(tmp_path / "run"))
  text = str(error.value)
  assert "step 3" in text and "\n  train bytes: " in text
  assert "--config.init" in text
  config["data"]["dir"] = data_dir
  assert train(config, str(tmp_path / "run"))["steps"] == 6
