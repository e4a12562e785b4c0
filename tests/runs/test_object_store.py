# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs on gs://, kept by a store that can not append, rename or copy.

The clients are the real ones, etils with gcsfs and Orbax with tensorstore; the
store is `tests/support/object_store.py`.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading

import fsspec
import jax
import numpy as np
import pytest
from etils import epath

import vit_jax
from tests.metrics.samples import list_steps, read_events
from tests.support import ROOT
from tests.support.object_store import get_environment, serve
from tests.support.runs import OF_CALL, SPEED, make_config
from vit_jax import metrics, predict
from vit_jax.checkpoint import load_params
from vit_jax.config import ConfigError, RunError
from vit_jax.config.errors import Preempted
from vit_jax.data import sources
from vit_jax.hosts.coordination import Hosts
from vit_jax.metrics.writer import MetricWriter
from vit_jax.runtime import lock
from vit_jax.runtime.workdir import open_workdir
from vit_jax.storage.append_log import AppendLog
from vit_jax.storage.paths import expand
from vit_jax.train import train

pytestmark = [
  # What gcsfs says when it is asked to append, before it overwrites instead.
  pytest.mark.filterwarnings("error:Append mode"),
  pytest.mark.usefixtures("same_programs"),
]

# All that a run may ask of a store.
ACTIONS = {"bucket", "list", "stat", "read", "session", "upload", "delete"}


@pytest.fixture(scope="session")
def server():
  """One store a process, for its clients look for it only once."""
  with serve() as store, pytest.MonkeyPatch.context() as patch:
    for name, value in get_environment(store).items():
      patch.setenv(name, value)
    yield store


@pytest.fixture
def store(server):
  server.clear()
  return server


@pytest.fixture(scope="module")
def on_disk(data_dir, tmp_path_factory):
  """A run that nobody interrupts: its config, workdir and result."""
  config = make_config(data_dir) | {"checkpoint": dict(every=2, keep=1)}
  workdir = tmp_path_factory.mktemp("run")
  return config, workdir, train(config, str(workdir))


@pytest.fixture
def impatient(monkeypatch):
  """gcsfs asks a store that is down six times, here without the half minute."""
  monkeypatch.setattr("gcsfs.retry.min", lambda *_: 0, raising=False)


def get_rows(workdir):
  """Rows of a run, without what depends on how fast it was."""
  return [
    {key: value for key, value in row.items() if key not in SPEED}
    for row in metrics.read_rows(workdir)
  ]


def get_lines(store, workdir):
  """Rows of metrics.jsonl alone, as programs of others read it."""
  text = store.read(f"{workdir}/metrics.jsonl").decode()
  return [json.loads(line) for line in text.splitlines()]


def test_the_store_refuses_what_stores_lack(store):
  """So that a run which asked for it would fail."""
  path = epath.Path("gs://bucket/a")
  path.write_text("text")
  client = fsspec.filesystem("gcs")
  with pytest.raises(Exception, match="no object store does this: .*rewriteTo"):
    client.cp_file("bucket/a", "bucket/b")
  with pytest.raises(Exception, match="no object store does this: .*rewriteTo"):
    path.rename("gs://bucket/b")
  with pytest.raises(Exception, match="no object store does this: .*compose"):
    client.merge("bucket/c", ["bucket/a", "bucket/a"])
  with pytest.raises(UserWarning, match="Append mode"):
    path.open("a")
  assert store.find("gs://bucket/") == ["a"]
  assert [r.action for r in store.requests].count("refused") >= 3


def test_the_store_keeps_what_clients_write(store):
  """Uploads in one request and in several, ranges, pages and preconditions."""
  directory = epath.Path("gs://bucket/dir")
  data = np.random.default_rng(0).bytes(6 * 2**20)
  (directory / "large").write_bytes(data)
  assert (directory / "large").read_bytes() == data
  assert {"session", "upload"} <= {r.action for r in store.requests}
  client = fsspec.filesystem("gcs")
  assert (
    client.cat_file("bucket/dir/large", start=100, end=300) == data[100:300]
  )
  for i in range(7):
    (directory / "sub" / f"{i}").write_text(f"{i}")
  store.page = 2
  assert sorted(p.name for p in directory.iterdir()) == ["large", "sub"]
  names = sorted(p.name for p in (directory / "sub").iterdir())
  assert names == list("0123456")
  with pytest.raises(FileExistsError):
    client.pipe_file("bucket/dir/large", b"", mode="create")
  (directory / "sub").rmtree()
  assert store.find("gs://bucket/dir/") == ["large"]
  with pytest.raises(FileNotFoundError):
    (directory / "sub" / "0").read_text()


