# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a run that are deleted or edited, and rows across interruptions."""

import json
import re
import shutil

import pytest
from etils import epath

from tests.support.runs import get_timeless
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.convert.weights import load_weights
from vit_jax.metrics.rows import read_rows
from vit_jax.runtime.lost_files import describe_new_start
from vit_jax.train import train

pytestmark = pytest.mark.usefixtures("same_programs")


@pytest.fixture
def uneven(config):
  """Checkpoints, evaluations, rows and the end at steps of their own."""
  config["train"] |= dict(steps=11, log_every=4)
  config["checkpoint"] = dict(every=3, keep=9)
  config["evals"]["test"]["every"] = 5
  return config


def test_rows_are_those_of_a_run_that_nobody_stopped(
  uneven, tmp_path, monkeypatch, ask_at
):
  """Stopped twice in one interval, and killed after a periodic checkpoint."""
  result = train(uneven, str(tmp_path / "straight"))
  expected = get_timeless(read_rows(tmp_path / "straight"))
  assert [row["step"] for row in expected if "loss" in row] == [4, 8, 11]
  # Each asked at so many polls after its start, with those of evaluations.
  for polls, step in ((2, 2), (1, 3), (3, 5)):
    ask_at(polls)
    with pytest.raises(Preempted, match=f"saved step {step} "):
      train(uneven, str(tmp_path / "stopped"))
    monkeypatch.undo()
  assert (
    train(uneven, str(tmp_path / "stopped"))["params_sha256"]
    == (result["params_sha256"])
  )
  assert get_timeless(read_rows(tmp_path / "stopped")) == expected

  # As kill -9 leaves it: rows go further than the checkpoint, which has none
  # of its own step.
  killed = tmp_path / "killed"
  shutil.copytree(tmp_path / "straight", killed)
  (killed / "result.json").unlink()
  for step in (9, 11):
    shutil.rmtree(killed / "checkpoints" / str(step))
  train(uneven, str(killed))
  assert get_timeless(read_rows(killed)) == expected


def test_the_speed_after_a_resume_is_that_of_the_steps_since(
  uneven, tmp_path, monkeypatch, ask_at
):
  """The time between two starts, an hour, is in no row."""
  from vit_jax.metrics import train_log

  began = train_log.time.monotonic
  ask_at(2)
  with pytest.raises(Preempted):
    train(uneven, str(tmp_path))
  monkeypatch.undo()
  monkeypatch.setattr(train_log.time, "monotonic", lambda: began() + 3600)
  train(uneven, str(tmp_path))
  rows = [row for row in read_rows(tmp_path) if "loss" in row]
  assert [row["step"] for row in rows] == [4, 8, 11]
  assert rows[0]["images_per_second"] > 16 * 2 / 600


def test_a_manifest_that_is_gone_is_named_and_made_again(
  config, tmp_path, capsys
):
  result = train(config, str(tmp_path))
  path = tmp_path / "manifest.json"
  before = path.read_bytes()
  path.unlink()
  for location in (tmp_path, tmp_path / "checkpoints" / "6"):
    with pytest.raises(ConfigError) as caught:
      load_weights(str(location))
    assert str(path) in str(caught.value)
    assert f"--workdir={tmp_path} " in str(caught.value)
  with pytest.raises(ConfigError, match="manifest.json is missing"):
    train({**config, "init": str(tmp_path)}, str(tmp_path.parent / "other"))
  for damage in (path.touch, lambda: path.write_text("[]"), path.unlink):
    damage()
    assert train(config, str(tmp_path)) == result
    assert path.read_bytes() == before
    assert str(path) in capsys.readouterr().err
  load_weights(str(tmp_path))
  train(config, str(tmp_path))
  assert "manifest.json" not in capsys.readouterr().err


def test_rows_that_are_gone_come_back_or_are_said(
  config, tmp_path, capsys, ask_at, monkeypatch
):
  """Patience counts on from what the checkpoint's record knows."""
  config["train"] |= dict(steps=20, stop_by="test/total", patience=3)
  config["checkpoint"] = dict(best="test/accuracy", keep_best=1)
  config["evals"]["test"]["every"] = 2
  straight = train(config, str(tmp_path / "straight"))
  assert straight["steps"] == 8
  ask_at(14)
  with pytest.raises(Preempted):
    train(config, str(tmp_path / "run"))
  monkeypatch.undo()
  path = tmp_path / "run" / "metrics.jsonl"
  rows = [row for row in read_rows(path.parent) if "test/total" in row]
  assert len(rows) == 2
  path.unlink()
  capsys.readouterr()
  result = train(config, str(path.parent))
  assert result["steps"] == 8
  assert result["params_sha256"] == straight["params_sha256"]
  names = ("step", "test/accuracy", "test/total")
  again = [row for row in read_rows(path.parent) if "test/total" in row]
  assert again[:2] == [{name: row[name] for name in names} for row in rows]
  said = capsys.readouterr().err
  assert str(path) in said and "brought back 2 of evaluations" in said

  # A finished run brings back what its last checkpoint knew.
  path.unlink()
  train(config, str(path.parent))
  steps = [row["step"] for row in read_rows(path.parent) if len(row) > 1]
  assert steps[:3] == [2, 4, 6]
  assert str(path) in capsys.readouterr().err


def test_checkpoints_that_are_gone_are_said(config, tmp_path, capsys):
  result = train(config, str(tmp_path))
  assert "first step" not in capsys.readouterr().err
  rows = read_rows(tmp_path)
  shutil.rmtree(tmp_path / "checkpoints")
  again = train(config, str(tmp_path))
  assert again["params_sha256"] == result["params_sha256"]
  assert get_timeless(read_rows(tmp_path)) == get_timeless(rows)
  said = capsys.readouterr().err
  assert f"no checkpoint in {tmp_path}" in said
  assert f"the {len(rows)} rows" in said


def test_an_edited_config_is_noticed(config, tmp_path, capsys):
  result = train(config, str(tmp_path))
  path = tmp_path / "config.json"
  before = path.read_text()
  edited = json.loads(before)
  edited["model"]["width"] = 48
  path.write_text(json.dumps(edited))
  assert train(config, str(tmp_path)) == result
  said = capsys.readouterr().err
  assert f"{path} was edited (model.width=48)" in said
  assert json.loads(path.read_text()) == json.loads(before)
  train(config, str(tmp_path))
  assert "was edited" not in capsys.readouterr().err
  # One whose evaluations are other ones, and one that is no JSON any more.
  edited = json.loads(before)
  edited["evals"]["test"]["batch_size"] += 1
  for text in (json.dumps(edited), "{"):
    path.write_text(text)
    again = train(config, str(tmp_path))
    assert again["params_sha256"] == result["params_sha256"]
    assert str(path) in capsys.readouterr().err
    assert json.loads(path.read_text()) == json.loads(before)
  # A version that wrote no digest.
  unsealed = json.loads(before)
  del unsealed["sha256"]
  path.write_text(json.dumps(unsealed))
  train(config, str(tmp_path))
  assert "was edited" not in capsys.readouterr().err


@pytest.mark.parametrize(
  "count, words",
  [(1, "the 1 row of .* is"), (1234, "the 1,234 rows of .* are")],
)
def test_how_many_rows_a_new_start_drops(tmp_path, count, words):
  text = describe_new_start(epath.Path(tmp_path), count)
  assert re.search(f"{words} dropped$", text)
