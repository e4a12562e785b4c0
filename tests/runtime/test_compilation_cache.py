# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import subprocess
import sys
import time

import jax
import jaxlib.version
import pytest

from tests.support import ROOT, build, lower
from vit_jax.runtime import compilation_cache
from vit_jax.runtime.compilation_cache import (
  FIRST_FOR_CPUS,
  describe_cpu,
  find_cache_dir,
  prune,
  timed_compilation,
  use_cache,
)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
  """An empty home of a user who has configured no cache."""
  names = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
  )
  before = {name: getattr(jax.config, name) for name in names}
  jax.config.update("jax_compilation_cache_dir", None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(jax, "device_count", lambda: 1)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_a_resumed_run_compiles_nothing_again(config):
  """Its cache is that of conftest.py, of earlier test runs too: a seed that
  none has had makes a program that is not in it."""
  config["train"]["seed"] = time.time_ns() % 2**32
  for cached in (False, True):
    lowered = lower(build(config, jax.devices()[:1]))
    with timed_compilation() as found:
      lowered.compile()
    assert found.cached == cached and found.seconds > 0


def test_programs_for_accelerators_are_kept_in_the_home(no_cache, tmp_path):
  use_cache("tpu")
  expected = tmp_path / "vit_jax" / "compilation"
  assert jax.config.jax_compilation_cache_dir == str(expected)
  assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
  assert expected.is_dir()


CPUS = {
  "a": "processor : 0\nmodel name : X\nflags : sse avx\ncpu MHz : 1",
  "a again": "processor : 7\nmodel name : X\nflags : sse avx\ncpu MHz : 2",
  "other instructions": "processor : 0\nmodel name : X\nflags : sse",
  "other model": "processor : 0\nmodel name : Y\nflags : sse avx",
  "big and little": "CPU part : 0xd0b\nFeatures : asimd\nCPU part : 0xd05",
  "little": "CPU part : 0xd05\nFeatures : asimd",
}


def test_each_kind_of_cpu_has_programs_of_its_own(
  no_cache, tmp_path, monkeypatch
):
  monkeypatch.setattr(compilation_cache, "FIRST_FOR_CPUS", (0,))
  found = {}
  for name, text in CPUS.items():
    monkeypatch.setattr(compilation_cache, "CPUINFO", tmp_path / name)
    (tmp_path / name).write_text(text)
    jax.config.update("jax_compilation_cache_dir", None)
    use_cache("cpu")
    found[name] = pathlib.Path(jax.config.jax_compilation_cache_dir)
  assert found["a"].parent == tmp_path / "vit_jax" / "compilation"
  assert found["a"].is_dir() and found["a"] == found["a again"]
  assert len(set(found.values())) == len(CPUS) - 1


@pytest.mark.parametrize("text", [None, "", "vendor_id : RISC", "noise"])
def test_programs_for_an_unknown_cpu_are_not_kept(
  no_cache, tmp_path, monkeypatch, text
):
  monkeypatch.setattr(compilation_cache, "CPUINFO", tmp_path / "cpuinfo")
  if text is not None:
    (tmp_path / "cpuinfo").write_text(text)
  use_cache("cpu")
  assert jax.config.jax_compilation_cache_dir is None


def test_a_jaxlib_that_writes_errors_keeps_none_for_cpus(no_cache, monkeypatch):
  monkeypatch.setattr(jaxlib.version, "__version_info__", (0, 10, 1))
  use_cache("cpu")
  assert jax.config.jax_compilation_cache_dir is None


PROGRAM = """
import sys
import jax, jax.numpy as jnp
from vit_jax.runtime.compilation_cache import CACHE_HIT, use_cache

use_cache("cpu")
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
x = jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((9, 9)))
print(float(x), hits.count(CACHE_HIT))
"""


@pytest.mark.skipif(
  jaxlib.version.__version_info__ < FIRST_FOR_CPUS or describe_cpu() is None,
  reason="no programs are kept here",
)
def test_a_process_finds_what_another_left_and_survives_damage(tmp_path):
  """In silence; a damaged entry is compiled again, with a warning."""
  environment = os.environ | {
    "XDG_CACHE_HOME": str(tmp_path),
    "JAX_PLATFORMS": "cpu",
  }
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)

  def run():
    return subprocess.run(
      [sys.executable, "-c", PROGRAM],
      **dict(env=environment, cwd=ROOT, capture_output=True, text=True),
      check=True,
    )

  first, second = run(), run()
  assert first.stdout.split()[0] == second.stdout.split()[0]
  entries = list(tmp_path.glob("vit_jax/compilation/cpu-*/*-cache"))
  assert first.stdout.split()[1] == "0"
  assert second.stdout.split()[1] == str(len(entries))
  assert not second.stderr
  for path in entries:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
  third = run()
  assert third.stdout.split() == [first.stdout.split()[0], "0"]
  assert "persistent compilation cache" in third.stderr


# What a notebook may do before it trains, which jax does not keep.
BEFORE = """
import jax
shown = jax.config.jax_persistent_cache_min_compile_time_secs
jax.config.update("jax_persistent_cache_min_compile_time_secs", 60)
jax.jit(lambda: 0)()
jax.config.update("jax_persistent_cache_min_compile_time_secs", shown)
"""


@pytest.mark.parametrize("before", ["", BEFORE])
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_over_several_cpus_keeps_and_loads_nothing(
  tmp_path, count, before
):
  """Not even where the user asks for it: it could wait for ever."""
  environment = dict(
    JAX_COMPILATION_CACHE_DIR=str(tmp_path),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    JAX_NUM_CPU_DEVICES=str(count),
    JAX_PLATFORMS="cpu",
  )
  subprocess.run(
    [sys.executable, "-c", before + PROGRAM],
    **dict(env=os.environ | environment, cwd=ROOT),
    check=True,
  )
  assert bool(list(tmp_path.iterdir())) == (count == 1)


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
