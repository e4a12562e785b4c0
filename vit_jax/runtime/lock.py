# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Lock of the workdir: one run at a time, by heartbeats in lock.json.

Two runs in one workdir would delete each other's half-written checkpoints. No
lock of a file system works on a disk, NFS and an object store alike; a small
file that its holder rewrites every few seconds does. A run that finds one which
changes waits, then gives up. A lock that does not change is stale and taken
over; its former holder notices, if it still lives, and ends. No clocks are
compared. Of two runs that start in the same second, the one that wrote first
ends before it saves.
"""

import contextlib
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from etils import epath

from vit_jax.config import ConfigError, RunError
from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime.workdir import writing
from vit_jax.storage.files import write_json
from vit_jax.storage.untrusted import MAX_TEXT, parse_json, read_file

HEARTBEAT_SECONDS = 5.0  # Between two heartbeats of the holder.
STALE_SECONDS = 30.0  # Without a heartbeat, until a lock may be taken over.
WAIT_SECONDS = 90.0  # For a holder that is saving before it ends.
REMEDY = "the same command starts or continues the run"


def read_machine_id() -> str:
  """Reads what makes a process id unique: host name, boot and PID namespace."""
  parts = [socket.gethostname()]
  with contextlib.suppress(OSError):  # Linux only.
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
    parts += [boot.read_text().strip(), os.readlink("/proc/self/ns/pid")]
  return " ".join(parts)


def is_dead(holder: dict[str, Any]) -> bool:
  """Returns whether a holder surely is a process of this machine that ended."""
  if holder.get("machine") != read_machine_id():
    return False
  pid = holder.get("pid")
  if not isinstance(pid, int):
    return False
  if pid == os.getpid():
    return True  # An earlier run of this process, or of one with its id.
  try:
    os.kill(pid, 0)
  except (ProcessLookupError, OverflowError):
    return True
  except PermissionError:
    pass  # It lives, and belongs to another user.
  return False


class WorkdirLock:
  """Lock of a workdir, held by host 0 during a run; a context manager."""

  def __init__(
    self,
    workdir: epath.Path,
    hosts: Hosts,
    say: Callable[[str], None],
    patience: float | None = None,
  ):
    """Reads and writes nothing yet.

    Args:
      workdir: directory of the run.
      hosts: hosts of the run.
      say: reports the holder that is waited for.
      patience: seconds to wait for a holder that lives; None is WAIT_SECONDS.
    """
    self._path = workdir / "lock.json"
    self._hosts, self._say = hosts, say
    self._patience = WAIT_SECONDS if patience is None else patience
    self._mine = {
      "token": uuid.uuid4().hex,
      "pid": os.getpid(),
      "machine": read_machine_id(),
    }
    self._beat = 0
    self._released = threading.Event()
    self._writing = threading.Lock()

  def __enter__(self):
    """Acquires the lock, waiting for another holder if there is one.

    Raises:
      ConfigError: on every host, if another run keeps the lock.
      RunError: on every host, if lock.json cannot be read or written.
    """
    found = None
    if self._hosts.index == 0:
      try:
        self._acquire()
      except (ConfigError, RunError) as error:
        found = [isinstance(error, ConfigError), str(error)]
    found = self._hosts.gather(found)[0]
    if found is not None:
      taken, text = found
      raise ConfigError(text) if taken else RunError(text)
    if self._hosts.index == 0:
      self._thread = threading.Thread(
        target=self._write_heartbeats, daemon=True
      )
      self._thread.start()
    return self

  def __exit__(self, *_: Any) -> None:
    self._released.set()
    if self._hosts.index == 0:
      self._thread.join(HEARTBEAT_SECONDS)
      with contextlib.suppress(Exception):  # As in `_write_heartbeats`.
        if self._is_mine(self._read()):
          self._path.unlink()

  def check(self) -> bool:
    """Returns whether lock.json is still there, or cannot be read just now.

    Raises:
      ConfigError: if another run has taken over the lock.
    """
    if self._hosts.index:
      return True
    try:
      found = self._read()
    except Exception:  # Not readable just now; saving may work all the same.
      return True
    if found is not None and not self._is_mine(found):
      raise ConfigError(
        f"{describe(found)} has taken over {self._path.parent}, as this run "
        f"sent no heartbeat for {STALE_SECONDS:g} s; this run ends and saves "
        f"nothing more"
      )
    return found is not None

  def renew(self) -> None:
    """Writes the next heartbeat; raises RunError if that fails."""
    with self._writing, writing(self._path.parent, REMEDY):
      self._beat += 1
      write_json(self._path, {**self._mine, "beat": self._beat})

  def _acquire(self) -> None:
    """Waits for another holder to end or go stale, then writes lock.json.

    Raises:
      ConfigError: if the holder still lives after that.
      RunError: if lock.json cannot be read or written.
    """
    found = self._read_or_raise()
    start = changed = time.monotonic()
    if found is not None and not is_dead(found):
      self._say(
        f"{self._path.parent} is locked by {describe(found)}: waiting, "
        f"{self._patience:g} s at most, until it ends, or sends no heartbeat "
        f"for {STALE_SECONDS:g} s"
      )
    while found is not None and not is_dead(found):
      time.sleep(HEARTBEAT_SECONDS / 5)
      before, found, now = found, self._read_or_raise(), time.monotonic()
      if found != before:
        changed = now
      if now - changed > STALE_SECONDS:
        break
      if changed - start > self._patience and found is not None:
        raise ConfigError(
          f"{describe(found)} still trains in {self._path.parent} after "
          f"{self._patience:g} s: end it, or use another --workdir"
        )
    self.renew()

  def _write_heartbeats(self) -> None:
    """Writes heartbeats, unless the lock is gone or another run's."""
    while not self._released.wait(HEARTBEAT_SECONDS):
      # A full or unreachable disk must not end the run here; `check` sees more.
      # Clients of stores raise exceptions of any kind.
      with contextlib.suppress(Exception):
        if self._is_mine(self._read()):
          self.renew()

  def _is_mine(self, found: dict[str, Any] | None) -> bool:
    return found is not None and found.get("token") == self._mine["token"]

  def _read_or_raise(self) -> dict[str, Any] | None:
    """Reads lock.json as `_read`; raises RunError if that fails."""
    try:
      return self._read()
    except Exception as error:
      raise RunError(
        f"{self._path} cannot be read: {str(error) or repr(error)}\n"
        f"  {REMEDY} once it can be read; or delete it while no run is active"
      ) from error

  def _read(self) -> dict[str, Any] | None:
    return read_holder(self._path)


