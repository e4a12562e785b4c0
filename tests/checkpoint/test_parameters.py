# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters alone, written in chunks and read back."""

import json

import numpy as np
import pytest
from etils import epath

from vit_jax.checkpoint import load_params, parameters, save_params
from vit_jax.checkpoint.checksums import compute_checksum, describe, sum_parts
from vit_jax.config import ConfigError

PARAMS = {
  "blocks": {
    "kernel": np.arange(5 * 64 * 48, dtype=np.float32).reshape(5, 64, 48),
    "bias": np.arange(10, dtype=np.float32).reshape(5, 2),
  },
  "head": np.arange(40, dtype=np.float32).reshape(2, 20).T,
}


def check(found):
  for section, path in (("blocks", "kernel"), ("blocks", "bias")):
    np.testing.assert_array_equal(found[section][path], PARAMS[section][path])
  np.testing.assert_array_equal(found["head"], PARAMS["head"])


def test_what_is_written_is_read(tmp_path, monkeypatch):
  # A layer is 12,288 bytes, more than a chunk.
  monkeypatch.setattr(parameters, "CHUNK", 1 << 13)
  directory = epath.Path(tmp_path / "checkpoints")
  save_params(directory, PARAMS)
  check(load_params(directory))
  place = directory / "0" / "state" / "params.blocks.kernel"
  chunks = json.loads((place / "zarr.json").read_text())["chunk_grid"]
  assert chunks["configuration"]["chunk_shape"][0] == 1
  with pytest.raises(ConfigError, match="holds checkpoints already"):
    save_params(directory, PARAMS)


def test_what_reads_back_otherwise_is_an_error(tmp_path, monkeypatch):
  sums = iter(range(100))
  monkeypatch.setattr(
    parameters, "compute_checksum", lambda array: f"x {next(sums)}"
  )
  with pytest.raises(
    ConfigError, match="0 differs from what was written: array"
  ):
    save_params(epath.Path(tmp_path / "checkpoints"), PARAMS)


def test_a_disk_that_takes_nothing_is_named(tmp_path):
  (tmp_path / "file").touch()
  directory = epath.Path(tmp_path / "file" / "checkpoints")
  with pytest.raises(ConfigError, match="file.* cannot be"):
    save_params(directory, PARAMS)


def test_sums_of_parts_are_those_of_the_whole():
  array = np.random.default_rng(0).integers(0, 1 << 32, (7, 11), np.uint32)
  parts = [array[:3], array[3:4], array[4:]]
  assert sum_parts(describe(array), parts) == compute_checksum(array)
  assert sum_parts(describe(array), parts[::-1]) != compute_checksum(array)
