# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Loggers beside metrics.jsonl: a table, and classes of the user's own."""

import csv
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from etils import epath

from tests.support import ROOT
from vit_jax.config.frozen import FrozenDict
from vit_jax.metrics import loggers, read_rows
from vit_jax.metrics.writer import MetricWriter

MINE = """
import asyncio, json, threading

class Kept:
  calls, threads = [], set()

  def __init__(self, workdir, config, start_step):
    self.calls.append(("init", workdir, config, start_step))

  def scalars(self, step, values):
    self.threads.add(threading.current_thread().name)
    self.calls.append(("scalars", step, values))

  def images(self, step, images):
    self.calls.append(("images", step, {k: x.shape for k, x in images.items()}))

  def close(self):
    self.calls.append(("close",))

class Unlucky(Kept):
  def scalars(self, step, values):
    if step < 3:
      raise ZeroDivisionError("no luck")
    super().scalars(step, values)

class Unmade:
  def __init__(self, workdir):
    pass

  def scalars(self, step, values):
    pass

class Exits(Kept):
  def scalars(self, step, values):
    raise SystemExit(3)

class Stuck(Kept):
  go_on = threading.Event()

  def scalars(self, step, values):
    assert self.go_on.wait(60)

class Cancelled(Kept):
  def scalars(self, step, values):
    raise asyncio.CancelledError()

class Unsaid(Exception):
  def __str__(self):
    raise ValueError("no words")

class Speechless(Kept):
  def scalars(self, step, values):
    raise Unsaid()

class Guarded(Kept):
  def __getattr__(self, name):
    raise RuntimeError("not " + name)

class Noted(Kept):
  note = 5

class Mute:
  pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """A module of the user's."""
  (tmp_path / "mine_own.py").write_text(MINE)
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.delitem(sys.modules, "mine_own", raising=False)
  import mine_own  # It is imported again for every test.

  yield mine_own
  del sys.modules["mine_own"]


def make_writer(workdir, named, start_step=0, **more):
  workdir.mkdir(exist_ok=True)
  return MetricWriter(epath.Path(workdir), start_step, named=named, **more)


def read_table(workdir):
  """The rows of metrics.csv, without empty cells."""
  with (workdir / "metrics.csv").open(newline="") as file:
    table = list(csv.DictReader(file))
  for row in table:
    assert None not in row and None not in row.values(), "a ragged row"
  return [{k: float(x) for k, x in row.items() if x} for row in table]


def keep_finite(rows):
  return [{k: x for k, x in row.items() if x is not None} for row in rows]


def test_the_table_has_every_row(tmp_path):
  """Also columns that come later, and commas and quotes in their names."""
  writer = make_writer(tmp_path, "csv")
  writer.write(1, {"loss": 0.1 + 0.2, "lr": 1e-9})
  writer.flush()
  first = (tmp_path / "metrics.csv").read_bytes()
  assert first == b"step,loss,lr\n1,0.30000000000000004,1e-09\n"
  writer.write(2, {"lr": 1.0, "loss": math.nan})
  writer.flush()
  assert (tmp_path / "metrics.csv").read_bytes().startswith(first), "appended"
  writer.write(2, {'test,"a"/accuracy': 0.5, "test/total": 8})
  writer.write(3, {"loss": math.inf, "mfu": 0.25})
  writer.close()
  rows = keep_finite(read_rows(tmp_path))
  assert len(rows) == 4 and read_table(tmp_path) == rows


