# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths as people give them."""

import pathlib
import threading

import pytest
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.storage import paths
from vit_jax.storage.paths import answering, locate


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


def test_what_a_path_is():
  assert str(locate("gs://bucket/run")) == "gs://bucket/run"
  assert str(locate("a/b")) == "a/b"
  assert str(locate("~/a")) == str(pathlib.Path.home() / "a")


def test_a_store_that_never_answers_is_said_and_given_up(monkeypatch, caplog):
  monkeypatch.setattr(paths, "SAY_SECONDS", 0.05)
  monkeypatch.setattr(paths, "GIVE_UP_SECONDS", 0.1)
  path, answer = epath.Path("gs://bucket/run"), threading.Event()
  with pytest.raises(ConfigError, match="gs://bucket/run has not answered"):
    answering(path, answer.wait)
  assert "gs://bucket/run does not answer yet" in caplog.text
  answer.set()
  answering(path, answer.wait)
  with pytest.raises(OSError, match="refused"):
    answering(path, lambda: (_ for _ in ()).throw(OSError("refused")))
