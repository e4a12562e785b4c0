# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, gone or in the way."""

import contextlib
import re
import resource
import time

import numpy as np
import pytest
from etils import epath

from tests.checkpoint.samples import ABSTRACT, is_equal, make_state, restore
from vit_jax.checkpoint import Checkpointer, CheckpointOptions, save_params
from vit_jax.config import ConfigError, RunError


@contextlib.contextmanager
def full_disk():
  """Files cannot grow beyond two kilobytes, whoever writes them."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_a_run_within_a_step(directory):
  with Checkpointer(directory, CheckpointOptions()) as opened:
    opened.restore(ABSTRACT)
    state = make_state(3)
    with full_disk(), pytest.raises(RunError) as error:
      opened.save(3, state)
      for _ in range(600):
        opened.check()
        time.sleep(0.1)
  text = str(error.value)
  assert "step 3 " in text and f" {directory}: " in text
  assert "File too large" in text and "the newest is step 2;" in text
  # Nothing half-written takes the room that is left, and nothing is lost.
  assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]
  with Checkpointer(directory, CheckpointOptions()) as opened:
    assert int(opened.restore(ABSTRACT).step) == 2
    opened.save(3, make_state(3))
    opened.finish()
  assert is_equal(restore(directory), make_state(3))


def test_a_full_disk_holds_nothing_of_parameters_that_it_cut_short(directory):
  target = directory.parent / "alone"
  params = {"x": np.random.default_rng(0).random(4096, np.float32)}
  with full_disk(), pytest.raises(ConfigError, match="alone cannot be written"):
    save_params(target, params)
  assert not target.exists()
  save_params(target, params)


def test_a_deleted_directory_is_created_again(directory, caplog):
  with Checkpointer(directory, CheckpointOptions(keep=1)) as opened:
    opened.restore(ABSTRACT)
    directory.rmtree()
    opened.save(3, make_state(3))
    opened.finish()
  assert re.search(f"{directory} .*step 3", caplog.text)
  assert is_equal(restore(directory), make_state(3))
  assert [path.name for path in directory.iterdir()] == ["3"]


def test_a_file_in_place_of_a_directory_is_refused(tmp_path):
  (tmp_path / "checkpoints").write_text("")
  with pytest.raises(ConfigError, match="checkpoints cannot be used"):
    Checkpointer(epath.Path(tmp_path) / "checkpoints", CheckpointOptions())
