# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Data and workdirs that are lost in the middle of a run: one message, and
nothing that was done is lost."""

import itertools
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

from tests.support import ROOT, fakes
from tests.support.forked import Forked
from tests.support.runs import OF_CALL, list_workers
from vit_jax.checkpoint import checkpointer
from vit_jax.config import ConfigError, RunError
from vit_jax.data import pipeline
from vit_jax.data.info import DataError
from vit_jax.hosts.preemption import Preemption
from vit_jax.runtime import lock
from vit_jax.train import train

pytestmark = pytest.mark.usefixtures("same_programs")


def strip(result):
  return {key: x for key, x in result.items() if key not in OF_CALL}


def list_steps(workdir):
  found = (workdir / "checkpoints").iterdir()
  return sorted(int(x.name) for x in found if x.name.isdecimal())


@pytest.fixture
def after(monkeypatch):
  """A function that has something done in the middle of a run.

  That is after a step, once so many checkpoints are on disk for good. Steps
  are counted by polls: a run from step 0 has no others while it trains.
  """

  def arrange(step, saves, act):
    poll, polls = Preemption.poll, itertools.count(1)
    saved, sync = threading.Semaphore(0), checkpointer.sync

    def sync_and_tell(path):
      sync(path)
      saved.release()

    def act_and_poll(preemption):
      if next(polls) == step:
        for _ in range(saves):
          assert saved.acquire(timeout=60)
        act()
      poll(preemption)

    monkeypatch.setattr(checkpointer, "sync", sync_and_tell)
    monkeypatch.setattr(Preemption, "poll", act_and_poll)

  return arrange


@pytest.fixture
def photos(config, tmp_path):
  """Two classes of twenty images to train on, and of five to test."""
  for split, number in (("train", 20), ("test", 5)):
    for label, name in enumerate(("cat", "dog")):
      place = tmp_path / "photos" / split / name
      place.mkdir(parents=True)
      for i in range(number):
        (place / f"{i}.jpg").write_bytes(fakes.make_jpeg(100 * label + 4 * i))
  config["data"] |= dict(source=f"folder:{tmp_path / 'photos'}")
  config["evals"] = {"test": dict(split="test")}
  return tmp_path / "photos"


def test_data_that_vanish_cost_no_step(
  config, photos, tmp_path, after, monkeypatch
):
  monkeypatch.setattr(pipeline, "KEEP_BYTES", 0)  # As of a large set.
  config["train"] |= dict(steps=16)
  expected = train(config, str(tmp_path / "straight"))
  workdir, lost = tmp_path / "run", tmp_path / "lost"
  after(3, 0, lambda: photos.rename(lost))
  with pytest.raises(DataError) as caught:
    train(config, str(workdir))
  text = str(caught.value)
  assert f"the directory {photos} no longer exists" in text
  failed = int(re.search(r"reading the batch of step (\d+)", text)[1])
  assert 3 < failed <= 16, "some batches were read ahead"
  assert f"step {failed - 1} is saved in {workdir}" in text
  assert list_steps(workdir) == [failed - 1]
  lost.rename(photos)
  assert strip(train(config, str(workdir))) == strip(expected)


def test_data_that_fail_an_evaluation_cost_no_step(config, photos, tmp_path):
  config["data"]["max_unreadable"] = 0.0
  config["evals"]["test"]["every"] = 4
  broken = photos / "test" / "cat" / "3.jpg"
  whole = broken.read_bytes()
  broken.write_bytes(whole[:-60])
  workdir = tmp_path / "run"
  # The second time nothing of it is done anew.
  done = f"evaluating test at step 4; step 4 is saved in {workdir}"
  for kept in (done, "allows 0"):
    with pytest.raises(DataError, match=kept) as caught:
      train(config, str(workdir))
    assert str(broken) in str(caught.value)
    assert list_steps(workdir) == [4]
  broken.write_bytes(whole)
  result = train(config, str(workdir))
  assert result["steps"] == 6 and result["total"] == 10


def test_a_workdir_that_vanished_is_made_again(config, tmp_path, capsys, after):
  config["checkpoint"] = dict(every=2)
  workdir, lost = tmp_path / "run", tmp_path / "lost"
  after(3, 1, lambda: workdir.rename(lost))
  result = train(config, str(workdir))
  shown = capsys.readouterr().err
  assert shown.count(f"{workdir} or its lock was deleted") == 1
  assert json.loads((workdir / "result.json").read_text()) == result
  assert list_steps(lost) == [2] and list_steps(workdir) == [4, 6]
  for name in ("config.json", "manifest.json"):
    assert (workdir / name).read_text() == (lost / name).read_text()
  rows = (workdir / "metrics.jsonl").read_text().splitlines()
  steps = [json.loads(row)["step"] for row in rows]
  assert steps[:2] == [4, 6], "earlier rows are lost with the workdir"
  assert train(config, str(workdir)) == result
  assert not (workdir / "lock.json").exists()


def test_a_run_whose_workdir_was_taken_saves_nothing_more(
  config, tmp_path, after
):
  config["checkpoint"] = dict(every=2)
  theirs = dict(token="theirs", pid=7, machine="far", beat=1)
  after(
    3,
    1,
    lambda: (tmp_path / "lock.json").write_text(json.dumps(theirs)),
  )
  with pytest.raises(ConfigError, match="process 7 on far has taken over"):
    train(config, str(tmp_path))
  assert list_steps(tmp_path) == [2]
  assert json.loads((tmp_path / "lock.json").read_text()) == theirs


def test_a_second_run_is_refused_before_it_touches_anything(
  config, tmp_path, monkeypatch
):
  monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
  monkeypatch.setattr(lock, "STALE_SECONDS", 5.0)
  monkeypatch.setattr(lock, "WAIT_SECONDS", 0.5)
  half = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  half.mkdir(parents=True)
  over = threading.Event()

  def live():
    beat = 0
    while not over.wait(0.05):
      beat += 1
      fields = dict(token="a", pid=7, machine="far", beat=beat)
      (tmp_path / "writing").write_text(json.dumps(fields))
      (tmp_path / "writing").replace(tmp_path / "lock.json")

  thread = threading.Thread(target=live)
  thread.start()
  try:
    while not (tmp_path / "lock.json").exists():
      time.sleep(0.01)
    with pytest.raises(ConfigError, match="process 7 on far still trains in"):
      train(config, str(tmp_path))
  finally:
    over.set()
    thread.join()
  assert half.exists() and not (tmp_path / "config.json").exists()


def test_a_full_disk_is_named_at_the_start(config, tmp_path):
  """Whoever runs this: a limit on what a file may hold stands for the disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
  try:
    with pytest.raises(RunError) as caught:
      train(config, str(tmp_path))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert str(caught.value).startswith(f"{tmp_path} cannot be written: ")
  assert "File too large" in str(caught.value)
  assert "once there is room" in str(caught.value)
  assert not (tmp_path / "config.json").exists(), "never half of it"
  assert train(config, str(tmp_path))["steps"] == 6


