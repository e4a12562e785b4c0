# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import os

import jax
import pytest

from tests.support import build, lower
from vit_jax.runtime.compilation_cache import (
  find_cache_dir,
  prune,
  timed_compilation,
  use_cache,
)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
  """An empty home of a user who has configured no cache."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  yield
  jax.config.update("jax_compilation_cache_dir", before)


def test_a_resumed_run_compiles_nothing_again(config):
  """Its cache is that of conftest.py; the seed makes the program its own."""
  config["train"]["seed"] = 20_261_120
  for cached in (False, True):
    lowered = lower(build(config))
    with timed_compilation() as found:
      lowered.compile()
    assert found.cached == cached and found.seconds > 0


def test_programs_for_accelerators_are_kept_in_the_home(no_cache, tmp_path):
  use_cache("cpu")
  assert jax.config.jax_compilation_cache_dir is None
  use_cache("tpu")
  expected = tmp_path / "vit_jax" / "compilation"
  assert jax.config.jax_compilation_cache_dir == str(expected)
  assert expected.is_dir()


def test_what_the_user_decided_stays(no_cache, tmp_path):
  jax.config.update("jax_enable_compilation_cache", False)
  try:
    use_cache("gpu")
  finally:
    jax.config.update("jax_enable_compilation_cache", True)
  assert jax.config.jax_compilation_cache_dir is None
  jax.config.update("jax_compilation_cache_dir", "gs://bucket/cache")
  use_cache("gpu")
  assert jax.config.jax_compilation_cache_dir == "gs://bucket/cache"
  assert not list(tmp_path.iterdir())


def test_an_unusable_home_is_one_warning(no_cache, tmp_path, caplog):
  (tmp_path / "vit_jax").write_text("a file in the way")
  use_cache("tpu")
  assert jax.config.jax_compilation_cache_dir is None
  [record] = caplog.records
  assert str(tmp_path / "vit_jax") in record.getMessage()
  assert "JAX_COMPILATION_CACHE_DIR" in record.getMessage()


def test_without_a_variable_the_cache_is_under_home(monkeypatch, tmp_path):
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert find_cache_dir() == tmp_path / ".cache" / "vit_jax" / "compilation"


def test_the_oldest_programs_go_first(tmp_path):
  for age, name in enumerate("dcba"):
    path = tmp_path / name
    path.write_bytes(bytes(10))
    os.utime(path, (1000 - age, 1000 - age))
  prune(tmp_path, 25)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d"]
  prune(tmp_path, 20)
  assert len(list(tmp_path.iterdir())) == 2
