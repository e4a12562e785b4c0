# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The 19 tasks as one study: what is missing, what fails, and the table.

The runs are a stand-in's, which takes a moment to write what it is told;
`test_vtab_runs.py` trains.
"""

import io
import json
import os
import signal
import statistics
import sys
import threading
import time

import numpy as np
import PIL.Image
import pytest

from tests.support import ROOT
from vit_jax.data import sources
from vit_jax.study import paper, runs, vtab
from vit_jax.study.__main__ import main

# Writes result.json, or does what the file `orders` says of its run.
STAND_IN = """
import json, os, pathlib, signal, sys, time

flags = dict(x.partition("=")[::2] for x in sys.argv[1:])
workdir = pathlib.Path(flags["--workdir"])
name = f"{workdir.parent.name}/{workdir.name}"
orders = json.loads(pathlib.Path(__file__).with_name("orders").read_text())
order = orders.get(name, orders["all"])
workdir.mkdir(parents=True, exist_ok=True)
print("training", name, file=sys.stderr, flush=True)
with (workdir / "started").open("a") as file:
  print(" ".join(sys.argv[1:]), file=file)
if order == "wait":
  time.sleep(60)
if order == "memory":
  os.kill(os.getpid(), signal.SIGKILL)
if isinstance(order, str):
  print(f"a line\\nerror: {order}", file=sys.stderr)
  sys.exit(2)
result = workdir / "result.json"
if not result.exists():
  made = dict(accuracy=order, correct=1, total=2, loss=0.5, seconds=1.0)
  result.write_text(json.dumps(made))
