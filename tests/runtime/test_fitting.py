# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Steps that are made to fit, and what is said when they cannot."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import build
from vit_jax.config.errors import RunError
from vit_jax.devices import fitting
from vit_jax.runtime import fitting as compiling
from vit_jax.runtime.fitting import choose_eval_batch, take_fitting
from vit_jax.runtime.out_of_memory import (
  count_needed,
  describe,
  explained,
  parse_asked,
)
from vit_jax.sharding import count_state_bytes
from vit_jax.train import train
from vit_jax.train_step import trace

GIB = 2**30


@pytest.fixture
def config(config):
  """What other tests give is chosen here."""
  config["model"]["remat"] = config["train"]["accumulate"] = "auto"
  return config


@pytest.fixture
def one_device(config):
  config["model"] |= dict(variant="mu/2", depth=4)
  config["data"] |= dict(augment={}, crop="none", size=32)
  config["train"]["batch_size"] = 64
  return lambda: build(config, jax.devices()[:1])


def test_a_step_that_does_not_fit_is_made_smaller(one_device, monkeypatch):
  """The compiler says that it takes more than was estimated."""
  exp = one_device()
  assert exp.fit == (1, "none")
  step = trace(exp.train_step, exp.mesh, *exp.abstract_inputs).lower().compile()
  monkeypatch.setattr(compiling, "get_memory", lambda device: 1000.0)
  before = exp.train_step
  assert take_fitting(exp, lambda: step) is None
  assert exp.fit == (2, "none") and exp.train_step is not before
  tried = [exp.fit]
  while exp.save_memory():
    tried.append(exp.fit)
  assert tried[-1] == (64, "full") == exp.fit
  assert exp.model.remat == exp.objective.model.remat == "full"
  # There is nothing left to try, and the step may run all the same.
  assert take_fitting(exp, lambda: step) is step


def test_an_evaluation_takes_no_more_images_than_a_micro_batch(one_device):
  exp = one_device()  # 32 images of 257 tokens of 32 stay in a CPU's caches.
  assert exp.evaluators["test"].default_batch_size == 32
  while exp.fit.accumulate < 8:
    exp.save_memory()
  assert exp.evaluators["test"].default_batch_size == 8
  gpu = types.SimpleNamespace(platform="gpu")
  other = types.SimpleNamespace(
    train=types.SimpleNamespace(batch_size=4096),
    fit=fitting.Fit(16, "none"),
    mesh=types.SimpleNamespace(devices=np.array([gpu])),
  )
  assert choose_eval_batch(other) == 256


def test_a_run_fits_into_a_small_memory_and_records_how(
  config, tmp_path, monkeypatch, capsys
):
  config["data"]["augment"] = {}  # Compiled for every fit that is tried.
  state = count_state_bytes(build(config).abstract_state)
  # The state fits, with a tenth of its size for all else.
  limit = 1.1 * state * jax.device_count() / fitting.SHARE["cpu"]
  monkeypatch.setattr(fitting, "find_memory_limit", lambda root: limit)
  train(config, str(tmp_path / "small"))
  found = json.loads((tmp_path / "small/result.json").read_text())["choices"]
  assert found["train.accumulate"] > 1 and found["model.remat"] == "full"
  said = capsys.readouterr().err
  assert f"train.accumulate={found['train.accumulate']}" in said
  # It goes on where there is more.
  monkeypatch.undo()
  config["train"]["steps"] += 1
  result = train(config, str(tmp_path / "small"), extend=True)
  assert result["choices"]["train.accumulate"] == 1


def test_out_of_memory_is_explained(config, monkeypatch):
  exp = build(config)
  with pytest.raises(RunError) as found, explained(exp):
    jnp.zeros((2**50,), jnp.uint8).block_until_ready()
  message = str(found.value)
  assert f"{2**20:,}.00 GiB were asked for" in message
  for key in ("train.accumulate=2", "model.remat=full", "train.batch_size"):
    assert key in message
  with pytest.raises(jax.errors.JaxRuntimeError), explained(exp):
    raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: another fault")
  # As of an objective that compares all images of a batch.
  monkeypatch.setattr(type(exp.objective), "splits", False)
  assert "take less: model.remat=full" in describe(exp, None)


@pytest.mark.parametrize(
  "message, asked",
  [
    ("Out of memory while trying to allocate 61203283968 bytes.", 61203283968),
    ("Out of memory allocating 1125899906842624 bytes.", 2**50),
    ("RESOURCE_EXHAUSTED: failed to allocate 57.00GiB", 57 * GIB),
    ("Ran out of memory in memory space hbm. Used 18.25G of 15.75G hbm", 18.25),
    ("Ran out of memory in memory space hbm. Used 0.5T of 15.75G hbm.", 2**39),
    ("the total memory required for HLO temporaries (71.88G) exceeds", 71.88),
    ("Out of memory", None),
  ],
)
def test_what_xla_asked_for(message, asked):
  asked = int(asked * GIB) if asked and asked < 100 else asked
  assert parse_asked(message) == asked


# Last, for what they use stays until the module ends.
@pytest.mark.usefixtures("optimised")
def test_the_estimate_is_near_what_the_compiler_allocates(one_device):
  exp = one_device()
  (chosen,) = [x for x in exp.choices if x.key == "model.remat"]
  number, unit = chosen.reason.split()[4:6]
  estimate = float(number) * {"MiB": 2**20, "GiB": GIB}[unit]
  traced = trace(exp.train_step, exp.mesh, *exp.abstract_inputs)
  needed = count_needed(traced.lower().compile())
  assert 0.6 * needed < estimate < 1.5 * needed


@pytest.mark.usefixtures("optimised")
def test_a_state_that_is_compiled_faster_is_the_same_to_the_bit(one_device):
  exp = one_device()
  fast, slow = exp.make_state(), jax.jit(exp.init_state)()
  for a, b in zip(jax.tree.leaves(fast), jax.tree.leaves(slow), strict=True):
    assert a.dtype == b.dtype and bool((a == b).all())
