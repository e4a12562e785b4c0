# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Lock of the workdir: real processes hold it, sleep, and are killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from etils import epath

from tests.support import ROOT
from vit_jax.config import ConfigError, RunError
from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime import lock
from vit_jax.runtime.lock import WorkdirLock, is_dead

# A busy machine may delay a heartbeat for seconds.
TIMES = {"HEARTBEAT_SECONDS": 0.1, "STALE_SECONDS": 5.0, "WAIT_SECONDS": 2.0}

HOLDER = f"""
import sys, time
from etils import epath
from vit_jax.runtime import lock
from vit_jax.hosts.coordination import Hosts

vars(lock).update({TIMES})
with lock.WorkdirLock(epath.Path(sys.argv[1]), Hosts(), print) as held:
  print("held", flush=True)
  while True:
    try:
      held.check()
    except ValueError as error:
      sys.exit(str(error))
    time.sleep(0.05)
"""


@pytest.fixture(autouse=True)
def times(monkeypatch):
  for name, seconds in TIMES.items():
    monkeypatch.setattr(lock, name, seconds)


@pytest.fixture
def holder(tmp_path):
  """Another process that holds the lock."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(tmp_path)],
    env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "held\n"
  yield process
  process.kill()
  process.communicate()


def make(directory, say=lambda _: None):
  return WorkdirLock(epath.Path(directory), Hosts(), say)


def read(directory):
  return json.loads((directory / "lock.json").read_text())


def take(directory):
  """Acquires and releases the lock; returns whether that had to wait."""
  said, began = [], time.monotonic()
  with make(directory, said.append):
    waited = time.monotonic() - began
  assert not said or waited > lock.STALE_SECONDS
  return bool(said)


def write_other(directory, beat=1):
  """Writes the lock of a run on another machine."""
  fields = dict(token="theirs", pid=7, machine="far boot", beat=beat)
  (directory / "lock.json").write_text(json.dumps(fields))


def test_a_lock_is_renewed_and_removed(tmp_path):
  with make(tmp_path) as held:
    first = read(tmp_path)
    assert first["pid"] == os.getpid()
    assert first["machine"].split()[0] == socket.gethostname()
    until = time.monotonic() + 10
    while read(tmp_path)["beat"] < first["beat"] + 3:
      assert time.monotonic() < until
      time.sleep(0.01)
    assert held.check()
  assert not (tmp_path / "lock.json").exists()
  assert not take(tmp_path)


def test_a_live_holder_is_waited_for_and_a_stale_one_replaced(
  holder, tmp_path, monkeypatch
):
  said = []
  with pytest.raises(ConfigError) as caught:
    make(tmp_path, said.append).__enter__()
  assert f"process {holder.pid} on {socket.gethostname()} still" in str(
    caught.value
  )
  assert "use another --workdir" in str(caught.value)
  (line,) = said
  assert f"process {holder.pid} on" in line and "5 s" in line

  holder.send_signal(signal.SIGSTOP)
  monkeypatch.setattr(lock, "STALE_SECONDS", 0.3)
  began = time.monotonic()
  with make(tmp_path) as held:
    assert time.monotonic() - began > lock.STALE_SECONDS
    holder.send_signal(signal.SIGCONT)
    _, text = holder.communicate(timeout=20)
    assert holder.returncode == 1
    assert f"process {os.getpid()} on" in text
    assert "has taken over" in text and "saves nothing more" in text
    assert held.check()


def test_after_kill_9_the_same_machine_goes_on_at_once(holder, tmp_path):
  holder.kill()
  holder.wait()
  assert read(tmp_path)["pid"] == holder.pid
  assert not take(tmp_path)


def test_another_machine_is_waited_for(tmp_path, monkeypatch):
  """Its processes cannot be checked, and no clocks are compared."""
  monkeypatch.setattr(
    lock, "STALE_SECONDS", 0.3
  )  # Nobody is there to break it.
  write_other(tmp_path)
  assert take(tmp_path)


@pytest.mark.parametrize("text", ["{half a fi", "[" * 100_000, "[7]", "\xff"])
def test_a_lock_without_a_holder_is_replaced(tmp_path, text):
  (tmp_path / "lock.json").write_text(text, encoding="latin-1")
  assert not take(tmp_path)


@pytest.mark.parametrize("pid", [None, "7", 1 << 70])
def test_a_process_id_that_cannot_be_checked(pid):
  """Not a number: it may live. Too large a number: it cannot."""
  holder = dict(machine=lock.read_machine_id(), pid=pid)
  assert is_dead(holder) == isinstance(pid, int)
  assert not is_dead(dict(machine=lock.read_machine_id()))


class Pair(Hosts):
  """Either of two hosts, one after the other: host 1 gets what host 0 gave."""

  def __init__(self, index, given):
    super().__init__()
    self.index, self.given = index, given

  def gather(self, value, name=None):
    if self.index == 0:
      self.given.append(json.loads(json.dumps(value)))
    return self.given


def test_an_unreadable_lock_ends_every_host(tmp_path):
  """A link to itself, which not even root can read."""
  (tmp_path / "lock.json").symlink_to(tmp_path / "lock.json")
  given = []
  for index in (0, 1):
    held = WorkdirLock(epath.Path(tmp_path), Pair(index, given), lambda _: None)
    with pytest.raises(RunError) as caught:
      held.__enter__()
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/lock.json cannot be read: [Errno 40]")
    assert "the same command" in text


def test_a_run_whose_lock_was_taken_over_ends(tmp_path):
  with make(tmp_path) as held:
    write_other(tmp_path)
    time.sleep(3 * TIMES["HEARTBEAT_SECONDS"])
    with pytest.raises(ConfigError, match="process 7 on far has taken over"):
      held.check()
  assert read(tmp_path)["token"] == "theirs", "another run's lock stays"


def test_a_deleted_lock_is_written_only_by_renew(tmp_path):
  with make(tmp_path) as held:
    (tmp_path / "lock.json").unlink()
    time.sleep(3 * TIMES["HEARTBEAT_SECONDS"])
    assert not (tmp_path / "lock.json").exists()
    assert not held.check()
    held.renew()
    assert held.check()
