# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from etils import epath

from tests.metrics.samples import list_steps, read_events
from tests.support import ROOT
from vit_jax.config import ConfigError
from vit_jax.metrics import folding, read_rows
from vit_jax.metrics.writer import MetricWriter
from vit_jax.storage import append_log
from vit_jax.storage.files import write_json
from vit_jax.storage.untrusted import load_json


def test_means_are_over_examples_not_over_batches():
  results = [{"loss": (6.0, 3.0)}, {"loss": (1.0, 1.0), "extra": (4.0, 2.0)}]
  assert folding.compute(results) == {"loss": 7 / 4, "extra": 2.0}


def test_counts_stay_exact_beyond_float32():
  one = {"accuracy": (np.float32(2**24), np.float32(2**24))}
  merged = folding.merge([one, {"accuracy": (np.float32(1), np.float32(1))}])
  assert merged["accuracy"].count == 2**24 + 1


def test_rows_and_events(tmp_path):
  writer = MetricWriter(epath.Path(tmp_path), start_step=0)
  for step in (1, 2, 3):
    writer.write(step, {"loss": 0.5 * step})
  writer.close()
  # A run that resumes after step 2 writes step 3 again.
  writer = MetricWriter(epath.Path(tmp_path), start_step=2)
  writer.write(3, {"loss": 9.0})
  writer.close()
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [(r["step"], r["loss"]) for r in rows] == [(1, 0.5), (2, 1), (3, 9)]
  assert read_rows(tmp_path) == rows
  # TensorBoard forgets what stands of steps from 3 on when it comes to the
  # second start's own file.
  assert list(read_events(tmp_path / "events")) == [
    *((1, "loss", 0.5), (2, "loss", 1.0), (3, "loss", 1.5)),
    *((3, "START", 0.0), (3, "loss", 9.0)),
  ]


def write_rows(writer, steps):
  for step in steps:
    writer.write(step, {"loss": float(step)})


def test_a_row_costs_the_same_however_many_there_are(tmp_path):
  """A flush adds to the file; whoever follows it by its name loses nothing."""
  writer = MetricWriter(epath.Path(tmp_path), 0)
  write_rows(writer, range(1, 101))
  writer.flush()
  path = tmp_path / "metrics.jsonl"
  before, node = path.stat().st_size, path.stat().st_ino
  with path.open() as follower:
    follower.seek(0, os.SEEK_END)
    write_rows(writer, [101])
    writer.flush()
    assert follower.read() == '{"step": 101, "loss": 101.0}\n'
  assert path.stat().st_ino == node and path.stat().st_size == before + 29
  writer.close()


def test_a_workdir_that_vanished_is_created_again(tmp_path):
  """Its earlier rows are lost, later ones are written."""
  workdir, path = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
  MetricWriter(epath.Path(workdir), 0).close()
  writer = MetricWriter(epath.Path(workdir), 0)
  write_rows(writer, range(1, 6))
  writer.flush()
  shutil.rmtree(workdir)
  write_rows(writer, range(6, 9))
  writer.flush()
  assert list_steps(workdir) == [6, 7, 8]
  steps = [step for step, name, _ in read_events(workdir / "events") if name]
  assert steps == [6, 7, 8]
  # Bytes that another program left behind the last row are cut off.
  with path.open("ab") as file:
    file.write(b'{"step": 9, "lo')
  write_rows(writer, [9])
  writer.close()
  assert list_steps(workdir) == [6, 7, 8, 9]
  writer = MetricWriter(epath.Path(workdir), 9)
  write_rows(writer, [10])
  writer.flush()
  assert list_steps(workdir) == [6, 7, 8, 9, 10]
  path.unlink()
  write_rows(writer, [11])
  writer.close()
  assert list_steps(workdir) == [11]


