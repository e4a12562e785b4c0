# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a workdir records of a run."""

import os
import sys

import pytest
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.runtime.workdir import check_letters, find_command

FLAGS = ["--config=digits:variant=Ti/2", "--workdir=my runs/a"]
QUOTED = "--config=digits:variant=Ti/2 '--workdir=my runs/a'"


@pytest.mark.parametrize(
  ("words", "command"),
  [
    (
      ["/env/bin/python3", "-X", "dev", "-m", "vit_jax.main", *FLAGS],
      f"python -m vit_jax.main {QUOTED}",
    ),
    (
      ["/env/bin/python3", "/env/bin/vit-jax", "main", *FLAGS],
      f"vit-jax main {QUOTED}",
    ),
    (
      ["/env/bin/python3", "-m", "vit_jax", "main", *FLAGS],
      f"vit-jax main {QUOTED}",
    ),
    (["python", "-m", "vit_jax.study", "seeds", *FLAGS], None),
    (["/env/bin/python3", "/env/bin/vit-jax", "study", "main"], None),
    (["python", "-m", "ipykernel_launcher", "-f", "kernel.json"], None),
  ],
)
def test_the_command_of_a_run_is_that_of_a_shell(words, command, monkeypatch):
  monkeypatch.setattr(sys, "orig_argv", words)
  assert find_command() == command


@pytest.mark.parametrize(
  ("name", "why"),
  [("run [1]", r"with \[ and \]"), (b"caf\xe9", r"caf\\xe9: .* not UTF-8")],
)
def test_a_path_that_nothing_is_saved_below(name, why, tmp_path):
  path = tmp_path / os.fsdecode(name)
  with pytest.raises(ConfigError, match=why):
    check_letters(epath.Path(path), str(path))
