# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training log: its rows, their sums across a stop, and their speed."""

import io
import json
import threading
import types

import numpy as np
import pytest
from etils import epath

from vit_jax.metrics import read_rows, train_log
from vit_jax.metrics.progress import Progress
from vit_jax.metrics.writer import MetricWriter
from vit_jax.optim.nonfinite import CHECKS
from vit_jax.runtime.record import Record

SIX_STEPS = dict(start_step=0, steps=6, batch_size=4, names=["loss"])
FINE = {name: (0, 1.0) for name in CHECKS}


def test_results_are_awaited_one_interval_late(tmp_path, monkeypatch):
  """Closing an interval never waits for the device, only for the one before."""
  finished = threading.Event()
  fetch = train_log.TrainLog._fetch

  def wait_for_the_device(*arguments):
    assert finished.wait(timeout=60)
    return fetch(*arguments)

  monkeypatch.setattr(
    train_log.TrainLog, "_fetch", staticmethod(wait_for_the_device)
  )
  writer = MetricWriter(epath.Path(tmp_path), 0)
  log = train_log.TrainLog(
    writer, Progress(stream=io.StringIO()), **SIX_STEPS, log_every=2
  )
  for step in (1, 2, 3):
    log.add(step, {"loss": (float(step), 1.0)} | FINE)
  assert not writer.has_row(2, "loss")
  finished.set()
  log.add(4, {"loss": (4.0, 1.0)} | FINE)
  assert writer.has_row(2, "loss") and not writer.has_row(4, "loss")
  log.add(5, {"loss": (5.0, 1.0)} | FINE)
  log.flush(5, end=True)
  writer.close()
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [(r["step"], r["loss"]) for r in rows] == [(2, 1.5), (4, 3.5), (5, 5)]


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_a_log_goes_on_within_an_interval(tmp_path, stop):
  """Its sums, as JSON, give the row of one that was not stopped, to the bit."""
  rng = np.random.default_rng(0)
  added = rng.random(6, dtype=np.float32)

  def run(workdir, first, last, **more):
    writer = MetricWriter(epath.Path(workdir), first)
    log = train_log.TrainLog(
      writer,
      Progress(enabled=False),
      **SIX_STEPS | dict(start_step=first),
      log_every=4,
      **more,
    )
    for step in range(first + 1, last + 1):
      log.add(step, {"loss": (added[step - 1], np.float32(3))} | FINE)
    log.flush(last, end=last == 6)
    writer.close()
    return Record(json.loads(json.dumps({"sums": log.sums}))).sums

  def get_losses(workdir):
    return [(row["step"], row["loss"]) for row in read_rows(workdir)]

  assert run(tmp_path / "straight", 0, 6) == {}
  parts = run(tmp_path / "parts", 0, stop)
  assert bool(parts) == (stop != 4)
  assert [x for x, _ in get_losses(tmp_path / "parts")] == [4] * (stop >= 4)
  run(tmp_path / "parts", stop, 6, sums=parts)
  found = get_losses(tmp_path / "parts")
  assert found == get_losses(tmp_path / "straight")
  wanted = [np.mean(np.float64(added[:4])), np.mean(np.float64(added[4:]))]
  assert [x for _, x in found] == pytest.approx(np.array(wanted) / 3, rel=1e-12)


def test_a_spike_is_one_after_a_resume_too(tmp_path):
  writer = MetricWriter(epath.Path(tmp_path), 0)
  for step in range(1, 21):
    writer.write(step, {"loss": 1.0 + step % 2 / 100})
  writer.close()
  writer = MetricWriter(epath.Path(tmp_path), 20)
  log = train_log.TrainLog(
    writer,
    Progress(enabled=False),
    **SIX_STEPS | dict(start_step=20, steps=21),
    log_every=1,
    losses=writer.losses,
  )
  shown = {name: (9.0, 1.0) for name in ("loss", "grad_norm", "update_norm")}
  log.add(21, shown | FINE)
  log.flush(21)
  writer.close()
  last = read_rows(tmp_path)[-1]
  assert last["step"] == last["spike/step"] == 21
  assert last["spike/level"] == pytest.approx(1.005)


def test_a_log_knows_how_long_no_batch_was_ready(tmp_path, monkeypatch):
  clock = types.SimpleNamespace(now=0.0)
  clock.monotonic = lambda: clock.now
  monkeypatch.setattr(train_log, "time", clock)
  stream = io.StringIO()
  writer = MetricWriter(epath.Path(tmp_path), 0)
  log = train_log.TrainLog(
    writer,
    Progress(stream=stream),
    **SIX_STEPS | dict(steps=70),
    log_every=1,
    peak_images_per_second=0.8,
  )
  # Seconds that a step waits for its batch, of ten.
  for step, seconds in enumerate((5.0, 0.25, 1.0, 2.0), start=1):
    with log.waiting_for_data():
      clock.now += seconds
    clock.now += 10 - seconds
    log.add(step, {"loss": (1.0, 1.0)} | FINE)
    log.flush(step)
  writer.close()
  rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
  shares = [json.loads(row)["data_wait"] for row in rows]
  assert shares == [0.5, 0.025, 0.1, 0.2]
  # Four images in ten seconds, where 0.8 a second would be an MFU of 1.
  assert [json.loads(row)["mfu"] for row in rows] == [0.5] * 4
  lines = stream.getvalue().splitlines()
  assert "data 50%" in lines[0] and "data 2%" in lines[1]
  # The first interval fills the queues; one warning is enough. 10 % of the 67
  # steps of ten seconds that are left is more than a minute.
  warnings = [i for i, line in enumerate(lines) if "benchmark input" in line]
  assert warnings == [3] and lines[3].startswith("10% of the time no batch")


def test_a_short_run_gets_no_hint_about_its_input(tmp_path, monkeypatch):
  clock = types.SimpleNamespace(now=0.0)
  clock.monotonic = lambda: clock.now
  monkeypatch.setattr(train_log, "time", clock)
  stream, writer = io.StringIO(), MetricWriter(epath.Path(tmp_path), 0)
  log = train_log.TrainLog(
    writer, Progress(stream=stream), **SIX_STEPS, log_every=1
  )
  for step in range(1, 7):
    with log.waiting_for_data():
      clock.now += 9.0
    clock.now += 1.0
    log.add(step, {"loss": (1.0, 1.0)} | FINE)
    log.flush(step)
  writer.close()
  # 90 % of the 40 seconds that are left from the second row on.
  assert "benchmark input" not in stream.getvalue()