"""


@pytest.fixture
def give_orders(tmp_path, monkeypatch):
  """A function name of a run -> accuracy, or why it fails."""
  script = tmp_path / "stand_in.py"
  script.write_text(STAND_IN)
  monkeypatch.setattr(runs, "MAIN", (sys.executable, str(script)))
  monkeypatch.chdir(ROOT)

  def give(orders, rest=0.5):
    text = json.dumps({"all": rest} | orders)
    script.with_name("orders").write_text(text)

  return give


@pytest.fixture
def prepare(tmp_path, monkeypatch):
  """A function that makes the sets of tasks look prepared.

  Refusing what is in them is tested beside their readers.
  """
  monkeypatch.setattr(sources, "load_info", lambda source, directory: None)

  def prepare(tasks=tuple(vtab.TASKS)):
    data_dir = tmp_path / "sets"
    for task in tasks:
      name = sources.find_dataset(f"vtab:{task}")
      version = data_dir / name / "1.0.0"
      version.mkdir(parents=True, exist_ok=True)
      (version / "dataset_info.json").write_text("{}")
    return f"--data_dir={data_dir}"

  return prepare


def read(workdir):
  return json.loads((workdir / "vtab.json").read_text())


def test_all_19_beside_the_papers(tmp_path, give_orders, prepare, capfd):
  accuracy = {task: 0.3 + 0.03 * i for i, task in enumerate(vtab.TASKS)}
  give_orders({f"{task}/seed_0": x for task, x in accuracy.items()})
  workdir = tmp_path / "study"
  main(["vtab", f"--workdir={workdir}", prepare(), "--model=L/16"])
  found = read(workdir)
  assert found["failed"] == found["missing"] == {}
  assert [*found["runs"]] == [f"{task}/seed_0" for task in accuracy]
  values = [*accuracy.values()]
  groups = {
    "natural": (values[:7], 7),
    "specialised": (values[7:11], 4),
    "structured": (values[11:], 8),
    "all": (values, 19),
  }
  for group, (part, of) in groups.items():
    assert found["groups"][group] == {
      "mean": pytest.approx(sum(part) / len(part), abs=1e-12),
      "tasks": of,
      "of": of,
    }
  # The paper's table 2 has these means of more digits, and table 9 one digit.
  for data, mean in {"JFT": 0.7628, "ImageNet-21k": 0.7272}.items():
    there = found["paper"][data]["groups"]["all"]["mean"]
    assert there == pytest.approx(mean, abs=1e-4 + 5e-4 / 19**0.5)
  lines = capfd.readouterr().out.splitlines()
  assert "L/16 from scratch" in lines[0]
  cells = {x.split("  ")[0].strip(): x.split()[-3:] for x in lines[2:]}
  assert cells["caltech101"] == ["30.00", "95.40", "90.80"]
  assert cells["snorb_elev"] == ["84.00", "51.10", "41.70"]
  assert cells["mean, natural"] == ["39.00", "85.56", "83.27"]
  assert cells["mean of all"] == ["57.00", "76.29", "72.71"]
  assert len(lines) == 2 + 19 + 4
  page = (workdir / "vtab.md").read_text()
  assert "| dtd | 36.00 | 74.30 | 74.10 |  |" in page
  image = PIL.Image.open(io.BytesIO((workdir / "vtab.png").read_bytes()))
  assert len(np.unique(np.asarray(image.convert("L")))) > 8
  started = (workdir / "pets/seed_0/started").read_text().split()
  assert "--config=vtab:task=pets,model=L/16" in started


def test_the_papers_numbers():
  """Means of table 9, which has one digit, are those of table 2."""
  table2 = {("H/14", "JFT"): 77.63, ("L/16", "JFT"): 76.28}
  table2["L/16", "ImageNet-21k"] = 72.72
  assert paper.VTAB.keys() == table2.keys()
  for key, scores in paper.VTAB.items():
    assert scores.keys() == vtab.TASKS.keys()
    mean = 100 * statistics.mean(scores.values())
    assert abs(mean - table2[key]) < 0.02  # Of 19 roundings to 0.1.
  assert [len(tasks) for tasks in vtab.GROUPS.values()] == [7, 4, 8]
  assert "dspr_loc" in vtab.GROUPS["structured"]


def test_one_that_fails_does_not_end_the_rest(
  tmp_path, give_orders, prepare, capfd
):
  give_orders({"dtd/seed_1": "it is odd", "svhn/seed_0": "memory"}, rest=0.25)
  given = ("caltech101", "dtd", "svhn", "eurosat")
  workdir = tmp_path / "study"
  command = ["vtab", f"--workdir={workdir}", prepare(given), "--seeds=0,1"]
  with pytest.raises(SystemExit) as caught:
    main(command)
  assert caught.value.code == 1
  found = read(workdir)
  assert len(found["runs"]) == 6
  assert found["failed"] == {
    "dtd/seed_1": {"status": 2, "reason": "it is odd"},
    "svhn/seed_0": {
      "status": -signal.SIGKILL,
      "reason": "it was killed by SIGKILL, as is done where memory runs out",
    },
  }
  assert len(found["missing"]) == 15
  assert found["missing"]["clevr_count"] == (
    f"prepare it with: python -m vit_jax.prepare clevr "
    f"--data_dir={tmp_path / 'sets'}"
  )
  assert found["scores"]["eurosat"] == {"mean": 0.25, "stdev": 0.0, "seeds": 2}
  assert found["scores"]["dtd"]["seeds"] == 1
  assert found["groups"]["natural"] == {"mean": 0.25, "tasks": 3, "of": 7}
  assert found["groups"]["structured"]["mean"] is None
  out = capfd.readouterr().out
  assert "over 3 of 7 tasks" in out and "over 4 of 19 tasks" in out
  assert "failed: dtd/seed_1, with status 2: it is odd" in out
  assert "not prepared, 15 of 19 tasks:" in out
  assert "not of B/16" in out

  # Asked again, it trains what failed; what is finished stays as it is.
  give_orders({}, rest=0.75)
  main(command)
  found = read(workdir)
  assert found["failed"] == {} and len(found["runs"]) == 8
  accuracies = {name: x["accuracy"] for name, x in found["runs"].items()}
  assert accuracies["dtd/seed_1"] == accuracies["svhn/seed_0"] == 0.75
  assert accuracies["dtd/seed_0"] == 0.25
  assert found["scores"]["svhn"]["mean"] == 0.5


def test_the_papers_means_are_over_the_same_tasks(
  give_orders, prepare, tmp_path
):
  give_orders({})
  flags = [prepare(("dtd", "pets")), "--model=H/14", "--tasks=pets,dtd"]
  main(["vtab", f"--workdir={tmp_path / 'study'}", *flags])
  found = read(tmp_path / "study")["paper"]["JFT"]["groups"]
  assert found["natural"]["mean"] == pytest.approx((0.752 + 0.972) / 2)
  assert found["structured"]["mean"] is None


def test_dev_is_kept_apart(give_orders, prepare, tmp_path, capfd):
  give_orders({})
  flags = [prepare(("dtd",)), "--tasks=dtd", f"--init={tmp_path}"]
  main(["vtab", f"--workdir={tmp_path / 'study'}", "--dev", *flags])
  assert not (tmp_path / "study/vtab.json").exists()
  assert read(tmp_path / "study/dev")["dev"] is True
  started = tmp_path / "study/dev/dtd/seed_0/started"
  words = started.read_text().split()
  assert "--config=vtab:task=dtd,model=B/16,dev=1" in words
  assert f"--config.init={tmp_path}" in words
  assert "--config.train.seed=0" in words
  assert "no score of VTAB" in capfd.readouterr().out


def test_asked_to_end_it_ends_after_the_run(
  give_orders, prepare, tmp_path, capfd
):
  """A run that saves and ends is no failure; the others are not begun."""
  give_orders({"cifar100/seed_0": "wait"})
  flags = [prepare(("caltech101", "cifar100", "dtd"))]

  def stop():
    started = tmp_path / "study/cifar100/seed_0/started"
    while not started.exists():
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=stop).start()
  with pytest.raises(SystemExit) as caught:
    main(["vtab", f"--workdir={tmp_path / 'study'}", *flags])
  assert caught.value.code == 42
  found = read(tmp_path / "study")
  assert [*found["runs"]] == ["caltech101/seed_0"] and not found["failed"]
  assert not (tmp_path / "study/dtd").exists()
  assert "training cifar100/seed_0" in capfd.readouterr().err


@pytest.mark.parametrize(
  ("flags", "status", "words"),
  [
    ([], 2, ["not prepared, 19 of 19", "vit_jax.prepare caltech101"]),
    (["--tasks=dtd"], 2, ["not prepared, 1 of 19", "vit_jax.prepare dtd"]),
    (["--tasks=clevr"], 2, ["'clevr'", "clevr_"]),
    (["--init=nowhere.npz"], 2, ["init=nowhere.npz does not exist"]),
    (["--init=vit-b16-i21k.npz"], 2, ["--download=vit-b16-i21k --to="]),
    (["--init=augreg:B/99"], 2, ["B/99", "transfer.directory"]),
    (["--model=X/16"], 2, ["'X/16'", "B/16"]),
    (["--config=configs/vtab.py:task=dtd"], 2, ["leave its arguments out"]),
    (["--config.train.stesp=1"], 2, ["train.stesp"]),
    (["--config.train.seed=1"], 2, ["use --seeds"]),
    (["--taks=dtd"], 2, ["--tasks"]),
  ],
)
def test_what_is_refused(flags, status, words, tmp_path, give_orders, capfd):
  give_orders({})
  where = [f"--workdir={tmp_path / 'study'}", f"--data_dir={tmp_path}"]
  with pytest.raises(SystemExit) as caught:
    main(["vtab", *where, *flags])
  assert caught.value.code == status
  err = capfd.readouterr().err
  for word in words:
    assert word in err, err
  assert not (tmp_path / "study").exists()


def test_other_studies_have_no_flags_of_this(tmp_path, capfd):
  with pytest.raises(SystemExit) as caught:
    main(["seeds", f"--workdir={tmp_path}", "--tasks=dtd"])
  assert caught.value.code == 2 and "--tasks" in capfd.readouterr().err


def test_why_a_run_failed():
  said = "step 1\nTraceback (most recent call last):\n  x\nValueError: no\n\n"
  assert runs.find_reason(1, said) == "ValueError: no"
  assert runs.find_reason(3, "") == "it ended with 3"
  said = "error: not there\n  get it with:\n  x\n"
  assert runs.find_reason(2, said) == "not there; get it with: x"
