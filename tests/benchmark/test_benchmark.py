# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks say; how fast things are is nowhere tested."""

import dataclasses
import json
import time

import pytest

from tests.support import ROOT
from vit_jax.benchmark import __main__ as command
from vit_jax.benchmark import input as measured
from vit_jax.benchmark.input import Report, time_each

MS = 1e-3


def report(workers=0, threads=4, cores=8, **stages):
  usual = dict(read=1, decode=5, crop=4, transfer=0.2)
  return Report(
    source="folder:photos",
    size=(224, 224),
    batch_size=64,
    workers=workers,
    threads=threads,
    cores=cores,
    stages={name: x * MS for name, x in (usual | stages).items()},
    images_per_second=350.0,
  )


def test_what_bounds_the_input():
  found = report()
  # 10 ms of four threads; 0.2 ms of one.
  assert found.limits == pytest.approx(dict(threads=400, transfer=5000))
  assert found.bound == "decode"
  assert report(crop=6).bound == "crop"
  assert report(transfer=3).bound == "transfer"
  assert report(threads=16).limits["threads"] == pytest.approx(800)  # Cores.
  assert report(workers=2, threads=3).parallel == 6
  kept = dataclasses.replace(found, kept=True)
  assert kept.limits["threads"] == pytest.approx(1000)  # 4 ms.
  assert kept.bound == "crop" and "once" in str(kept)
  raced = dataclasses.replace(found, others={"tf.data": [100.0, 175.0, 200.0]})
  assert str(raced).splitlines()[-1].endswith("ratio 2.00")
  lines = str(found).splitlines()
  assert lines[0] == (
    "folder:photos at 224 x 224 px, batches of 64, 4 threads, 8 cores"
  )
  assert lines[-2:] == [
    "whole input, as training has it: 350 images/s",
    "bound by: decode",
  ]
  together = next(line for line in lines if line.startswith("all of these"))
  assert together.split() == ["all", "of", "these", "10.000", "400"]


def test_a_call_is_timed_after_a_first_one():
  calls = []

  def work(x):
    calls.append(x)
    time.sleep(0.5 if len(calls) == 1 else 0.001)
    return 2 * x

  seconds, results = time_each(work, [1, 2, 3])
  assert sorted(results) == [2, 4, 6] and sorted(calls) == [1, 1, 2, 3]
  assert 0.001 <= seconds


@pytest.mark.parametrize(
  ("flags", "source", "size", "batch", "count"),
  [
    (["--config=configs/digits.py"], "tfds:digits", [16, 16], 128, 1437),
    (
      [
        *("--config.data.size=32", "--config.model.variant=mu/4"),
        *("--config.data.source=synthetic:10", "--batch=24"),
      ],
      "synthetic:10",
      [32, 32],
      24,
      1_281_167,
    ),
  ],
)
def test_the_input_is_measured(
  flags, source, size, batch, count, data_dir, monkeypatch, capsys
):
  orders = []

  class Spy(measured.Order):
    def __init__(self, sizes, weights, seed):
      super().__init__(sizes, weights, seed)
      orders.append(sizes)

  monkeypatch.setattr(measured, "Order", Spy)
  overrides = [f"--config.data.dir={data_dir}"]
  command.main(["input", *flags, *overrides, "--seconds=0.1", "--json"])
  out, err = capsys.readouterr()
  found = json.loads(out)
  assert found["source"] == source
  assert found["size"] == size and found["batch_size"] == batch
  stages = found["stages"]
  assert list(stages) == ["read", "decode", "crop", "transfer"]
  assert all(stages[name] > 0 for name in ("read", "decode", "crop"))
  assert found["bound"] in stages and found["images_per_second"] > 0
  assert f"bound by: {found['bound']}" in err
  # Of 200 images, but in the order of all: that of few takes longer to find.
  assert orders == [[count]]


def test_bad_flags_and_missing_data(tmp_path, capsys):
  with pytest.raises(SystemExit) as caught:
    command.main(["input", "--bach=3"])
  assert caught.value.code == 2
  assert "did you mean '--batch'?" in capsys.readouterr().err
  with pytest.raises(SystemExit) as caught:
    command.main(
      [
        "input",
        "--config.data.source=tfds:cifar10",
        f"--config.data.dir={tmp_path}",
      ]
    )
  assert caught.value.code == 2
  assert "vit_jax.prepare cifar10" in capsys.readouterr().err


def test_checkpoints_are_measured_where_nothing_is(
  tmp_path, data_dir, monkeypatch, capsys
):
  flags = ["checkpoint", "--json", f"--config={ROOT}/configs/digits.py"]
  flags += [f"--config.data.dir={data_dir}", "--config.model.depth=1"]
  monkeypatch.chdir(tmp_path)
  command.main([*flags, "--workdir=new"])
  shown = capsys.readouterr()
  found = json.loads(shown.out)
  assert 1e5 < found["bytes"] < 1e7 and not list(tmp_path.iterdir())
  assert found["blocked"] <= found["saved"] <= found["verified"]
  assert "   1.00  one file" in shown.err
  monkeypatch.setenv("HOME", str(tmp_path))
  with pytest.raises(SystemExit):
    command.main([*flags, "--workdir=~"])
  assert f"--workdir={tmp_path} exists" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    command.main(flags)
  assert "--workdir is missing" in capsys.readouterr().err