def is_held(workdir: epath.Path) -> bool:
  """Returns whether a living process holds a workdir, without asking for it.

  Where lock.json is another machine's, this takes seconds: until its next
  heartbeat, or until one should have come. One that cannot be read is not held:
  who asks for it is told why.
  """
  path = workdir / "lock.json"
  until = time.monotonic() + 2 * HEARTBEAT_SECONDS
  # Clients of stores raise exceptions of any kind.
  with contextlib.suppress(Exception):
    found = read_holder(path)
    if found is None or is_dead(found):
      return False
    while time.monotonic() < until:
      time.sleep(HEARTBEAT_SECONDS / 5)
      now = read_holder(path)
      if now is None:
        return False  # It has ended meanwhile.
      if now != found:
        return True
  return False


def read_holder(path: epath.Path) -> dict[str, Any] | None:
  """Reads the holder; None if there is no lock or it names no holder."""
  try:
    found = parse_json(read_file(path, MAX_TEXT))
  except (FileNotFoundError, ValueError):
    return None
  return found if isinstance(found, dict) else None


def describe(holder: dict[str, Any]) -> str:
  """Formats the holder of a lock, for messages."""
  machine = str(holder.get("machine")).partition(" ")[0]
  return f"process {holder.get('pid')} on {machine}"