def test_a_resumed_table_is_that_of_the_rows_that_are_kept(tmp_path):
  """Also where the run began without it, or somebody deleted it."""
  writer = make_writer(tmp_path, "csv")
  for step in (1, 2, 3):
    writer.write(step, {"loss": step / 2})
  writer.write(3, {"test/loss": 3.0})
  writer.close()
  writer = make_writer(tmp_path, "csv", 2)
  writer.write(3, {"loss": 9.0})
  writer.flush()
  assert read_table(tmp_path) == read_rows(tmp_path)
  assert "test/loss" not in (tmp_path / "metrics.csv").read_text()
  (tmp_path / "metrics.csv").unlink()
  writer.write(4, {"loss": 1.0})
  writer.close()
  assert read_table(tmp_path) == read_rows(tmp_path)
  (tmp_path / "metrics.csv").unlink()
  writer = make_writer(tmp_path, "csv", 4)
  writer.close()
  assert read_table(tmp_path) == read_rows(tmp_path)
  assert [row["step"] for row in read_rows(tmp_path)] == [1, 2, 3, 4]


def test_a_table_that_cannot_be_written(tmp_path, caplog):
  (tmp_path / "metrics.csv").mkdir()
  writer = make_writer(tmp_path, "csv")
  for step in (1, 2):
    writer.write(step, {"loss": 1.0})
    writer.flush()
  assert len(caplog.messages) == 1
  assert "metrics.csv cannot be written" in caplog.messages[0]
  (tmp_path / "metrics.csv").rmdir()
  writer.write(3, {"loss": 1.0})
  writer.close()
  assert read_table(tmp_path) == read_rows(tmp_path)
  assert len(caplog.messages) == 1 and len(read_rows(tmp_path)) == 3


@pytest.mark.parametrize("name", ["mine_own:Kept", "mine_own.Kept"])
def test_a_class_of_the_users_own(tmp_path, mine, name):
  writer = make_writer(
    tmp_path / "run", name, 4, config=FrozenDict({"train": {"x": (1, 2)}})
  )
  writer.write(5, {"loss": 1.0})
  writer.write(5, {"test/loss": 2.0})
  writer.images(5, {"examples": np.zeros((2, 3, 3), np.uint8)})
  writer.histograms(5, {"x": (np.ones(1), np.arange(2.0))})  # It takes none.
  assert writer.takes_images
  writer.close()
  writer.close()
  assert mine.Kept.calls == [
    ("init", str(tmp_path / "run"), {"train": {"x": [1, 2]}}, 4),
    ("scalars", 5, {"loss": 1.0}),
    ("scalars", 5, {"test/loss": 2.0}),
    ("images", 5, {"examples": (2, 3, 3)}),
    ("close",),
  ]
  assert mine.Kept.threads == {f"logger {name}"}


def test_a_logger_that_raises_is_said_once_and_tried_again(
  tmp_path, mine, caplog
):
  writer = make_writer(tmp_path / "run", "csv,mine_own:Unlucky")
  for step in (1, 2, 3):
    writer.write(step, {"loss": 1.0})
  writer.close()
  said, end = caplog.messages
  assert "logger mine_own:Unlucky: ZeroDivisionError: no luck" in said
  assert "scalars of step 1" in said and "goes on" in said
  assert "logger mine_own:Unlucky lacks 2 entries: ZeroDivision" in end
  assert mine.Unlucky.calls[1] == ("scalars", 3, {"loss": 1.0})
  assert len(read_table(tmp_path / "run")) == 3, "the others are as they were"


def test_a_logger_that_cannot_be_made_is_off(tmp_path, mine, caplog):
  writer = make_writer(tmp_path / "run", "mine_own:Unmade")
  for step in (1, 2, 3):
    writer.write(step, {"loss": 1.0})
  writer.close()
  said, end = caplog.messages
  assert "TypeError" in said and "goes on without it" in said
  assert "lacks 3 entries" in end


