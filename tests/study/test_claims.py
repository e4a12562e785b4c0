# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Claims, by which no two processes of a study begin the same run."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime import lock
from vit_jax.study import runs
from vit_jax.study.claims import claiming, tidy

STAND_IN = """
import pathlib, sys
path = pathlib.Path(sys.argv[2].partition("=")[2])
path.mkdir(parents=True, exist_ok=True)
(path / "result.json").write_text("{}")
"""


@pytest.fixture(autouse=True)
def times(monkeypatch):
  monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.1)
  monkeypatch.setattr(runs, "POLL", 0.1)


@contextlib.contextmanager
def claim_elsewhere(place):
  """The claim of another process that lives: the one that started this one."""
  place.mkdir(parents=True)
  held = lock.WorkdirLock(place, Hosts(), print)
  held._mine["pid"] = os.getppid()
  with held:
    yield


def test_a_run_has_one_claim_and_nothing_stays(tmp_path):
  run = epath.Path(tmp_path) / "point/seed_0"
  place = run.parent / ".seed_0.claim"
  with claiming(run) as free:
    held = json.loads((place / "lock.json").read_text())
    assert free and held["pid"] == os.getpid()
  assert not run.parent.exists()
  with claim_elsewhere(place):
    with claiming(run) as free:
      assert not free
    assert (place / "lock.json").exists()
  place.rmdir()
  run.mkdir()
  with claiming(run) as free:
    assert free
  assert [*run.parent.iterdir()] == [run]
  (tmp_path / "file").write_text("")
  with claiming(epath.Path(tmp_path) / "file/seed_0") as free:
    assert free  # The run says what is wrong.


def test_the_claim_of_a_killed_study_is_removed(tmp_path):
  run = epath.Path(tmp_path) / "point/seed_0"
  run.mkdir(parents=True)
  place = run.parent / ".seed_0.claim"
  tidy(run)
  with claim_elsewhere(place):
    tidy(run)
    assert (place / "lock.json").exists()  # It lives.
  gone = subprocess.Popen(["true"])
  gone.wait()
  held = {"pid": gone.pid, "machine": lock.read_machine_id()}
  (place / "lock.json").write_text(json.dumps(held))
  tidy(run)
  assert [*run.parent.iterdir()] == [run]


def find_result(run):
  """Of the stand-in, which leaves no config."""
  path = run.workdir / "result.json"
  return json.loads(path.read_text()) if path.exists() else None


@pytest.mark.parametrize("ends", [False, True])
def test_what_another_has_claimed_is_left_to_it(
  ends, tmp_path, monkeypatch, capfd
):
  """It is trained here after that, unless it has ended."""
  script = tmp_path / "stand_in.py"
  script.write_text(STAND_IN)
  monkeypatch.setattr(runs, "MAIN", (sys.executable, str(script)))
  monkeypatch.setattr(runs, "find_result", find_result)
  made = [
    runs.Run(name=x, recipe="", workdir=epath.Path(tmp_path) / x / "seed_0")
    for x in ("first", "second")
  ]
  claimed = threading.Event()

  def hold():
    with claim_elsewhere(made[0].workdir.parent / ".seed_0.claim"):
      claimed.set()
      until = time.monotonic() + 60
      while time.monotonic() < until:
        if find_result(made[1]) is not None:
          break
        time.sleep(0.01)
      if ends:
        made[0].workdir.mkdir()
        (made[0].workdir / "result.json").write_text("{}")

  holder = threading.Thread(target=hold)
  holder.start()
  claimed.wait(60)
  results, failed = runs.train_all(made, lambda *_: None)
  holder.join()
  assert [*results] == ["second", "first"] and failed == {}
  said = capfd.readouterr().err
  assert "trained by others: first\n" in said
  assert ("first (1 of 2): finished before\n" in said) == ends
