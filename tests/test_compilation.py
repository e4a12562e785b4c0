# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import os

import jax
import pytest

from vit_jax.compilation import compile_timed, get_cache_dir, prune, use_cache
from vit_jax.experiment import Experiment


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
  """A home without a cache, of a user who has decided nothing."""
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  yield
  jax.config.update("jax_compilation_cache_dir", before)


def test_a_run_that_goes_on_compiles_nothing_again(config):
  """Its cache is that of conftest.py; the seed makes the program its own."""
  config["train"]["seed"] = 20_261_120
  found = [compile_timed(Experiment(config).lower_train_step) for _ in "12"]
  assert [kept for _, _, kept in found] == [False, True]
  assert all(seconds > 0 for _, seconds, _ in found)


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


def test_a_home_of_no_use_is_one_warning(no_cache, tmp_path, caplog):
  (tmp_path / "vit_jax").write_text("a file in the way")
  use_cache("tpu")
  assert jax.config.jax_compilation_cache_dir is None
  [record] = caplog.records
  assert "compiled programs are not kept" in record.getMessage()
  assert "JAX_COMPILATION_CACHE_DIR names another" in record.getMessage()


def test_without_a_variable_the_cache_is_under_home(monkeypatch, tmp_path):
  monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert get_cache_dir() == tmp_path / ".cache" / "vit_jax" / "compilation"


def test_the_oldest_programs_go_first(tmp_path):
  for age, name in enumerate("dcba"):
    path = tmp_path / name
    path.write_bytes(bytes(10))
    os.utime(path, (1000 - age, 1000 - age))
  prune(tmp_path, 25)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d"]
  prune(tmp_path, 20)
  assert len(list(tmp_path.iterdir())) == 2
