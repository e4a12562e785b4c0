# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that meet bad numbers, from end to end."""

import json

import jax
import numpy as np
import pytest
from etils import epath

from tests.support import build
from vit_jax.checkpoint import Checkpointer
from vit_jax.config.errors import NonFiniteError
from vit_jax.experiment import Experiment
from vit_jax.objectives import OBJECTIVES, Supervised
from vit_jax.train import train

WHOLE = 16  # Images of a batch.

pytestmark = pytest.mark.usefixtures("same_programs")


class Dividing(Supervised):
  """A loss that is larger the fewer images a batch has, and NaN of none."""

  def loss(self, params, aux, batch, key):
    loss, (metrics, aux) = super().loss(params, aux, batch, key)
    total, count = metrics["loss"]
    factor = WHOLE / count
    return loss * factor, (metrics | {"loss": (total * factor, count)}, aux)


@pytest.fixture
def take_images(monkeypatch):
  """A function that takes all but some images out of batches, by their step."""
  left = {}
  make_batches = Experiment.make_batches

  def make(exp, start_step):
    batches = make_batches(exp, start_step)
    for step, batch in enumerate(batches, start=start_step + 1):
      mask = np.arange(WHOLE) < left.get(step, WHOLE)
      yield batch | {"mask": jax.device_put(mask, batch["mask"].sharding)}

  monkeypatch.setattr(Experiment, "make_batches", make)
  monkeypatch.setitem(OBJECTIVES, "supervised", Dividing)
  return left.update


def read_steps(workdir):
  """Steps of the rows of training."""
  rows = (workdir / "metrics.jsonl").read_text().splitlines()
  return [row["step"] for row in map(json.loads, rows) if "loss" in row]


def list_checkpoints(workdir):
  return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def read_skipped(config, workdir):
  """What the newest checkpoint says was skipped; it has no flag."""
  exp = build(config)
  directory = epath.Path(workdir) / "checkpoints"
  with Checkpointer(directory, exp.checkpoint) as checkpointer:
    found = jax.device_get(checkpointer.restore(exp.abstract_state).nonfinite)
  assert (found.bad_step, found.bad_tensor) == (0, 0)
  return found.skipped[: found.count].tolist()


def get_params(config, workdir, **keys):
  """Digest of the parameters of a run with some other keys under train."""
  config = config | {"train": config["train"] | keys}
  return train(config, str(workdir))["params_sha256"]


def test_a_run_that_stops_goes_on(config, tmp_path, take_images, capsys):
  """No checkpoint of the bad step, though it is due; then past it."""
  config["train"]["log_every"] = 3
  config["checkpoint"] = dict(every=4)
  take_images({4: 0})
  with pytest.raises(NonFiniteError) as caught:
    train(config, str(tmp_path / "run"))
  text = str(caught.value)
  assert text.startswith("step 4: loss is not finite (loss nan, gradient norm")
  assert f"step 3 is saved in {tmp_path / 'run'}; the same command" in text
  for hint in ("train.nonfinite=skip", "optim.lr", "clip_norm", "qk_norm"):
    assert hint in text
  assert list_checkpoints(tmp_path / "run") == [3]
  assert read_steps(tmp_path / "run") == [3]
  assert read_skipped(config, tmp_path / "run") == []
  capsys.readouterr()

  resumed = get_params(config, tmp_path / "run", nonfinite="skip")
  said = capsys.readouterr().err
  assert "resuming after step 3" in said
  assert "step 4: loss is not finite" in said
  assert "skipped (1 so far)" in said
  assert read_skipped(config, tmp_path / "run") == [[4, 4]]
  assert read_steps(tmp_path / "run") == [3, 6]
  whole = get_params(config, tmp_path / "whole", nonfinite="skip")
  assert resumed == whole


def test_a_flag_that_is_read_late_costs_no_row(config, tmp_path, take_images):
  """Steps 3 to 6 were dispatched before step 3 was known."""
  config["train"] |= dict(log_every=2, steps=8)
  take_images({3: 0})
  with pytest.raises(NonFiniteError, match="step 2 is saved"):
    train(config, str(tmp_path))
  assert read_steps(tmp_path) == [2]
  assert list_checkpoints(tmp_path) == [2]


def test_nothing_is_saved_where_nothing_was_trained(
  config, tmp_path, take_images
):
  take_images({1: 0})
  with pytest.raises(NonFiniteError, match="nothing was trained before it"):
    train(config, str(tmp_path))
  assert list_checkpoints(tmp_path) == []