def test_a_logger_that_exits_ends_no_run(tmp_path, mine, caplog):
  writer = make_writer(tmp_path / "run", "mine_own:Exits")
  writer.write(1, {"loss": 1.0})
  writer.close()
  assert "SystemExit: 3" in caplog.messages[0]


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("Cancelled", "CancelledError"),  # No Exception, but a BaseException.
    ("Speechless", "Unsaid"),
    ("Guarded", "not histograms"),
  ],
)
def test_whatever_a_logger_raises_it_is_called_again(
  tmp_path, mine, caplog, name, words
):
  writer = make_writer(tmp_path / "run", f"mine_own:{name}")
  for step in (1, 2):
    writer.write(step, {"loss": 1.0})
    writer.histograms(step, {"x": (np.ones(1), np.arange(2.0))})
  writer.close()
  said, end = caplog.messages
  assert words in said and "goes on" in said and words in end
  assert ("close",) in mine.Kept.calls
  kept = [x for x in mine.Kept.calls if x[0] == "scalars"]
  assert len(kept) == (2 if name == "Guarded" else 0)


def test_a_note_of_the_users_own_is_theirs(tmp_path, mine, caplog):
  writer = make_writer(tmp_path / "run", "mine_own:Noted")
  writer.write(1, {"loss": 1.0})
  writer.close()
  assert not caplog.messages


def test_a_logger_that_hangs_is_left_behind(
  tmp_path, mine, caplog, monkeypatch
):
  monkeypatch.setattr(loggers.Background, "SECONDS_TO_CLOSE", 0.1)
  monkeypatch.setattr(loggers.Background, "MAX_CALLS", 2)
  writer = make_writer(tmp_path / "run", "mine_own:Stuck")
  for step in range(1, 7):
    writer.write(step, {"loss": 1.0})
    writer.flush()
  writer.close()
  assert "has not ended within 0.1 s" in caplog.messages[0]
  assert "mine_own:Stuck lacks " in caplog.messages[1]
  assert [row["step"] for row in read_rows(tmp_path / "run")] == [*range(1, 7)]
  mine.Stuck.go_on.set()
  (thread,) = (
    x for x in threading.enumerate() if x.name == "logger mine_own:Stuck"
  )
  thread.join(60)


def test_other_processes_log_nothing(tmp_path, mine):
  writer = make_writer(tmp_path, "csv,mine_own:Kept", enabled=False)
  writer.write(1, {"loss": 1.0})
  writer.images(1, {"x": np.zeros((1, 1, 3), np.uint8)})
  writer.close()
  assert not mine.Kept.calls and not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize(
  ("named", "words"),
  [
    ("tensorbord", ["'tensorbord'", "did you mean 'tensorboard'?"]),
    ("csv,csv", ["'csv'", "twice"]),
    ("csv,", ["''", "package.module:Class"]),
    ("a b.C", ["'a b.C'"]),
  ],
)
def test_names_that_are_none(named, words):
  (error,) = loggers.find_name_errors(named)
  assert all(word in error for word in ["train.loggers", *words])


@pytest.mark.parametrize(
  ("named", "words"),
  [
    ("nowhere_to_be.X", ["ModuleNotFoundError", "nowhere_to_be"]),
    ("mine_own:Nobody", ["AttributeError", "Nobody"]),
    ("mine_own:Mute", ["scalars(step, values)"]),
  ],
)
def test_loggers_that_cannot_be_imported(mine, named, words):
  assert not loggers.find_name_errors(named)
  (error,) = loggers.find_errors(f"csv,tensorboard,{named}")
  assert all(word in error for word in ["train.loggers", named, *words])


def test_none_is_no_logger(tmp_path):
  assert not loggers.find_name_errors(None) and not loggers.find_errors(None)
  writer = make_writer(tmp_path, None)
  writer.write(1, {"loss": 1.0})
  assert not writer.takes_images
  writer.close()
  assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_what_is_not_asked_for_is_not_imported(tmp_path):
  code = f"""
import sys
from etils import epath
from vit_jax.metrics.writer import MetricWriter

writer = MetricWriter(epath.Path({str(tmp_path)!r}), 0, named="csv")
writer.write(1, {{"loss": 1.0}})
writer.close()
print(sorted({{"tensorboardX", "tensorboard", "wandb"}} & sys.modules.keys()))
"""
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
  )
  assert done.stdout.strip() == "[]", done.stderr
