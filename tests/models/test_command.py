# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The command `python -m vit_jax.models`: refusals and its end."""

import subprocess
import sys

import pytest

from tests.support import ROOT
from vit_jax.models import __main__ as command


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--checkpoints", "B/17"], "of 'B/17'; did you mean 'B/16'?"),
    (["--download=augreg-b61-i21k"], "did you mean 'augreg-b16-i21k'?"),
    (["--checkpoints", "--to=x"], "--download=NAME"),
    (["--download=vit-b16-i21k", "B/16"], "--checkpoints and --to only"),
    (["--download=vit-b16-i21k", "--json"], "--checkpoints and --to only"),
    (["--download=vit-b16-i21k", "--to=/dev/null"], "is not a directory"),
    (["B/15"], "B/15: its patches do not divide"),
  ],
)
def test_the_command_explains(arguments, message, capsys):
  with pytest.raises(SystemExit) as caught:
    command.main(arguments)
  assert caught.value.code == 2
  assert message in capsys.readouterr().err


def test_a_reader_that_ends_early_ends_it_quietly():
  command = f"{sys.executable} -m vit_jax.models --checkpoints | head -1"
  done = subprocess.run(
    ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
    capture_output=True,
    cwd=ROOT,
  )
  assert done.returncode in (0, 141) and not done.stderr
