# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths as people give them."""

import pathlib
import threading

import pytest

import vit_jax
from vit_jax.config import ConfigError
from vit_jax.convert import __main__ as convert
from vit_jax.convert import inherit
from vit_jax.data import sources
from vit_jax.hosts.coordination import Hosts
from vit_jax.runtime import workdir
from vit_jax.storage import paths
from vit_jax.storage.paths import locate


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ("https://x.org/B_16.npz", "download it first"),
    ("s3://bucket/run", "download it first"),
    ("hf://google/vit", "download it first"),
    ("file:///tmp/x", "without file://"),
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
  ],
)
def test_all_that_reads_a_bucket_waits_for_it_alike(silent, act, capsys):
  with pytest.raises((ConfigError, SystemExit)) as error:
    act("gs://silent/run")
  text = str(error.value) + capsys.readouterr().err
  assert "gs://silent has not answered" in text
