# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A study in a directory that has something of earlier: another study, runs of
another config, its own runs from before it was moved."""

import dataclasses
import json
import resource
import shutil
import signal

import pytest
from etils import epath

from tests.support import ROOT
from vit_jax.config import ConfigError, RunError
from vit_jax.data import sources
from vit_jax.runtime.workdir import save_config
from vit_jax.storage.files import replacing
from vit_jax.study import data_scale, paper_study, runs, sweep
from vit_jax.study.__main__ import main
from vit_jax.study.earlier import check_begun, check_workdir
from vit_jax.study.points import make_runs

POINTS = data_scale.make_points("digits")[:2]


def make(workdir, *flags):
  """A run, and the one that is fine-tuned from it."""
  return make_runs(POINTS, "study:scale=digits", workdir, flags, [0])


def finish(run, accuracy):
  """Leaves what a run leaves behind, without its arrays."""
  step = run.workdir / "checkpoints/3"
  step.mkdir(parents=True)
  (step / "_CHECKPOINT_METADATA").write_text("{}")
  save_config(run.workdir, {**run.load_config(), "hardware": {}}, {})
  result = dict(accuracy=accuracy, steps=3, params_sha256="x")
  (run.workdir / "result.json").write_text(json.dumps(result))


@pytest.fixture
def study(tmp_path, monkeypatch):
  """The directory of a study whose two runs are finished."""
  monkeypatch.chdir(ROOT)
  workdir = epath.Path(tmp_path) / "study"
  (first,) = make(workdir)[:1]
  finish(first, 0.5)
  # What it starts from is read, but for its arrays.
  manifest = {
    "format": 1,
    "model": {"variant": "mu/4"},
    "preprocess": dict(height=16, width=16, channels=1),
    "num_classes": 10,
  }
  (first.workdir / "manifest.json").write_text(json.dumps(manifest))
  return workdir


@pytest.mark.parametrize(
  ("name", "flags"),
  [
    ("pooling", []),
    ("scaling", ["--of=x"]),
    ("seeds", ["--config=digits"]),
    ("sweep", ["--config=digits"]),
    ("vtab", []),
  ],
)
def test_results_of_another_study_stay(
  name, flags, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(ROOT)
  path = tmp_path / "study.json"
  path.write_text('{"study": "position"}')
  with pytest.raises(SystemExit) as caught:
    main([name, *flags, f"--workdir={tmp_path}"])
  said = " ".join(capsys.readouterr().err.split())
  assert caught.value.code == 2
  assert "has the results of the study position: use another --workdir" in said
  assert path.read_text() == '{"study": "position"}'


def test_results_of_another_scale_stay(tmp_path):
  workdir = epath.Path(tmp_path)
  (workdir / "study.json").write_text('{"study": "pooling", "scale": "digits"}')
  check_workdir(workdir, "pooling", "digits")
  with pytest.raises(ConfigError, match="results of --scale=digits: use anot"):
    check_workdir(workdir, "pooling", "card")


def test_the_directory_of_a_run_is_refused(tmp_path):
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(ConfigError, match="is that of a run: use another"):
    check_workdir(epath.Path(tmp_path), "seeds")


def test_seeds_go_on_where_an_earlier_version_named_no_study(tmp_path):
  (tmp_path / "study.json").write_text('{"runs": {}}')
  check_workdir(epath.Path(tmp_path), "seeds")
  with pytest.raises(ConfigError, match="study of another kind"):
    check_workdir(epath.Path(tmp_path), "pooling")


def test_a_directory_is_of_the_study_that_began_in_it(
  tmp_path, monkeypatch, capsys, data_dir
):
  """Before any run has ended."""

  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.chdir(ROOT)
  monkeypatch.setattr(paper_study, "train_all", interrupt)
  flags = [f"--workdir={tmp_path}", f"--config.data.dir={data_dir}", "--yes"]
  for name, status in (("pooling", 130), ("position", 2)):
    with pytest.raises(SystemExit) as caught:
      main([name, *flags, "--seeds=0"])
    assert caught.value.code == status
  found = json.loads((tmp_path / "study.json").read_text())
  assert found["study"] == "pooling" and found["points"] == []
  assert "has the results of the study pooling" in capsys.readouterr().err


def test_a_store_that_does_not_answer_is_said(tmp_path, monkeypatch):
  def fail(_):
    raise OSError("Name or service not known")  # As of a client, DNS's.

  with monkeypatch.context() as context:
    context.setattr(type(epath.Path(tmp_path)), "exists", fail)
    with pytest.raises(ConfigError, match="^--workdir=.* used: Name or serv"):
      check_workdir(epath.Path(tmp_path), "pooling")
  check_workdir(epath.Path(tmp_path), "pooling")
  for text in ("{", "[]", '{"study": "pooling"}'):
    (tmp_path / "study.json").write_text(text)
    check_workdir(epath.Path(tmp_path), "pooling")


def test_runs_of_another_config_are_said_before_any_begins(study):
  check_begun(make(study), [])
  check_begun(make(study, "--config.train.log_every=7"), [])  # May differ.
  longer = make(study, "--config.train.steps=400")
  with pytest.raises(ConfigError) as caught:
    check_begun(longer, [])
  assert str(caught.value).startswith("vit-5_percent/seed_0: --workdir holds")
  assert "- train.steps=300\n  + train.steps=400" in str(caught.value)
  check_begun(longer, ["--extend"])
  # The run says that it was edited, or is damaged.
  path = study / "vit-5_percent/seed_0/config.json"
  path.write_text(path.read_text().replace('"steps": 300', '"steps": 200'))
  check_begun(make(study), [])
  path.write_text("{")
  check_begun(longer, [])


@pytest.mark.parametrize("name", ["seeds", "sweep", "vtab"])
def test_so_they_are_by_studies_of_any_recipe(
  name, tmp_path, monkeypatch, capsys
):
  """The last of their runs is there; nothing of the first is begun."""
  monkeypatch.chdir(ROOT)
  monkeypatch.setattr(runs, "attempt", None)  # What trains a run.
  workdir, sets = epath.Path(tmp_path) / "study", tmp_path / "sets"
  flags, own = ["--seeds=0,1"], ["--config.train.seed=1"]
  if name == "seeds":
    recipe = "digits"
    flags.append(f"--config={recipe}")
    place = "seed_1"
  elif name == "sweep":
    recipe = "finetune:dataset=cifar10"
    flags.append(f"--config={recipe}")
    points, dev = sweep.load_sweep(recipe)
    recipe = sweep.add(recipe, points[-1] | dev)
    place, own = f"dev/{sweep.join(points[-1])}", []
  else:
    recipe = "vtab:task=pets,model=B/16"
    (sets / "oxford_iiit_pet/1.0.0").mkdir(parents=True)
    (sets / "oxford_iiit_pet/1.0.0/dataset_info.json").write_text("{}")
    monkeypatch.setattr(sources, "load_info", lambda source, directory: None)
    flags.append(f"--data_dir={sets}")
    own.append(f"--config.data.dir={sets}")
    place = "pets/seed_1"
  there = runs.Run(
    name=place, recipe=recipe, workdir=workdir / place, flags=own
  )
  finish(there, 0.5)
  with pytest.raises(SystemExit) as caught:
    main([name, f"--workdir={workdir}", *flags, "--config.optim.b1=0.5"])
  assert caught.value.code == 2
  assert "+ optim.b1=0.5" in capsys.readouterr().err
  left = {str(x.relative_to(workdir)) for x in (tmp_path / "study").iterdir()}
  assert left == {place.split("/")[0]}


def test_a_study_that_was_moved_has_its_finished_runs(study):
  first, tuned = make(study)
  finish(tuned, 0.75)
  moved = study.parent / "elsewhere"
  shutil.move(study, moved)
  found = make(moved)
  assert [runs.find_result(x)["accuracy"] for x in found] == [0.5, 0.75]
  assert found[1].flags[-2] == f"--config.init={first.workdir}"
  check_begun(found, [])
  # One that has yet to begin starts from where the study is now.
  shutil.rmtree(found[1].workdir)
  assert make(moved)[1].flags[-2] == f"--config.init={found[0].workdir}"


def test_what_is_started_from_may_have_just_begun(study):
  """It has a directory for checkpoints, and no manifest yet."""
  first, tuned = make(study)
  (first.workdir / "manifest.json").unlink()
  shutil.rmtree(first.workdir / "checkpoints/3")
  assert tuned.load_config()["init"] == str(first.workdir)
  with pytest.raises(ConfigError, match="manifest.json is missing"):
    dataclasses.replace(tuned, after=None).load_config()


def test_a_full_disk_is_said_once(tmp_path):
  """A limit on the size of files fails as a full disk does."""
  summary = {"x": "y" * 5000}
  runs.save({}, epath.Path(tmp_path), others={"study.md": "é"})
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  try:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    with pytest.raises(RunError, match="File too large\n  finished runs stay"):
      runs.save(summary, epath.Path(tmp_path))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)
  assert (tmp_path / "study.json").read_text() == "{}\n"
  assert (tmp_path / "study.md").read_text() == "é"
  assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"accuracy": 1}'])
def test_a_damaged_result_is_looked_at_by_the_run(text, study):
  first = make(study)[0]
  assert runs.find_result(first)["accuracy"] == 0.5
  (first.workdir / "result.json").write_text(text)
  assert runs.find_result(first) is None


def test_a_config_of_which_a_part_is_lost_is_taken_from_the_source(study):
  first, tuned = make(study)
  finish(tuned, 0.75)
  before = tuned.load_config()
  (tuned.workdir / "config.json").write_text('{"init": ')
  assert dataclasses.replace(tuned, after=None).load_config() == before
  assert runs.find_result(tuned) is None  # The run writes it again.


def test_a_path_that_is_taken_for_a_pattern_is_said_once(tmp_path, capsys):
  with pytest.raises(SystemExit) as caught:
    main(["pooling", f"--workdir={tmp_path}/a[1]"])
  said = " ".join(capsys.readouterr().err.split())
  assert caught.value.code == 2
  assert "a path with [ and ]: choose another name" in said


def test_two_processes_may_write_a_file_at_once(tmp_path):
  path = epath.Path(tmp_path) / "study.json"
  with replacing(path, shared=True) as one, replacing(path, shared=True) as two:
    one.write_text("1")
    two.write_text("2")
  assert path.read_text() == "1" and [*tmp_path.iterdir()] == [path]