def test_what_another_host_writes_is_seen(store):
  """Though the directory was listed before, and the file looked for."""
  directory = epath.Path("gs://bucket/dir")
  (directory / "mine").write_text("")
  assert [p.name for p in directory.iterdir()] == ["mine"]
  assert not (directory / "theirs").exists()
  store.put("gs://bucket/dir/theirs", b"words")
  assert (directory / "theirs").read_text() == "words"
  assert len(list(directory.iterdir())) == 2


def test_only_a_disk_has_relative_paths(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  assert str(expand("gs://bucket/run")) == "gs://bucket/run"
  assert expand("run") == epath.Path(tmp_path) / "run"
  assert expand("~/run") == epath.Path(tmp_path) / "home" / "run"


def test_a_workdir_on_a_store(store):
  path = open_workdir("gs://bucket/run", Hosts(), 1.0)
  assert str(path) == "gs://bucket/run"
  assert store.get_uploads() == ["run/.probe_0"]
  assert store.find("gs://bucket/") == []
  # Neither somebody who may not write there, nor nobody at all.
  for status in (403, 401):
    store.fault = lambda action, _, s=status: s if action == "upload" else 0
    with pytest.raises(ConfigError, match="gs://bucket/run cannot be used"):
      open_workdir("gs://bucket/run", Hosts(), 1.0)


def test_a_run_on_a_store_is_the_run_on_a_disk(
  on_disk, store, tmp_path, ask_at, impatient, capsys
):
  """Stopped, taken up, ended; then used by the readers of runs."""
  config, disk, expected = on_disk
  workdir = "gs://bucket/run"
  ask_at(3)
  with pytest.raises(Preempted, match="saved step 3 in gs://bucket/run "):
    train(config, workdir)
  assert [row["step"] for row in get_lines(store, workdir)] == [2]
  # Now it is down at first, for logs: two attempts, of six requests each.
  answers = iter([503] * 12)
  logs = ("run/metrics", "run/events")
  store.fault = lambda action, name: (
    next(answers, 0) if action == "upload" and name.startswith(logs) else 0
  )
  assert "was deleted" not in capsys.readouterr().err
  result = train(config, workdir)
  shown = capsys.readouterr().err
  assert shown.count("cannot be written: the store will not, 503") == 2
  assert " lacks " not in shown and next(answers, None) is None
  for name in set(expected) - OF_CALL:
    assert result[name] == expected[name], name

  # Nothing that a store can not do was asked for, and nothing is left over.
  assert {r.action for r in store.requests} == ACTIONS
  found = store.find("gs://bucket/run/")
  directories = {
    name.rpartition("/")[0].partition("/state")[0] for name in found
  }
  assert directories == {"", "checkpoints/6", "events"}
  files = {"config.json", "manifest.json", "metrics.jsonl", "result.json"}
  assert {name for name in found if "/" not in name} == files
  assert json.loads(store.read(f"{workdir}/result.json")) == result

  # metrics.jsonl was written when the run was stopped, and when it ended.
  uploads = store.get_uploads("run/metrics")
  assert uploads.count("run/metrics.jsonl") == 2
  assert set(uploads) == {"run/metrics.jsonl", "run/metrics/000000.jsonl"}
  rows = get_rows(disk)
  assert [row["step"] for row in rows] == [2, 4, 6, 6]
  assert [row["step"] for row in get_rows(workdir)] == [2, 4, 6, 6]
  assert get_rows(workdir)[-2:] == rows[-2:]
  assert get_lines(store, workdir) == metrics.read_rows(workdir)
  # One event file of each start.
  written = list(read_events(epath.Path(workdir) / "events"))
  assert [step for step, name, _ in written if name == "loss"] == [2, 4, 6]

  store.fault = lambda action, name: 0
  before = store.get_uploads()
  assert train(config, workdir) == result
  assert "finished at step 6" in capsys.readouterr().err
  assert store.get_uploads() == [*before, "run/.probe_0", "run/lock.json"]

  raw = vit_jax.load(str(disk))[0].params
  params = vit_jax.load(workdir)[0].params
  jax.tree.map(np.testing.assert_array_equal, params, raw)
  examples = sources.open_source(
    "tfds:digits", "test[:1]", config["data"]["dir"]
  )
  image = tmp_path / "digit.png"
  image.write_bytes(examples[0]["image"])
  predict.main([workdir, str(image), "--format=csv", "--top=3"])
  shown = capsys.readouterr().out.splitlines()
  assert len(shown) == 4 and shown[1].startswith(f"{image},1,")


CHILD = """
import json, sys
from vit_jax.train import train
train(json.loads(sys.argv[1]), "gs://bucket/run")
"""


def test_a_run_killed_in_a_save(on_disk, store):
  """A real process, by SIGKILL, with half of a checkpoint in the store."""
  config, disk, expected = on_disk
  process = subprocess.Popen(
    [sys.executable, "-c", CHILD, json.dumps(config)],
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    cwd=ROOT,
  )

  uploads = itertools.count()

  def kill(action, name):
    """As the second file of step 4 arrives."""
    of_state = name.startswith("run/checkpoints/4/state/")
    if action != "upload" or not of_state or next(uploads) == 0:
      return 0
    process.kill()
    return 503

  store.fault = kill
  assert process.wait() == -signal.SIGKILL
  store.fault = lambda action, name: 0
  workdir = "gs://bucket/run"
  left = store.find(f"{workdir}/checkpoints/4/")
  assert left and "commit_success.txt" not in left
  # Rows were there before the checkpoint; metrics.jsonl was to come at the end.
  assert store.find(f"{workdir}/metrics") == ["/000000.jsonl"]
  assert [row["step"] for row in get_rows(workdir)][:2] == [2, 4]

  # Half a checkpoint is none, to readers and to the run itself.
  store.put(f"{workdir}/checkpoints/4/state/ocdbt.process_7/d/x", b"stale")
  load_params(epath.Path(workdir) / "checkpoints")
  with pytest.raises(ConfigError, match="no checkpoint of step 4 in gs://"):
    load_params(epath.Path(workdir) / "checkpoints", "4")
  result = train(config, workdir)
  for name in set(expected) - OF_CALL:
    assert result[name] == expected[name], name
  assert get_rows(workdir) == get_rows(disk)
  assert get_lines(store, workdir) == metrics.read_rows(workdir)
  assert not any("process_7" in name for name in store.find("gs://bucket/run"))
  assert {r.action for r in store.requests} <= ACTIONS


def test_a_store_that_is_down_for_a_while_releases_no_lock(
  store, impatient, monkeypatch
):
  """Errors of its client are no OSErrors."""
  monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
  workdir = epath.Path("gs://bucket/run")
  asked, written = threading.Semaphore(0), threading.Semaphore(0)

  with lock.WorkdirLock(workdir, Hosts(), print) as held:
    refuse = store.fault = lambda action, name: asked.release() or 503
    for _ in range(20):  # More than the six requests of one attempt.
      assert asked.acquire(timeout=60)
    assert held.check()
    with pytest.raises(RunError, match="lock.json cannot be read: .*503"):
      lock.WorkdirLock(workdir, Hosts(), print).__enter__()
    with pytest.raises(RunError, match="gs://bucket/run cannot be wr.*503"):
      held.renew()
    store.fault = lambda action, name: (
      written.release() or 0 if action == "upload" else 0
    )
    assert written.acquire(timeout=60), "signs of life are given again"
    store.fault = refuse
  store.fault = lambda action, name: 0
  assert store.find("gs://bucket/run/") == ["lock.json"], "it is left over"


def write_rows(writer, steps):
  for step in steps:
    writer.write(step, {"loss": float(step)})
    writer.flush()


def test_no_part_is_written_again_after_the_next(store, monkeypatch):
  """Objects have a bound, and the cost of a row does not grow with the run."""
  monkeypatch.setattr(AppendLog, "PART_BYTES", 200)
  workdir = epath.Path("gs://bucket/run")
  writer = MetricWriter(workdir, 0)
  write_rows(writer, range(1, 51))
  # Who reads it meanwhile finds every row.
  assert list_steps(workdir) == list(range(1, 51))
  for prefix in ("run/metrics", "run/events"):
    uploads = store.get_uploads(prefix)
    assert uploads == sorted(uploads) and len(uploads) >= 50
    assert len(set(uploads)) >= 6
    sizes = [len(store.read(f"gs://bucket/{name}")) for name in set(uploads)]
    assert max(sizes) < 200 + 80  # By at most a row longer.
  writer.close()
  assert store.find("gs://bucket/run/metrics") == [".jsonl"]
  rows = [{"step": i, "loss": float(i)} for i in range(1, 51)]
  assert get_lines(store, workdir) == rows == metrics.read_rows(workdir)
  # The files of TensorBoard, in the order of their names.
  found = list(read_events(workdir / "events"))
  assert [step for step, _, _ in found] == list(range(1, 51))


def test_rows_stand_once_wherever_a_run_is_killed(store, monkeypatch):
  """Before metrics.jsonl is there, and between it and the end of the parts."""
  monkeypatch.setattr(AppendLog, "PART_BYTES", 100)
  workdir = epath.Path("gs://bucket/run")
  write_rows(MetricWriter(workdir, 0), range(1, 10))
  assert len(store.find("gs://bucket/run/metrics/")) == 3
  # Another takes up the rows to step 7, and is killed before it has a row.
  MetricWriter(workdir, 7)
  assert list_steps(workdir) == list(range(1, 10))
  # The next can not remove the parts at first: it waits with its own.
  deleted = store.fault = lambda action, name: 403 if action == "delete" else 0
  writer = MetricWriter(workdir, 7)
  write_rows(writer, [8])
  assert len(get_lines(store, workdir)) == 7
  assert list_steps(workdir) == list(range(1, 10))
  store.fault = lambda action, name: 0
  writer.write(9, {"loss": -9.0})
  writer.flush()
  assert metrics.read_rows(workdir)[-1] == {"step": 9, "loss": -9.0}
  assert list_steps(workdir) == list(range(1, 10))
  # Killed again, now as it ends.
  store.fault = deleted
  writer.close()
  assert store.find("gs://bucket/run/metrics/") == ["000000.jsonl"]
  assert [row["step"] for row in get_lines(store, workdir)] == list_steps(
    workdir
  )
  assert list_steps(workdir) == list(range(1, 10))
  store.fault = lambda action, name: 0
  MetricWriter(workdir, 9).close()
  assert list_steps(workdir) == list(range(1, 10))
  assert store.find("gs://bucket/run/metrics") == [".jsonl"]


def test_a_table_is_an_object_that_is_written_whole(store):
  """At saves and evaluations, which flush; and at the end."""
  workdir = epath.Path("gs://bucket/run")
  writer = MetricWriter(workdir, 0, named="csv")
  writer.write(1, {"loss": 0.5})
  writer.write(2, {"loss": 0.25})
  writer._writing.result()
  assert not store.get_uploads("run/metrics.csv")
  writer.flush()
  writer.write(2, {"test/loss": 4.0})
  writer.close()
  assert len(store.get_uploads("run/metrics.csv")) == 2
  text = bytes(store.read("gs://bucket/run/metrics.csv")).decode()
  assert text == "step,loss,test/loss\n1,0.5,\n2,0.25,\n2,,4.0\n"
  writer = MetricWriter(workdir, 1, named="csv")
  writer.write(2, {"loss": 3.0})
  writer.close()
  text = bytes(store.read("gs://bucket/run/metrics.csv")).decode()
  assert text == "step,loss\n1,0.5\n2,3.0\n"


def test_a_store_that_is_down_for_a_while(store, impatient, caplog):
  """One warning, and every row in the end."""
  workdir = epath.Path("gs://bucket/run")
  writer = MetricWriter(workdir, 0)
  write_rows(writer, [1, 2])
  store.fault = lambda action, name: 503 if action == "upload" else 0
  write_rows(writer, [3, 4])
  ours = [r.getMessage() for r in caplog.records if "vit_jax" in r.name]
  assert len(ours) == 2 and "metrics.jsonl cannot be written: " in ours[0]
  assert "/events cannot be written: " in ours[1] and "503" in ours[1]
  assert list_steps(workdir) == [1, 2]
  store.fault = lambda action, name: 0
  write_rows(writer, [5])
  writer.close()
  assert [row["step"] for row in get_lines(store, workdir)] == [1, 2, 3, 4, 5]
  found = list(read_events(workdir / "events"))
  assert [step for step, _, _ in found] == [1, 2, 3, 4, 5]
  ours = [r.getMessage() for r in caplog.records if "vit_jax" in r.name]
  assert len(ours) == 2


def test_a_store_that_stays_down(store, impatient, caplog):
  """The run ends all the same, and says what it lost."""
  workdir = epath.Path("gs://bucket/run")
  writer = MetricWriter(workdir, 0)
  store.fault = lambda action, name: 503
  write_rows(writer, [1, 2, 3])
  writer.close()
  text = [r.getMessage() for r in caplog.records if "vit_jax" in r.name][-2:]
  assert text[0].startswith("gs://bucket/run/metrics.jsonl lacks 3 entries: ")
  assert text[1].startswith("gs://bucket/run/events lacks 4 entries: ")