def test_rows_are_on_the_disk_itself_when_a_checkpoint_may_follow(
  tmp_path, monkeypatch
):
  """A flush waits for the disk; what is written meanwhile does not."""
  synced = {}

  def sync(number, real=os.fsync):
    real(number)
    synced[os.readlink(f"/proc/self/fd/{number}")] = os.fstat(number).st_size

  monkeypatch.setattr(os, "fsync", sync)
  writer = MetricWriter(epath.Path(tmp_path), 0)
  write_rows(writer, [1])
  writer._writing.result()
  assert list_steps(tmp_path) == [1] and not synced
  writer.flush()  # Nothing is new, and yet not safe.
  [log] = (tmp_path / "events").iterdir()
  paths = (tmp_path / "metrics.jsonl", log)
  assert synced == {str(path): path.stat().st_size for path in paths}
  write_rows(writer, [2])
  writer.close()
  assert synced == {str(path): path.stat().st_size for path in paths}


def test_a_run_without_new_rows_leaves_the_file_alone(tmp_path):
  writer = MetricWriter(epath.Path(tmp_path), 0)
  write_rows(writer, [1, 2])
  writer.close()
  path = tmp_path / "metrics.jsonl"
  before = path.stat()
  MetricWriter(epath.Path(tmp_path), 2).close()
  after = path.stat()
  assert after.st_ino == before.st_ino
  assert after.st_mtime_ns == before.st_mtime_ns  # Unlike the time of access.


def test_a_damaged_line_is_named_and_dropped(tmp_path, caplog):
  """The end of a file on a disk that filled up, and what a bad disk returns."""
  good = b'{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 2.0}\n'
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(good + b'{"step": 3, "lo')
  writer = MetricWriter(epath.Path(tmp_path), 2)
  [message] = caplog.messages
  assert str(path) in message and " 1 damaged line" in message
  assert '{"step": 3, "lo' in message
  assert writer.has_row(2, "loss") and not writer.has_row(1, "loss")
  write_rows(writer, [3])
  writer.close()
  assert path.read_bytes() == good + b'{"step": 3, "loss": 3.0}\n'
  path.write_bytes(b"\x00\xff\n17\n[]\n{}\n" + good)
  assert list_steps(tmp_path) == [1, 2]
  assert "has 4 damaged line(s)" in caplog.messages[-1]
  # JSON, but too deep; of another encoding; with half of a character.
  utf16 = '{"step": 3}'.encode("utf-16-be")
  lines = (b"[" * 100_000, utf16, b'{"step": 3, "\xed\xa0\x80": 1}')
  path.write_bytes(b"\n".join((*lines, good)))
  writer = MetricWriter(epath.Path(tmp_path), 2)
  assert "has 3 damaged line(s)" in caplog.messages[-1]
  write_rows(writer, [3])
  writer.close()
  assert path.read_bytes() == good + b'{"step": 3, "loss": 3.0}\n'


def test_rows_that_cannot_be_read_end_a_run_before_it_starts(tmp_path):
  (tmp_path / "metrics.jsonl").mkdir()
  with pytest.raises(ConfigError, match="metrics.jsonl cannot be read"):
    MetricWriter(epath.Path(tmp_path), 0)


def test_a_directory_that_is_a_file_now(tmp_path, caplog):
  """Events cannot be written, rows can; the run goes on and hears it once."""
  (tmp_path / "events").write_text("somebody's")
  writer = MetricWriter(epath.Path(tmp_path), 0)
  for step in (1, 2, 3):
    write_rows(writer, [step])
    writer.flush()
  assert len(caplog.messages) == 1
  assert f"{tmp_path}/events cannot be written" in caplog.messages[0]
  assert list_steps(tmp_path) == [1, 2, 3]
  # It is put right, and nothing was lost.
  (tmp_path / "events").unlink()
  writer.close()
  steps = [step for step, _, _ in read_events(tmp_path / "events")]
  assert steps == [1, 2, 3] and len(caplog.messages) == 1


FULL_DISK = """
import logging, resource, sys
from etils import epath
from vit_jax.metrics import read_rows
from vit_jax.metrics.writer import MetricWriter

logging.basicConfig(format="%(message)s", stream=sys.stdout)
workdir = epath.Path(sys.argv[1])
writer = MetricWriter(workdir, 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
for step in range(1, 201):
  writer.write(step, {"loss": float(step)})
  if step % 20 == 0:
    writer.flush()
print((workdir / "metrics.jsonl").stat().length)
if sys.argv[2] == "room":
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
writer.close()
print(*(row["step"] for row in read_rows(workdir)))
"""