def test_a_run_skips_up_to_its_limit(config, tmp_path, take_images):
  """Steps skipped before the stop count."""
  config["train"] |= dict(nonfinite="skip", max_skipped_steps=1)
  take_images({2: 0, 5: 0})
  with pytest.raises(
    NonFiniteError, match=r"step 5: .*\n.*max_skipped_steps"
  ) as e:
    train(config, str(tmp_path))
  assert "step 4 is saved" in str(e.value)
  assert read_skipped(config, tmp_path) == [[2, 2]]
  assert read_steps(tmp_path) == [2, 4]
  with pytest.raises(NonFiniteError, match=r"step 5: .*\n.*max_skipped_steps"):
    train(config, str(tmp_path))
  get_params(config, tmp_path, max_skipped_steps=2)
  assert read_skipped(config, tmp_path) == [[2, 2], [5, 5]]
  assert read_steps(tmp_path) == [2, 4, 6]


def test_a_run_rolls_back(config, tmp_path, take_images, capsys):
  """As if all steps since the checkpoint had been skipped."""
  config["train"] |= dict(nonfinite="rollback", steps=8)
  config["checkpoint"] = dict(every=3)
  take_images({5: 0})
  found = get_params(config, tmp_path / "run")
  said = capsys.readouterr().err
  for fact in ("checkpoint of step 3", "steps 4 to 5", "rollback 1 of 10"):
    assert fact in said
  assert read_skipped(config, tmp_path / "run") == [[4, 5]]
  assert read_steps(tmp_path / "run") == [2, 4, 6, 8]
  take_images({4: 0})
  assert found == get_params(config, tmp_path / "skip", nonfinite="skip")
  assert read_skipped(config, tmp_path / "skip") == [[4, 4], [5, 5]]


def test_the_last_step_may_be_rolled_back(config, tmp_path, take_images):
  config["train"]["nonfinite"] = "rollback"
  config["checkpoint"] = dict(every=5)
  take_images({6: 0})
  train(config, str(tmp_path))
  assert list_checkpoints(tmp_path) == [5, 6]
  assert read_skipped(config, tmp_path) == [[6, 6]]


def test_without_a_checkpoint_a_rollback_is_a_stop(
  config, tmp_path, take_images
):
  config["train"] |= dict(nonfinite="rollback", max_skipped_steps=1)
  take_images({3: 0, 5: 0})
  with pytest.raises(NonFiniteError, match="step 2 is saved.*checkpoint.every"):
    train(config, str(tmp_path))
  # Which is there now; but from it only one step back is allowed.
  with pytest.raises(NonFiniteError, match=r"step 5: .*\n.*max_skipped_steps"):
    train(config, str(tmp_path))
  assert read_skipped(config, tmp_path) == [[3, 3]]


def test_what_follows_bad_numbers_changes_no_good_ones(config, tmp_path):
  """An overflow in the optimizer ends a run; without one all are the same."""
  found = {
    get_params(config, tmp_path / mode, nonfinite=mode)
    for mode in ("stop", "skip")
  }
  assert len(found) == 1
  config["optim"]["lr"] = 1e38
  # The first step of a warm-up has a learning rate of zero.
  with pytest.raises(
    NonFiniteError, match="step 2: update of .* is not finite"
  ):
    train(config, str(tmp_path / "large"))
  assert list_checkpoints(tmp_path / "large") == [1]


def test_a_spike_is_reported(config, tmp_path, take_images, capsys):
  """One line and one row, of the step at which the loss jumped."""
  config["optim"] = dict(lr=1e-6)
  config["train"] |= dict(log_every=1, steps=24)
  take_images({22: WHOLE // 2})
  train(config, str(tmp_path))
  lines = capsys.readouterr().err.splitlines()
  (line,) = (line for line in lines if "jumped" in line)
  assert line.startswith("step 22: ") and " 4.6" in line and " 2.30" in line
  rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
  (row,) = (
    row for row in map(json.loads, rows) if any("spike" in key for key in row)
  )
  assert set(row) == {
    *("step", "spike/step", "spike/level", "spike/loss"),
    *("spike/grad_norm", "spike/update_norm"),
  }
  assert row["step"] == row["spike/step"] == 22
  assert row["spike/loss"] == pytest.approx(2 * row["spike/level"], rel=0.01)
  assert read_steps(tmp_path) == list(range(1, 25))
