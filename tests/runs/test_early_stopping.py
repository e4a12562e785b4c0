# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run that its evaluations end, whole, interrupted and on two hosts."""

import json

import pytest

from tests.support.processes import finish, read_run, start_together
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.metrics.rows import read_rows
from vit_jax.sections import resolve
from vit_jax.train import train

pytestmark = pytest.mark.usefixtures("same_programs")


@pytest.fixture
def still(config):
  """A run that ends by what never changes, the number of test images."""
  config["train"] |= dict(steps=20, stop_by="test/total", patience=2)
  config["evals"]["test"]["every"] = 2
  return config


def test_a_run_ends_early_and_stays_so(still, tmp_path, capsys, ask_at):
  result = train(still, str(tmp_path / "one"))
  assert result["steps"] == 6
  assert "best after step 2" in capsys.readouterr().err
  rows = read_rows(tmp_path / "one")
  assert max(row["step"] for row in rows) == 6
  assert [x.name for x in (tmp_path / "one" / "checkpoints").iterdir()] == ["6"]
  # The same command finds it finished.
  assert train(still, str(tmp_path / "one")) == result
  assert "already finished at step 6" in capsys.readouterr().err
  # Interrupted, it ends at the same step, with the same parameters.
  ask_at(5)
  with pytest.raises(Preempted):
    train(still, str(tmp_path / "two"))
  assert (
    train(still, str(tmp_path / "two"))["params_sha256"]
    == (result["params_sha256"])
  )
  # With more patience it goes on.
  still["train"]["patience"] = 4
  assert train(still, str(tmp_path / "one"))["steps"] == 10


def test_it_is_evaluated_again_without_its_result(still, tmp_path):
  result = train(still, str(tmp_path))
  (tmp_path / "result.json").unlink()
  again = train(still, str(tmp_path))
  assert again["params_sha256"] == result["params_sha256"]
  assert json.loads((tmp_path / "result.json").read_text())["steps"] == 6


def test_the_metric_is_checked(still):
  still["train"]["stop_by"] = "test/acuracy"
  with pytest.raises(ConfigError, match="train.stop_by.*'test/accuracy'"):
    resolve(still)
  still["train"]["stop_by"] = "test/loss"
  still["evals"]["test"]["every"] = None
  with pytest.raises(ConfigError, match="set evals.NAME.every"):
    resolve(still)


def test_two_hosts_end_at_the_same_step(tmp_path, data_dir):
  """As one does above: of a metric that never changes, after patience."""
  flags = [
    *("--config.train.steps=20", "--config.train.patience=2"),
    "--config.train.stop_by=test/total",
    *("--config.evals.test.every=2", "--config.evals.test.split=test[:64]"),
  ]
  for process in start_together(2, tmp_path, data_dir, *flags):
    finish(process)
  result, _ = read_run(tmp_path)
  assert result["steps"] == 6
