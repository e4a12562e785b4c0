# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths as people give them."""

import os
import pathlib
import threading

import pytest
import sklearn

import vit_jax
from tests.support import ROOT
from vit_jax import predict
from vit_jax.benchmark import __main__ as benchmark
from vit_jax.config import ConfigError
from vit_jax.convert import __main__ as convert
from vit_jax.convert import inherit
from vit_jax.data import sources
from vit_jax.hosts.coordination import Hosts
from vit_jax.prepare import __main__ as prepare
from vit_jax.runtime import workdir
from vit_jax.storage import paths
from vit_jax.storage.paths import locate
from vit_jax.study import __main__ as study

DIGITS = [f"--config={ROOT / 'configs/digits.py'}"]
PHOTOGRAPH = pathlib.Path(sklearn.__file__).parent / "datasets/images/china.jpg"


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ("https://x.org/B_16.npz", "download it first"),
    ("s3://bucket/run", "download it first"),
    ("hf://google/vit", "download it first"),
    ("file:///tmp/x", "without file://"),
    ("gs:/bucket/run", "begins with gs://; a .* is ./gs:/bucket/run"),
    (pathlib.PurePath("s3://bucket/run"), "begins with s3://"),
    ("gs://", "names no bucket"),
    ("gs:///run", "names no bucket"),
    ("~nouser/run", "no user 'nouser'"),
    ("x" * 3000, "at most 255 bytes"),
    ("a/" * 3000, "at most 255 bytes, a path 4095"),
    ("a\0b", "null character"),
  ],
)
def test_what_no_path_is(given, message):
  with pytest.raises(ConfigError, match=message) as error:
    locate(given)
  assert len(str(error.value)) < 400


def test_what_a_path_is(monkeypatch):
  monkeypatch.setattr(paths, "ask", lambda bucket: None)
  assert str(locate("gs://bucket/run")) == "gs://bucket/run"
  assert str(locate("a/b")) == "a/b"
  assert str(locate("~/a")) == str(pathlib.Path.home() / "a")


@pytest.fixture
def silent(monkeypatch):
  """A store that answers once its event is set."""
  monkeypatch.setattr(paths, "SAY_SECONDS", 0.05)
  monkeypatch.setattr(paths, "GIVE_UP_SECONDS", 0.1)
  answer = threading.Event()
  monkeypatch.setattr(paths, "ask", lambda bucket: answer.wait())
  paths.check_answers.cache_clear()
  yield answer
  answer.set()
  paths.check_answers.cache_clear()


def test_a_store_that_never_answers_is_said_and_given_up(silent, caplog):
  with pytest.raises(ConfigError, match="gs://bucket has not answered"):
    locate("gs://bucket/run")
  assert "gs://bucket does not answer yet" in caplog.text
  silent.set()
  assert str(locate("gs://bucket/run")) == "gs://bucket/run"


@pytest.mark.parametrize(
  "act",
  [
    lambda path: vit_jax.load(path),
    lambda path: inherit.inherit({"init": path, "model": {}}, None),
    lambda path: inherit.inherit({"init": "x", "model": {}}, path),
    lambda path: sources.load_info("tfds:digits", path),
    lambda path: workdir.open_workdir(path, Hosts(), 1.0),
    lambda path: convert.main([path, "a.npz"]),
    lambda path: predict.main([path, os.fspath(PHOTOGRAPH)]),
    lambda path: predict.main(["a.npz", path]),
    lambda path: prepare.main(["digits", f"--data_dir={path}"]),
    lambda path: prepare.main([f"folder:{path}"]),
    lambda path: prepare.main([f"manifest:{path}"]),
    lambda path: prepare.main(["imagenet2012", f"--manual_dir={path}"]),
    lambda path: benchmark.main(["checkpoint", f"--workdir={path}"]),
    lambda path: benchmark.main(["infer", f"--weights={path}"]),
    lambda path: benchmark.main(["startup", f"--config.data.dir={path}"]),
    lambda path: benchmark.main(["startup", f"--config.init={path}"]),
    lambda path: study.main(["seeds", *DIGITS, f"--workdir={path}"]),
  ],
)
def test_all_that_reads_a_bucket_waits_for_it_alike(silent, act, capsys):
  with pytest.raises((ConfigError, SystemExit)) as error:
    act("gs://silent/run")
  text = str(error.value) + capsys.readouterr().err
  assert "gs://silent has not answered" in text


@pytest.mark.parametrize(
  "act",
  [
    lambda path: workdir.open_workdir(path, Hosts(), 1.0),
    lambda path: prepare.main(["digits", f"--data_dir={path}"]),
    lambda path: study.main(["seeds", *DIGITS, f"--workdir={path}"]),
  ],
)
def test_a_path_that_is_no_text_is_refused(act, tmp_path, capsys):
  with pytest.raises((ConfigError, SystemExit)) as error:
    act(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
  text = " ".join((str(error.value) + capsys.readouterr().err).split())
  assert "caf\\xe9: nothing can be saved below a path that is not UTF" in text
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  ("below", "says"),
  [
    ("new/directory", None),
    ("", None),
    ("file", "file is not a directory"),
    ("file/run", "file is not a directory"),
    ("broken/run", "broken is not a directory"),
  ],
)
def test_a_directory_that_can_be_made(tmp_path, below, says):
  (tmp_path / "file").write_text("")
  (tmp_path / "broken").symlink_to(tmp_path / "none")
  before = sorted(tmp_path.rglob("*"))
  if says is None:
    paths.check_directory(locate(tmp_path / below), "--to=x")
  else:
    with pytest.raises(ConfigError, match=f"--to=x: .*{says}"):
      paths.check_directory(locate(tmp_path / below), "--to=x")
  assert sorted(tmp_path.rglob("*")) == before


def test_a_store_is_said_within_ten_seconds_of_a_start():
  assert paths.SAY_SECONDS <= 3 < paths.GIVE_UP_SECONDS
