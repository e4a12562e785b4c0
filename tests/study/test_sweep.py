# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A choice on held-out images, then training on all of them."""

import json
import statistics

import pytest

from vit_jax.study import sweep
from vit_jax.study.__main__ import main

# What learns something in its steps, and what moves nothing.
RECIPE = """
from configs import arguments

def get_sweep(text=""):
  return dict(grid={{"lr": (1e-9, 1e-2)}}, dev={{"dev": 1}})

def get_config(text=""):
  args = arguments.parse(text, lr=1.0, dev=0, split="test[:50%]")
  train, test = "train[:50%]", args.split
  if args.dev:
    train, test = "train[:40%]", "train[40%:50%]"
  return dict(
    model=dict(
      variant="mu/4", width=32, depth=1, pool="gap", dtype="float32",
      remat="none",
    ),
    data=dict(
      source="tfds:digits", dir="{data_dir}", train=train, size=8,
      crop="none", threads=1,
    ),
    optim=dict(lr=args.lr, warmup_steps=1, clip_norm=1.0),
    train=dict(
      batch_size=64, steps=40, accumulate=1, allow_cpu=True, report=False
    ),
    evals=dict(test=dict(split=test)),
    checkpoint=dict(every=1000),
  )
"""


@pytest.fixture
def recipe(tmp_path, data_dir):
  """The file of a recipe that is trained in a second."""
  path = tmp_path / "recipe.py"
  path.write_text(RECIPE.format(data_dir=data_dir))
  return path


def fail(*arguments):
  """Runs a sweep that must end with a bad config."""
  with pytest.raises(SystemExit) as caught:
    main(["sweep", *arguments])
  assert caught.value.code == 2


@pytest.mark.usefixtures("forked_runs")
def test_sweep(recipe, tmp_path, capfd):
  workdir = tmp_path / "runs"
  command = [
    *("sweep", f"--config={recipe}:split=test[50%:]", f"--workdir={workdir}")
  ]
  main([*command, "--seeds=3,5"])
  out, err = capfd.readouterr()
  assert err.count("step 40/40") == 4
  summary = json.loads((workdir / "study.json").read_text())

  # 143 images of train are held out of 718, and judge.
  low, high = summary["dev"]
  assert [row["arguments"] for row in (low, high)] == [
    {"lr": 1e-9},
    {"lr": 1e-2},
  ]
  assert low["total"] == high["total"] == 143
  assert low["accuracy"] + 0.2 < high["accuracy"]
  assert summary["choice"] == {"lr": 1e-2}
  config = json.loads((workdir / "dev/lr=0.01/config.json").read_text())
  assert config["data"]["train"] == "train[:40%]"
  assert config["train"]["seed"] == 0
  lines = out.splitlines()
  assert lines[0].split()[:3] == ["held", "out", "accuracy"]
  assert lines[1].split()[0] == "lr=1e-09"
  assert lines[3] == "chosen: lr=0.01"
  assert lines[-1].startswith(f"mean {summary['mean']:.2%}, standard dev")

  # All of train, another seed each, and the recipe's own arguments.
  assert set(summary["runs"]) == {"3", "5"}
  for seed, result in summary["runs"].items():
    run = workdir / "final" / f"seed_{seed}"
    assert json.loads((run / "result.json").read_text()) == result
    config = json.loads((run / "config.json").read_text())
    assert config["train"]["seed"] == int(seed)
    assert config["data"]["train"] == "train[:50%]"
    assert config["optim"]["lr"] == 1e-2
    assert config["evals"]["test"]["split"] == "test[50%:]"
    assert result["total"] == 180
  found = [result["accuracy"] for result in summary["runs"].values()]
  assert summary["mean"] == pytest.approx(sum(found) / 2)
  assert summary["stdev"] == pytest.approx(statistics.stdev(found))


def test_of_equal_accuracies_the_lower_loss_is_chosen():
  tried = [
    dict(arguments={"lr": 1}, accuracy=0.9, loss=0.5),
    dict(arguments={"lr": 2}, accuracy=0.9, loss=0.1),
    dict(arguments={"lr": 3}, accuracy=0.8, loss=0.0),
    dict(arguments={"lr": 4}, accuracy=0.9, loss=0.4),
  ]
  assert sweep.choose(tried, "accuracy") == {"lr": 2}
  assert sweep.choose(tried, "loss") == {"lr": 3}


@pytest.mark.parametrize(
  "found",
  ["None", "{'grid': {'lr': ()}, 'dev': {'dev': 1}}", "{'grid': {}}"],
)
def test_a_sweep_of_another_form_is_shown(found, tmp_path, capsys):
  path = tmp_path / "odd.py"
  path.write_text(
    "def get_config(text=''):\n  return dict(evals={'x': {}})\n"
    f"def get_sweep(text=''):\n  return {found}\n"
  )
  fail(f"--config={path}", f"--workdir={tmp_path / 'runs'}")
  err = capsys.readouterr().err
  assert f"get_sweep returns {found}, " in err and "dict(grid=" in err


def test_a_recipe_without_a_sweep_says_what_it_needs(tmp_path, capsys):
  path = tmp_path / "plain.py"
  path.write_text("def get_config(text=''):\n  return dict(evals={'x': {}})\n")
  fail(f"--config={path}", f"--workdir={tmp_path / 'runs'}")
  assert "get_sweep(text)" in capsys.readouterr().err
  assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
  ("text", "flags", "message"),
  [
    (":lr=0.1", [], "the argument lr is set by the sweep"),
    (":dev=1", [], "the argument dev is set by the sweep"),
    (":x=1", [], "unknown argument 'x=1'"),
    (
      "",
      ["--config.optim.lr=0.1"],
      "lr=1e-09 and lr=0.01 are the same run",
    ),
    (
      "",
      ["--config.data.train=train", "--config.evals.test.split=test"],
      "a flag sets data.train or the split of an evaluation",
    ),
    ("", ["--config.evals.test.split=test"], "a flag sets data.train or the"),
    ("", ["--alow_cpu"], "'--alow_cpu'; did you mean '--allow_cpu'"),
    ("", ["--config.optim.l=1"], "'optim.l'"),
  ],
)
def test_bad_sweeps_end_before_anything_is_trained(
  text, flags, message, recipe, tmp_path, capsys
):
  fail(f"--config={recipe}{text}", f"--workdir={tmp_path / 'runs'}", *flags)
  assert message in capsys.readouterr().err
  assert not (tmp_path / "runs").exists()