def test_a_result_that_can_not_be_written_loses_nothing(config, tmp_path):
  (tmp_path / ".result.json.writing").mkdir()
  with pytest.raises(RunError, match="step 6 is saved, and the same command"):
    train(config, str(tmp_path))
  assert list_steps(tmp_path) == [6]
  (tmp_path / ".result.json.writing").rmdir()
  result = train(config, str(tmp_path))
  assert json.loads((tmp_path / "result.json").read_text()) == result


def start(workdir, data_dir, *flags):
  """A run of its own, in a group of its own, as a terminal starts one."""
  command = ["-m", "vit_jax.main"]
  command += [f"--config={ROOT}/configs/digits.py", f"--workdir={workdir}"]
  command += [f"--config.data.dir={data_dir}", "--config.data.workers=2"]
  command += ["--config.model.depth=1", "--config.train.batch_size=32"]
  # With these it is the program of other tests, and nothing is estimated.
  command += ["--config.optim.warmup_steps=1", "--config.train.accumulate=1"]
  command += ["--config.model.remat=none"]
  return Forked(
    [*command, "--config.train.steps=100000", *flags],
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def wait_for_rows(workdir, process):
  until = time.monotonic() + 120
  while not (workdir / "metrics.jsonl").exists():
    assert process.poll() is None, process.communicate()[1]
    assert time.monotonic() < until
    time.sleep(0.1)


def test_a_killed_worker_and_ctrl_c(data_dir, tmp_path):
  """As a user has it: the status, the words, and the way on."""
  process = start(tmp_path, data_dir)
  wait_for_rows(tmp_path, process)
  os.kill(list_workers(process.pid)[0], signal.SIGKILL)
  _, text = process.communicate(timeout=60)
  assert process.returncode == 2, text
  assert "Traceback" not in text
  message = re.search(
    r"error: worker process \d of data.workers=2.* by signal 9 \(SIGKILL\)"
    r"(.*\n)*?"
    r"  this was reading the batch of step (\d+); step (\d+) is saved",
    text,
  )
  failed, kept = int(message[2]), int(message[3])
  assert kept == failed - 1 and kept in list_steps(tmp_path)

  (tmp_path / "metrics.jsonl").unlink()
  process = start(tmp_path, data_dir)
  wait_for_rows(tmp_path, process)
  os.killpg(process.pid, signal.SIGINT)
  _, text = process.communicate(timeout=60)
  assert process.returncode == 42, text
  assert f"resuming after step {kept}" in text
  assert "Traceback" not in text and "SIGINT: saved step" in text
