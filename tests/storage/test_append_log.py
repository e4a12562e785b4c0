# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import contextlib
import subprocess
import sys
import threading

import pytest
from etils import epath

from tests.support import ROOT
from vit_jax.storage import append_log
from vit_jax.storage.append_log import AppendLog

# Two flushes in a row are cut short; then there is room again.
FULL_TWICE = """
import resource, signal, sys
from etils import epath
from vit_jax.storage.append_log import AppendLog

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = epath.Path(sys.argv[1])
log = AppendLog(lambda _: path)
log.add(b"first\\n")
log.flush()
for limit in (9, 8):
  log.add(b"another\\n")
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
  try:
    log.flush()
  except OSError:
    print("full")
resource.setrlimit(
  resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
)
log.add(b"last\\n")
log.flush(durable=True)
"""


def test_flushes_that_are_cut_short_leave_no_trace(tmp_path):
  path = tmp_path / "log"
  done = subprocess.run(
    [sys.executable, "-c", FULL_TWICE, str(path)],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout.split() == ["full", "full"], done.stderr
  assert path.read_text() == "first\nanother\nanother\nlast\n"


def test_a_deleted_file_is_begun_again(tmp_path):
  path = epath.Path(tmp_path) / "log"
  log = AppendLog(lambda _: path)
  for chunk in (b"a\n", b"b\n", b"c\n"):
    log.add(chunk)
    log.flush(durable=True)
    if chunk == b"a\n":
      path.unlink()
  assert path.read_bytes() == b"b\nc\n"


def test_what_follows_the_kept_bytes_is_dropped(tmp_path):
  path = epath.Path(tmp_path) / "log"
  path.write_bytes(b"kept\nhalf a l")
  log = AppendLog(lambda _: path, size=5)
  log.add(b"new\n")
  log.flush()
  assert path.read_bytes() == b"kept\nnew\n"


def test_an_object_is_written_only_when_there_is_something_new(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(append_log, "is_local", lambda path: False)
  writes = []

  class Object:
    def write_bytes(self, data):
      writes.append(data)

  log = AppendLog(lambda number: Object())
  for chunk in (b"a", None, b"b", None, None):
    if chunk:
      log.add(chunk)
    log.flush(durable=True)
  assert writes == [b"a", b"ab"]


def test_a_chunk_is_made_once_and_by_the_flush(tmp_path):
  path, made = epath.Path(tmp_path) / "log", []

  def make():
    made.append(threading.current_thread().name)
    return b"b\n"

  log = AppendLog(lambda _: path)
  for chunk in (b"a\n", make, b"c\n"):
    log.add(chunk)
  assert (made, log.waiting) == ([], 3)
  path.mkdir()  # Nothing can be written: it is not made again.
  for _ in range(2):
    thread = threading.Thread(target=flush_in_vain, args=[log], name="writes")
    thread.start()
    thread.join()
  path.rmdir()
  log.flush()
  assert path.read_bytes() == b"a\nb\nc\n"
  assert made == ["writes"]


def flush_in_vain(log):
  with contextlib.suppress(OSError):
    log.flush()


def test_a_chunk_that_cannot_be_made_is_lost_alone(tmp_path):
  path = epath.Path(tmp_path) / "log"

  def fail():
    raise ImportError("no such module")

  log = AppendLog(lambda _: path)
  for chunk in (b"a\n", fail, b"b\n"):
    log.add(chunk)
  with pytest.raises(ImportError, match="no such module"):
    log.flush()
  assert (log.lost, log.waiting) == (1, 2)
  log.flush()
  assert path.read_bytes() == b"a\nb\n"
  assert (log.lost, log.waiting) == (1, 0)
