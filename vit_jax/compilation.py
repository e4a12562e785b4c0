# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Compiling the training step, once for all runs that have the same one.

Compiled programs are kept in a directory that runs share, by JAX's own
persistent cache. JAX writes an entry at the end of a compilation and reads it
as an ordinary miss when it is damaged, so nothing here can end a run.
"""

import os
import pathlib
import stat
import time
from collections.abc import Callable

import jax
from absl import logging

LIMIT = 8 * 2**30  # Bytes; a step of ViT-G is 0.04 GiB of them.
HIT = "/jax/compilation_cache/cache_hits"


def get_cache_dir() -> pathlib.Path:
  """Where compiled programs are kept when nobody says."""
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "vit_jax" / "compilation"


def use_cache(platform: str) -> None:
  """Turns the persistent cache on, if the user has not decided otherwise.

  JAX_COMPILATION_CACHE_DIR is another directory, on any platform, and
  JAX_ENABLE_COMPILATION_CACHE=false none. Not on a CPU: its programs are made
  for the very processor, and a home that several machines share would hand them
  to another, which may lack an instruction and end the process.

  Args:
    platform: that is compiled for: "tpu", "gpu" or "cpu".
  """
  config = jax.config
  if platform == "cpu" or not config.jax_enable_compilation_cache:
    return
  if config.jax_compilation_cache_dir:
    return
  try:
    directory = get_cache_dir()
    directory.mkdir(parents=True, exist_ok=True)
    prune(directory, LIMIT)
    if not os.access(directory, os.W_OK):
      raise PermissionError(f"{directory} can not be written")
  except (OSError, RuntimeError) as error:
    logging.warning(
      "compiled programs are not kept: %s; JAX_COMPILATION_CACHE_DIR names "
      "another directory",
      error,
    )
    return
  config.update("jax_compilation_cache_dir", os.fspath(directory))


def prune(directory: pathlib.Path, limit: int) -> None:
  """Removes what was written longest ago until `limit` bytes are left.

  JAX's own bound needs a package that locks files; other processes may remove
  the same ones here.
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


def compile_timed(
  lower: Callable[[], jax.stages.Lowered],
) -> tuple[jax.stages.Compiled, float, bool]:
  """Traces and compiles a program.

  Returns:
    The program, the seconds that it took, and whether it was in the cache.
  """
  hits = []

  def listen(event: str, **_) -> None:
    if event == HIT:
      hits.append(event)

  began = time.monotonic()
  lowered = lower()
  jax.monitoring.register_event_listener(listen)
  try:
    compiled = lowered.compile()
  finally:
    jax.monitoring.unregister_event_listener(listen)
  return compiled, time.monotonic() - began, bool(hits)
