# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The way from the documented command to the MLP's matrix product is short."""

import sys

import flax.linen as nn
import pytest

from tests.support import ROOT
from vit_jax import main
from vit_jax.experiment import Experiment

PACKAGE = str(ROOT / "vit_jax")


class FoundError(Exception):
  """Ends the run at the first matrix product of an MLP."""


def list_bodies(frame):
  """(file, function) of our frames, the outermost first.

  A lambda is part of the function that it is written in.
  """
  bodies = []
  while frame is not None:
    code = frame.f_code
    name = code.co_qualname.removesuffix(".<locals>.<lambda>")
    if code.co_filename.startswith(PACKAGE):
      name = name.rpartition("<locals>.")[2]
      bodies.append((code.co_filename[len(PACKAGE) + 1 :], name))
    frame = frame.f_back
  return list(dict.fromkeys(reversed(bodies)))


def test_nine_functions_in_six_files(
  data_dir, tmp_path, monkeypatch, fill_state
):
  call = nn.Dense.__call__

  def watch(dense, x):
    bodies = list_bodies(sys._getframe())
    if dense.name == "Dense_0" and ("train_step.py", "train_step") in bodies:
      raise FoundError(bodies)
    return call(dense, x)

  monkeypatch.setattr(nn.Dense, "__call__", watch)
  # Not on the way, and compiled in ten seconds.
  monkeypatch.setattr(Experiment, "make_state", lambda x, _: fill_state(x))
  argv = [
    f"--config={ROOT / 'configs/digits.py'}",
    f"--config.data.dir={data_dir}",
    f"--workdir={tmp_path}",
  ]
  with pytest.raises(FoundError) as found:
    main.main(argv)
  bodies = found.value.args[0]
  assert bodies[0] == ("main.py", "main")
  assert bodies[-1] == ("models/encoder.py", "MlpBlock.__call__")
  assert len(bodies) <= 9, bodies
  assert len({file for file, _ in bodies}) <= 6, bodies
  text = (ROOT / "docs/architecture.md").read_text()
  for file, name in bodies:
    assert f"| `{file}` | `{name}` |" in text
