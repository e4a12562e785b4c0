# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe once a seed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT
from tests.support.forked import Forked
from vit_jax.study import runs, seeds
from vit_jax.study.__main__ import find_name, main

# How it fits is given: to estimate that traces the model twice.
SMALL = [
  "--config.model.depth=1",
  "--config.model.remat=none",
  "--config.train.accumulate=1",
  "--config.optim.warmup_steps=1",
  "--config.train.report=false",
]


def test_a_study_passes_sigterm_on(tmp_path, data_dir):
  process = Forked(
    [
      "-m",
      "vit_jax.study",
      "seeds",
      f"--workdir={tmp_path}",
      "--config=configs/digits.py",
      f"--config.data.dir={data_dir}",
      *SMALL,
      "--config.train.batch_size=32",
      "--config.train.steps=100000",
      "--config.train.log_every=1",
    ],
    stderr=subprocess.PIPE,
    text=True,
  )
  for line in process.stderr:
    if line.startswith("step"):
      process.terminate()
      break
  rest = process.stderr.read()
  assert process.wait(timeout=60) == 42, rest
  assert "SIGTERM: saved step" in rest


def test_sigterm_between_two_runs_ends_alike(monkeypatch):
  monkeypatch.setattr(os, "_exit", sys.exit)
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(SystemExit) as caught, runs.ending():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
  assert caught.value.code == 42
  assert signal.getsignal(signal.SIGTERM) is before


def test_runs_that_failed_for_one_reason_are_one_line():
  failed = {
    name: {"status": 1, "reason": f"no room in /d/{name}: remove{rest}"}
    for name, rest in (("a/seed_0", ""), ("a/seed_1", ""), ("b/seed_0", " x"))
  }
  assert runs.list_failures(failed) == [
    "a/seed_0, a/seed_1, with status 1: no room in /d/a/seed_0: remove",
    "b/seed_0, with status 1: no room in /d/b/seed_0: remove x",
  ]
  assert runs.list_failures({}) == []


@pytest.mark.usefixtures("forked_runs")
def test_study_of_seeds(tmp_path, capfd, data_dir, monkeypatch):
  monkeypatch.chdir(ROOT)
  command = [
    "seeds",
    f"--workdir={tmp_path}",
    "--seeds=3,4",
    "--config=configs/digits.py",
    f"--config.data.dir={data_dir}",
    *SMALL,
    "--config.train.steps=2",
    "--config.train.batch_size=8",
  ]
  main(command)
  summary = json.loads((tmp_path / "study.json").read_text())
  found = {}
  for seed in (3, 4):
    path = tmp_path / f"seed_{seed}"
    found[seed] = json.loads((path / "result.json").read_text())
    assert (
      json.loads((path / "config.json").read_text())["train"]["seed"] == seed
    )
  accuracies = [r["accuracy"] for r in found.values()]
  assert found[3]["params_sha256"] != found[4]["params_sha256"]
  assert summary["mean"] == sum(accuracies) / 2
  assert summary["worst"] == min(accuracies)
  assert f"mean {summary['mean']:.2%}, standard" in capfd.readouterr().out
  alone = summary | {"runs": {"3": found[3]}}
  assert "standard deviation" not in seeds.format_table(alone)

  # Those that are finished are not even started again; another config is
  # another run, of which vit_jax.main says so.
  with monkeypatch.context() as patch:
    patch.setattr("vit_jax.study.runs.MAIN", ("nothing",))
    main(command)
  assert json.loads((tmp_path / "study.json").read_text()) == summary
  assert "seed 4: finished before" in capfd.readouterr().err
  with pytest.raises(SystemExit) as caught:
    main([*command, "--config.optim.lr=0.5"])
  assert caught.value.code == 2
  assert "--workdir holds a run of another config" in capfd.readouterr().err


def test_a_study_ends_with_the_status_of_a_run_that_failed(tmp_path, capfd):
  recipe = f"--config={ROOT}/configs/vit_b16.py"
  workdir = f"--workdir={tmp_path}"
  with pytest.raises(SystemExit) as caught:
    main(["seeds", recipe, workdir, f"--config.data.dir={tmp_path}"])
  assert caught.value.code == 2
  _, err = capfd.readouterr()
  assert "seed 0: " in err and "seed 1: " not in err
  assert "'tfds:imagenet21k' is not prepared" in err


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--config=configs/digits.py"], "--workdir is missing"),
    (["--workdir=x"], "--config is missing"),
    (["--config=nowhere.py", "--workdir=x"], "nowhere.py"),
    *(
      (
        ["--config=configs/digits.py", "--workdir=x", f"--seeds={seeds}"],
        f"--seeds={seeds} must be different whole numbers",
      )
      for seeds in ("a", "1,1", "-1")
    ),
    (
      ["--config=configs/digits.py", "--workdir=x", "--config.train.seed=1"],
      "use --seeds",
    ),
  ],
)
def test_bad_flags(flags, message, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  with pytest.raises(SystemExit) as caught:
    main(["seeds", *flags])
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


def test_a_directory_may_have_the_name_of_a_study(capsys):
  assert find_name(["position", "--workdir", "pooling"]) == "position"
  assert find_name(["--workdir", "runs", "position"]) == "position"
  with pytest.raises(SystemExit) as caught:
    find_name(["--workdir", "pooling", "position"])
  assert caught.value.code == 2
  assert "name the study first, then flags" in capsys.readouterr().err


def test_what_is_not_evaluated_can_not_be_compared(tmp_path, capsys):
  recipe = tmp_path / "recipe.py"
  recipe.write_text("def get_config():\n  return dict(evals={})\n")
  with pytest.raises(SystemExit) as caught:
    main(["seeds", f"--config={recipe}", f"--workdir={tmp_path / 'runs'}"])
  assert caught.value.code == 2
  assert "has no evaluation" in capsys.readouterr().err
