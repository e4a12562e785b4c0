# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Compilation cache: runs with the same training step compile it once.

JAX's persistent cache keeps compiled programs in a directory that runs share.
JAX writes an entry after compiling, and treats a damaged one as a miss, so the
cache cannot end a run.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import stat
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax
import jaxlib.version
from absl import logging
from jax.experimental.compilation_cache import compilation_cache

MAX_BYTES = 8 * 2**30  # A training step of ViT-G takes 0.04 GiB.
# Earlier ones write an error for every program of a CPU that they find.
FIRST_FOR_CPUS = (0, 10, 2)
CPUINFO = pathlib.Path("/proc/cpuinfo")
# What says which instructions a processor has, and which are fast on it.
FEATURES = ("model name", "flags", "Features", "CPU part")
CACHE_HIT = "/jax/compilation_cache/cache_hits"


def find_cache_dir() -> pathlib.Path:
  """Returns the default cache directory, under $XDG_CACHE_HOME or ~/.cache."""
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "vit_jax" / "compilation"


def describe_cpu() -> str | None:
  """Returns a digest of the features of this machine's CPU; None if unknown."""
  try:
    lines = CPUINFO.read_text().splitlines()
  except OSError:  # Linux only.
    return None
  pairs = (line.partition(":") for line in lines)
  found = {f"{name.strip()}:{x}" for name, _, x in pairs if x}
  facts = [x for x in sorted(found) if x.partition(":")[0] in FEATURES]
  if not facts:
    return None
  return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def use_cache(platform: str) -> None:
  """Turns the persistent cache on, unless the user has configured JAX's.

  JAX_COMPILATION_CACHE_DIR names another directory, on any platform, and
  JAX_ENABLE_COMPILATION_CACHE=false turns the cache off. Programs for a CPU
  use all instructions of one processor, and machines that share a home
  directory would crash on those that theirs lacks: each kind of CPU has a
  directory of its own, and where the kind cannot be told there is no cache.

  A run over several devices that are CPUs has no cache, whoever configured it.
  XLA keeps the order of what they send in a loop and what they send outside of
  it only in the process that compiled the program (1). Where it is loaded, one
  device can wait in the loop for another that waits before it, for ever.

  (1) thunk_proto_serdes.cc: each loop gets a communicator resource of its own.

  A directory that cannot be written is a warning.

  Args:
    platform: "tpu", "gpu" or "cpu".
  """
  config = jax.config
  if not config.jax_enable_compilation_cache:
    return
  if platform == "cpu" and jax.device_count() > 1:
    config.update("jax_enable_compilation_cache", False)
    # Or jax goes on as it did for what was compiled before, as in a notebook.
    compilation_cache.reset_cache()
    return
  if config.jax_compilation_cache_dir:
    return
  cpu = describe_cpu() if platform == "cpu" else ""
  if cpu is None or (cpu and jaxlib.version.__version_info__ < FIRST_FOR_CPUS):
    return
  try:
    directory = find_cache_dir()
    if cpu:
      directory /= f"cpu-{cpu}"
    directory.mkdir(parents=True, exist_ok=True)
    prune(directory, MAX_BYTES)
    if not os.access(directory, os.W_OK):
      raise PermissionError(f"{directory} cannot be written")
  except (OSError, RuntimeError) as error:
    logging.warning(
      "compiled programs are not cached: %s; set JAX_COMPILATION_CACHE_DIR to "
      "another directory",
      error,
    )
    return
  config.update("jax_compilation_cache_dir", os.fspath(directory))
  # Small programs too, of which a start has many.
  config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def prune(directory: pathlib.Path, limit: int) -> None:
  """Removes the oldest files until at most `limit` bytes are left.

  JAX's own limit needs a package for file locks. Here other processes may
  remove the same files at the same time.
  """
  found = []
  for path in directory.iterdir():
    try:
      status = path.stat()
    except FileNotFoundError:
      continue
    if stat.S_ISREG(status.st_mode):
      found.append((status.st_mtime, status.st_size, path))
  total = sum(size for _, size, _ in found)
  for _, size, path in sorted(found):
    if total <= limit:
      break
    path.unlink(missing_ok=True)
    total -= size


@dataclasses.dataclass
class Compilation:
  """The cost of a compilation.

  Attributes:
    seconds: time that it took.
    cached: whether the program was in the persistent cache.
  """

  seconds: float = 0.0
  cached: bool = False


@contextlib.contextmanager
def timed_compilation() -> Iterator[Compilation]:
  """Wraps a compilation in this thread; yields its cost, known at the end."""
  found, thread = Compilation(), threading.get_ident()

  def listen(event: str, **_: Any) -> None:
    mine = threading.get_ident() == thread  # Others may compile meanwhile.
    found.cached |= mine and event == CACHE_HIT

  began = time.monotonic()
  jax.monitoring.register_event_listener(listen)
  try:
    yield found
  finally:
    jax.monitoring.unregister_event_listener(listen)
    found.seconds = time.monotonic() - began