@pytest.mark.parametrize("room", [True, False])
def test_a_disk_that_is_full(tmp_path, room):
  """With no room for 4,097 bytes of a file, and with room again at the end."""
  done = subprocess.run(
    [sys.executable, "-c", FULL_DISK, tmp_path, "room" if room else "none"],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  rows, events, size, *rest = done.stdout.splitlines()
  # Both stop at the limit, events first, for they are longer.
  assert {rows.split()[0], events.split()[0]} == {
    *(f"{tmp_path}/metrics.jsonl", f"{tmp_path}/events"),
  }
  assert all("[Errno 27] File too large" in line for line in (rows, events))
  assert size == "4096"
  if room:
    assert rest == [" ".join(map(str, range(1, 201)))]
    return
  *lost, damaged, steps = rest
  last = int(steps.split()[-1])
  assert steps == " ".join(map(str, range(1, last + 1)))
  assert "1 damaged line(s)" in damaged
  # The last write that went through whole; what is beyond it is counted.
  whole = last - last % 20
  assert lost[0].startswith(
    f"{tmp_path}/metrics.jsonl lacks {200 - whole} entries: [Errno 27]"
  )
  assert lost[1].startswith(f"{tmp_path}/events lacks ")


def test_what_waits_is_bounded(tmp_path, monkeypatch, caplog):
  monkeypatch.setattr(append_log.AppendLog, "MAX_CHUNKS", 5)
  (tmp_path / "events").write_text("somebody's")
  writer = MetricWriter(epath.Path(tmp_path), 0)
  writer.flush()
  write_rows(writer, range(1, 10))
  writer.close()
  # What opens the file waits too, so four rows do and five have no place.
  assert "events lacks 10 entries: [Errno " in caplog.messages[-1]


def test_a_loss_that_is_no_number_leaves_valid_json(tmp_path):
  writer = MetricWriter(epath.Path(tmp_path), 0)
  writer.write(1, {"loss": float("nan"), "grad_norm": float("inf"), "lr": 0.5})
  writer.close()
  text = (tmp_path / "metrics.jsonl").read_text()
  assert text == '{"step": 1, "loss": null, "grad_norm": null, "lr": 0.5}\n'


def test_only_the_first_process_writes(tmp_path):
  writer = MetricWriter(epath.Path(tmp_path), 0, enabled=False)
  writer.write(1, {"loss": 1.0})
  writer.close()
  assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole(tmp_path):
  path = epath.Path(tmp_path) / "x.json"
  write_json(path, {"a": 1})
  write_json(path, {"a": (1, 2)})
  assert load_json(path) == {"a": [1, 2]}
  assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_rows_are_made_again_of_what_is_known(tmp_path):
  writer = MetricWriter(epath.Path(tmp_path), 0)
  for step in (2, 4):
    writer.write(step, {"loss": 1.0})
    writer.write(step, {"test/accuracy": step / 8})
  writer.close()
  known = {step: {"test/accuracy": step / 8} for step in (2, 4)}
  whole = (tmp_path / "metrics.jsonl").read_text()
  writer = MetricWriter(epath.Path(tmp_path), 4, known=known)
  assert not writer.empty and not writer.restored
  writer.close()
  assert (tmp_path / "metrics.jsonl").read_text() == whole
  lines = whole.splitlines(keepends=True)
  (tmp_path / "metrics.jsonl").write_text(lines[0] + lines[2])
  MetricWriter(epath.Path(tmp_path), 4, known=known).close()
  assert (tmp_path / "metrics.jsonl").read_text() == whole
  (tmp_path / "metrics.jsonl").unlink()
  writer = MetricWriter(epath.Path(tmp_path), 4, known=known)
  assert writer.empty and writer.restored == 2
  assert writer.has_row(4, "test/") and not writer.has_row(4, "loss")
  writer.close()
  assert (tmp_path / "metrics.jsonl").read_text() == lines[1] + lines[3]
