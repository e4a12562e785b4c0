# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What wandb itself, offline, has written of a run."""

import json
import time

import numpy as np
import pytest
from etils import epath

from vit_jax.metrics.writer import MetricWriter

pytestmark = pytest.mark.judges

BLOCK = 32768  # Bytes, of a log of LevelDB.


def read_records(path):
  """The records of a .wandb file, once its run has ended there.

  wandb writes it in a process of its own, and does not wait for the last bytes.
  """
  until = time.monotonic() + 30
  while True:
    records = parse_records(path)
    if any(x.HasField("exit") for x in records):
      return records
    assert time.monotonic() < until, "the run has no end"
    time.sleep(0.1)


def parse_records(path):
  """LevelDB's log, after a header of 7 bytes."""
  from wandb.proto import wandb_internal_pb2

  data, place, parts, records = path.read_bytes(), 7, b"", []
  assert data[:4] == b":W&B"
  while place + 7 <= len(data):
    if BLOCK - place % BLOCK < 7:  # What is left of a block is padding.
      place += BLOCK - place % BLOCK
    size = int.from_bytes(data[place + 4 : place + 6], "little")
    if place + 7 + size > len(data):
      break  # It is being written.
    kind = data[place + 6]  # Full, first, middle and last part.
    parts += data[place + 7 : place + 7 + size]
    place += 7 + size
    if kind in (1, 4):
      records.append(wandb_internal_pb2.Record.FromString(parts))
      parts = b""
  return records


def read_history(records):
  """Step -> metric -> value."""
  rows = {}
  for record in records:
    if record.HasField("history"):
      items = {
        ".".join(x.nested_key) or x.key: json.loads(x.value_json)
        for x in record.history.item
      }
      rows.setdefault(record.history.step.num, {}).update(items)
  return rows


def test_a_run_goes_on_under_one_id(tmp_path, monkeypatch, caplog):
  pytest.importorskip("wandb")
  for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("WANDB_MODE", "offline")
  config = {"train": {"steps": 4}, "init": None}

  def write(start, steps):
    writer = MetricWriter(
      epath.Path(tmp_path), start, named="wandb", config=config
    )
    for step in steps:
      writer.write(step, {"loss": step / 2})
      writer.write(step, {"test/accuracy": step / 8})
    # They are made while the run goes on: at an earlier step.
    writer.images(step - 1, {"examples": np.zeros((4, 5, 3), np.uint8)})
    writer.histograms(step, {"weights/head": np.histogram([1.0, 2.0, 4.0])})
    writer.close()

  write(0, [1, 2])
  write(2, [3, 4])
  assert not any("lacks" in message for message in caplog.messages)
  ours = [x.message for x in caplog.records if x.name.startswith("vit_jax")]
  assert "wandb is offline: wandb sync " in ours[0]
  identity = json.loads((tmp_path / "wandb.json").read_text())["id"]
  paths = sorted(
    (tmp_path / "wandb").glob(f"offline-run-*/run-{identity}.wandb")
  )
  assert len(paths) == 2
  rows = {}
  for path in paths:
    records = read_records(path)
    (run,) = (x.run for x in records if x.HasField("run"))
    assert (run.run_id, run.project) == (identity, "vit_jax")
    kept = {x.key: json.loads(x.value_json) for x in run.config.update}
    assert kept["train"] == {"steps": 4} and kept["init"] is None
    found = read_history(records)
    assert not rows.keys() & found.keys()
    rows |= found
  assert [*rows] == [1, 2, 3, 4]
  for step, row in rows.items():
    assert row["loss"] == step / 2 and row["test/accuracy"] == step / 8
  assert rows[2]["examples.width"] == 5
  assert rows[4]["weights/head._type"] == "histogram"
  assert sum(rows[4]["weights/head.values"]) == 3


def test_nobody_is_asked_for_a_key(tmp_path, monkeypatch, caplog):
  """Where none is known nothing leaves the machine."""
  pytest.importorskip("wandb")
  for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DISABLED"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("NETRC", str(tmp_path / "none"))
  writer = MetricWriter(epath.Path(tmp_path), 0, named="wandb")
  writer.write(1, {"loss": 1.0})
  writer.close()
  (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
  assert read_history(read_records(path))[1]["loss"] == 1
