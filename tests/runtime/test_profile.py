# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""train.profile: steps that are traced, and what that leaves alone."""

import json

import jax
import pytest
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.config.training import Train
from vit_jax.experiment import Experiment
from vit_jax.runtime import profile
from vit_jax.runtime.profile import STEP, StepProfile, check_profiler
from vit_jax.sections import resolve
from vit_jax.train import train


@pytest.mark.parametrize(
  "text", ["3", "3:", "0:2", "5:4", "a:b", "3:4:5", "1:1" + "0" * 5000]
)
def test_anything_but_two_steps_in_order_is_refused(text):
  with pytest.raises(ConfigError, match="FIRST:LAST") as caught:
    Train(batch_size=8, profile=text)
  assert repr(text)[:100] in str(caught.value)


def test_both_ends_are_included():
  assert list(Train(batch_size=8, profile="3:5").profiled_steps) == [3, 4, 5]
  assert Train(batch_size=8).profiled_steps is None


def test_a_profile_beyond_the_end_is_refused(config):
  config["train"] |= dict(steps=6, profile="7:9")
  with pytest.raises(ConfigError, match="train.profile=7:9 begins .* step, 6"):
    Experiment(resolve(config))
  config["train"]["profile"] = "6:9"
  Experiment(resolve(config))


def test_a_profile_of_steps_that_are_over_is_said_once(tmp_path, monkeypatch):
  monkeypatch.setattr(profile, "check_profiler", lambda: None)
  said = []
  steps = StepProfile(
    range(2, 4), epath.Path(tmp_path), flush=lambda: None, say=said.append
  )
  assert not steps.begin(4) and not steps.end(4) and not steps.begin(5)
  assert said == ["train.profile: step 3 is over, so nothing is traced"]


def list_steps(directory):
  """Numbers of the steps of the one profile below a directory."""
  (found,) = directory.glob("plugins/profile/*/*.xplane.pb")
  data = jax.profiler.ProfileData.from_file(str(found))
  events = (
    event
    for plane in data.planes
    for line in plane.lines
    for event in line.events
    if event.name == STEP
  )
  return sorted(dict(event.stats)["step_num"] for event in events)


@pytest.mark.profiler
def test_a_run_is_the_same_and_its_steps_are_named(config, tmp_path, capsys):
  config["evals"] = {}
  plain = train(config, str(tmp_path / "plain"))
  config["train"]["profile"] = "4:5"
  traced = train(config, str(tmp_path / "traced"))
  assert traced["params_sha256"] == plain["params_sha256"]
  directory = tmp_path / "traced/profile"
  assert list_steps(directory) == [4, 5]
  said = [x for x in capsys.readouterr().err.splitlines() if "profile" in x]
  assert len(said) == 1
  assert "steps 4 to 5" in said[0] and str(directory) in said[0]
  lines = (tmp_path / "traced/metrics.jsonl").read_text().splitlines()
  # A profile adds no row.
  assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]


@pytest.mark.profiler
def test_a_run_that_goes_on_may_profile_other_steps(config, tmp_path):
  config["evals"] = {}
  config["train"] |= dict(steps=4, profile="1:1")
  train(config, str(tmp_path))
  assert list_steps(tmp_path / "profile") == [1]
  config["train"] |= dict(steps=6, profile="2:9")
  train(config, str(tmp_path), extend=True)
  found = sorted(tmp_path.glob("profile/plugins/profile/*/*.xplane.pb"))
  assert len(found) in (1, 2)  # Of the same second, they are of one name.
  data = jax.profiler.ProfileData.from_file(str(found[-1]))
  names = {
    dict(event.stats)["step_num"]
    for plane in data.planes
    for line in plane.lines
    for event in line.events
    if event.name == STEP
  }
  assert names == {5, 6}


@pytest.mark.profiler
def test_a_profile_reaches_a_store(tmp_path, monkeypatch):
  monkeypatch.setattr(profile, "is_local", lambda path: False)
  said = []
  steps = StepProfile(
    range(2, 3), epath.Path(tmp_path), flush=lambda: None, say=said.append
  )
  assert not steps.begin(1) and not steps.end(1)
  assert not list(tmp_path.iterdir())
  assert steps.begin(2)
  assert not (tmp_path / "profile").exists()  # It is written elsewhere first.
  assert steps.end(2)
  assert list_steps(tmp_path / "profile") == [2]
  assert len(said) == 1


@pytest.mark.profiler
def test_a_disk_that_is_full_ends_nothing(tmp_path):
  (tmp_path / "profile").write_text("in the way")
  said = []
  steps = StepProfile(
    range(1, 2), epath.Path(tmp_path), flush=lambda: None, say=said.append
  )
  steps.begin(1)
  steps.close()
  assert len(said) == 1 and str(tmp_path / "profile") in said[0]


def test_libtpu_without_a_tpu_is_refused(monkeypatch):
  monkeypatch.setattr(profile, "is_libtpu_loaded", lambda: True)
  with pytest.raises(ConfigError, match="JAX_PLATFORMS=cpu"):
    check_profiler()
