# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import json
import pickle

import pytest

import vit_jax
from vit_jax.config import ConfigError

VALUES = dict(accuracy=0.5, loss=1.5, steps=3, seconds=2.0, params_sha256="ab")


def test_a_result_is_its_file_with_names():
  result = vit_jax.Result(VALUES | {"total": 4}, "runs/a")
  assert json.loads(json.dumps(result)) == result == VALUES | {"total": 4}
  for name, value in VALUES.items():
    assert getattr(result, name) == value
  assert result.workdir == "runs/a" and "total=4" in repr(result)
  again = pickle.loads(pickle.dumps(result))
  assert again == result and again.workdir == "runs/a"


def test_what_a_run_did_not_measure_is_none():
  result = vit_jax.Result({"steps": 3}, "runs/a")
  assert result.accuracy is None and result.loss is None


def test_rows_are_read_where_the_run_is(tmp_path):
  rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "metrics.jsonl").write_text(text)
  result = vit_jax.Result(VALUES, str(tmp_path))
  assert result.read_rows() == rows
  (tmp_path / "metrics.jsonl").unlink()
  (tmp_path / "metrics.jsonl").mkdir()
  with pytest.raises(ConfigError, match="cannot be read"):
    result.read_rows()
