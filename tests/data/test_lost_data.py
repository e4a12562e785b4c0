# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Data and workers that are lost while they are read: real files, real
processes."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT, fakes
from tests.support.runs import list_workers
from vit_jax.data import pipeline, records, sources
from vit_jax.data.info import DataError, make_read_error
from vit_jax.data.workers import describe_end

# A program that reads with two workers, of which it gives the numbers.
READER = """
import multiprocessing, sys
from vit_jax.data import pipeline, records, sources

if __name__ == "__main__":
  data = pipeline.Data(
    source="tfds:digits", dir=sys.argv[1], size=8, workers=2, threads=1
  )
  source = sources.open_source(data.source, data.train, data.dir)
  dataset = pipeline.make_train_dataset(
    data, 1, source, batch_size=8, rows=range(8), seed=0
  )
  batches = pipeline.read(dataset, data)
  for number in range(10**9):
    try:
      batch = next(batches)
    except ValueError as error:
      print(f"{type(error).__name__}: {error}", flush=True)
      break
    if number == 1:
      print(*(x.pid for x in multiprocessing.active_children()), flush=True)
"""


@pytest.fixture
def starting(data_dir, tmp_path):
  """The program, as it starts."""
  path = tmp_path / "reader.py"
  path.write_text(READER)
  process = subprocess.Popen(
    [sys.executable, str(path), data_dir],
    env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  yield process
  process.kill()
  process.communicate()


@pytest.fixture
def reader(starting):
  """The program, and its workers' numbers."""
  return starting, [int(x) for x in starting.stdout.readline().split()]


def lives(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  # A zombie does not; nobody may be there to reap it.
  state = pathlib.Path(f"/proc/{pid}/stat")
  return not state.exists() or state.read_text().rpartition(")")[2][1] != "Z"


def wait_until(condition, seconds=20, every=0.05):
  until = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < until
    time.sleep(every)


def test_a_killed_worker_is_one_message_within_seconds(reader):
  process, workers = reader
  assert len(workers) == 2
  for pid in workers:  # Ctrl-C in a terminal reaches everybody.
    os.kill(pid, signal.SIGINT)
  time.sleep(0.5)
  assert all(map(lives, workers)) and process.poll() is None
  os.kill(workers[0], signal.SIGKILL)
  began = time.monotonic()
  shown = process.stdout.readline()
  assert time.monotonic() - began < 10
  assert shown.startswith("DataError: worker ")
  assert "of data.workers=2" in shown and "signal 9 (SIGKILL)" in shown
  assert "out of memory" in shown
  assert "--config.data.workers=N" in process.stdout.readline()


def test_ctrl_c_while_workers_start(starting):
  """It reaches everybody in a terminal, also who has not begun to import."""
  found = set()

  def interrupt():
    children = list_workers(starting.pid)
    found.update(children)
    for pid in children:
      os.kill(pid, signal.SIGINT)
      os.kill(pid, signal.SIGHUP)
    return len(found) == 2

  wait_until(interrupt, 60, every=0.001)  # It imports for seconds before.
  workers = [int(x) for x in starting.stdout.readline().split()]
  assert set(workers) == found
  starting.kill()
  assert "Traceback" not in starting.communicate()[1]


def test_workers_end_with_a_run_that_is_killed(reader):
  process, workers = reader
  process.kill()
  process.wait()
  wait_until(lambda: not any(map(lives, workers)))


def test_a_script_without_a_guard_is_told_once(data_dir, tmp_path):
  path = tmp_path / "script.py"
  body = READER.replace(
    "  data = pipeline.Data(", "  check_worker()\n  data = pipeline.Data("
  ).replace('if __name__ == "__main__":', "if True:")
  path.write_text("from vit_jax.data.workers import check_worker\n" + body)
  done = subprocess.run(
    [sys.executable, str(path), data_dir],
    env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=120,
  )
  # The oldest Grain logs an error of its own.
  said = done.stderr.replace(
    "ERROR:absl:Processing Failed. Shutting down.\n", ""
  )
  assert said == "" and len(done.stdout.splitlines()) == 1
  assert done.stdout.startswith(f"DataError: {path} trains when a worker")
  assert "if __name__ == '__main__':" in done.stdout


def test_how_a_worker_ended_is_said_in_words():
  assert "/dev/shm" in describe_end(-signal.SIGBUS)
  assert "signal 11 (SIGSEGV)" in describe_end(-signal.SIGSEGV)
  assert describe_end(3).startswith("ended with status 3")


@pytest.fixture
def shard(data_dir, tmp_path):
  """A copy of the digits that are trained on."""
  shutil.copytree(data_dir, tmp_path / "data")
  (path,) = (tmp_path / "data").rglob("*-train.array_record-*")
  return path


def read(path):
  return records.Records([records.Part(str(path), 0, 1437)])


def test_a_damaged_record_is_named_and_others_are_read(shard):
  whole = shard.read_bytes()
  expected = list(read(shard))
  broken = bytearray(whole)
  broken[100_000] ^= 1
  shard.write_bytes(broken)
  found, bad = read(shard), []
  for index in range(1437):
    try:
      assert found[index] == expected[index]
    except DataError as error:
      bad.append(str(error))
  (text,) = bad
  assert str(shard) in text and "hash mismatch" in text
  assert "prepare the set again" in text


def test_a_shard_that_is_cut_empty_or_gone_is_named(shard):
  whole = shard.read_bytes()
  opened = read(shard)
  first, last = opened[0], opened[1400]
  for size in (len(whole) // 2, 0):
    os.truncate(shard, size)
    with pytest.raises(DataError, match=f"{shard.name} cannot be read"):
      read(shard)[0]
  # Cut while it is open: the library itself gives an empty record.
  with pytest.raises(DataError, match="record 1,400 is missing"):
    opened[1400]
  shard.unlink()
  with pytest.raises(DataError, match="No such file"):
    read(shard)[0]
  shard.write_bytes(whole)
  again = read(shard)
  assert (again[0], again[1400]) == (first, last)


def test_deleted_data_are_read_on_where_they_are_open(shard):
  opened, fresh = read(shard), read(shard)
  first = opened[3]
  shutil.rmtree(shard.parents[2])
  assert opened[3] == first and opened[1400]
  with pytest.raises(
    DataError, match="directory .*/data no longer exists"
  ) as caught:
    fresh[3]
  assert "mount its disk again" in str(caught.value)


def test_a_store_has_no_directory_that_could_be_gone(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  error = make_read_error("gs://bucket/set/x", "HTTP 503")
  assert str(error).startswith("gs://bucket/set/x cannot be read: HTTP 503\n")


def test_a_folder_that_is_gone_is_not_so_many_bad_images(tmp_path):
  for name in ("cat", "dog"):
    (tmp_path / "photos" / name).mkdir(parents=True)
    for i in range(20):
      data = fakes.make_jpeg(9 * i)
      (tmp_path / "photos" / name / f"{i}.jpg").write_bytes(data)
  source = sources.open_source(f"folder:{tmp_path}/photos", "train")
  data = pipeline.Data(source="folder:x", size=8, threads=2, max_unreadable=1.0)
  dataset = pipeline.make_train_dataset(
    data, 3, source, batch_size=8, rows=range(8), seed=0
  )
  pathlib.Path(source.items[0][0]).unlink()
  assert source[0]["image"] == b"" and len(dataset[0]["image"]) == 8
  (tmp_path / "photos").rename(tmp_path / "elsewhere")
  with pytest.raises(DataError, match=f"directory {tmp_path}/photos no longer"):
    dataset[1]
  (tmp_path / "elsewhere").rename(tmp_path / "photos")
  assert len(dataset[1]["image"]) == 8
  # A disk that answers with another error is no bad image either.
  path = pathlib.Path(source.items[1][0])
  path.unlink()
  path.symlink_to(path.name)
  with pytest.raises(DataError, match="Too many levels of symbolic links"):
    source[1]
