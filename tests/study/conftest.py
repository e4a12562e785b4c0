# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of a stand-in, of which a study has many in a second."""

import json
import sys
import types

import pytest

from tests.support import ROOT
from tests.support.forked import Forked
from vit_jax.study import runs

# What a run leaves behind, with an accuracy that its name and seed decide.
STAND_IN = """
import json, pathlib, sys

flags = dict(x.partition("=")[::2] for x in sys.argv[1:])
workdir = pathlib.Path(flags["--workdir"])
scores = json.loads(pathlib.Path(__file__).with_name("scores").read_text())
score = scores[workdir.parent.name + "/" + workdir.name]
if "--config.init" in flags:  # Of a run that is finished.
  assert (pathlib.Path(flags["--config.init"]) / "result.json").exists()
workdir.mkdir(parents=True, exist_ok=True)
row = {"step": 3, "few/accuracy_5shot": score, "test/accuracy": score / 2}
(workdir / "metrics.jsonl").write_text(json.dumps(row))
result = dict(accuracy=score / 2, steps=3, seconds=1.0)
(workdir / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def forked_runs(monkeypatch):
  """Real runs, which import nothing again."""

  def start(command, stderr):
    assert command[0] == sys.executable
    return Forked(command[1:], stderr=stderr)

  monkeypatch.setattr(runs, "subprocess", types.SimpleNamespace(Popen=start))


@pytest.fixture
def score(tmp_path, monkeypatch):
  """A function (study, scale) -> scores of its runs of two seeds, which a
  stand-in has."""
  script = tmp_path / "stand_in.py"
  script.write_text(STAND_IN)
  monkeypatch.setattr(runs, "MAIN", (sys.executable, str(script)))
  monkeypatch.chdir(ROOT)

  def give(study, scale="digits"):
    scores = {
      f"{point.name}/seed_{seed}": 0.5 + 0.01 * i + 0.002 * seed
      for i, point in enumerate(study.make_points(scale))
      for seed in (0, 1)
    }
    script.with_name("scores").write_text(json.dumps(scores))
    return scores

  return give
