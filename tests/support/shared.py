# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Directories that all processes of a test run share, each made once."""

import fcntl
import os
import pathlib
from collections.abc import Callable

import pytest


def get_shared_root(factory: pytest.TempPathFactory) -> pathlib.Path:
  """The directory of this test run; pytest-xdist's workers have one each."""
  base = factory.getbasetemp()
  return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def make_once(
  factory: pytest.TempPathFactory,
  name: str,
  make: Callable[[pathlib.Path], object],
) -> pathlib.Path:
  """Returns a directory that the first process to ask for it fills.

  Args:
    factory: `tmp_path_factory`.
    name: of the directory, unique within the test run.
    make: fills the empty directory; the others wait for it.
  """
  root = get_shared_root(factory) / "shared"
  root.mkdir(exist_ok=True)
  directory, made = root / name, root / f"{name}.made"
  with open(root / f"{name}.lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not made.exists():
      directory.mkdir()
      make(directory)
      made.touch()
  return directory
