# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""timm's training step does what ours does, so that their times compare."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import build
from vit_jax.benchmark import timm_step
from vit_jax.benchmark.peer import make_task
from vit_jax.benchmark.step import Step
from vit_jax.benchmark.timing import Schedule
from vit_jax.config import ConfigError

pytestmark = pytest.mark.judges

SCHEDULE = Schedule(warmup=1, steps=1, repeats=2)


def make_experiment(**sections):
  config = {
    "model": dict(variant="mu/4", dtype="float32"),
    "data": dict(source="synthetic:10", size=16),
    "optim": dict(lr=1e-3),
    "train": dict(steps=1, batch_size=8),
  }
  return build(config | sections, jax.devices()[:1])


@pytest.fixture
def uncompiled(torch, timm, monkeypatch):
  """torch with gradients and with a compiler that does not work."""

  def fail(function):
    def call(*arguments):
      raise RuntimeError("no C++ compiler\nsecond line")

    return call

  monkeypatch.setattr(torch, "compile", fail)
  with torch.enable_grad():
    yield torch


@pytest.mark.parametrize(
  "objective", [{}, dict(cross_entropy="sigmoid", label_smoothing=0.1)]
)
def test_both_compute_one_loss(uncompiled, objective):
  exp = make_experiment(objective=objective)
  step = timm_step.TimmStep(make_task(exp), SCHEDULE)
  ours = Step(exp, SCHEDULE)
  # Without weights in common the losses of new models are close all the same:
  # those of uniform predictions, which heads of zero make in ours.
  params = jax.tree.map(np.zeros_like, jax.device_get(exp.make_state().params))
  batch = {
    "image": jnp.zeros((8, 16, 16, 3)),
    "label": jnp.asarray(np.asarray(step._labels, np.int32)),
    "mask": jnp.ones(8, bool),
  }
  loss, _ = exp.objective.loss(params, {}, batch, jax.random.key(0))
  for parameter in step._model.parameters():
    parameter.data.zero_()
  theirs = step._compute(step._images, step._labels)
  assert theirs.item() == pytest.approx(float(loss), rel=1e-5)  # float32 twice.
  assert len(ours.time()) == len(step.time()) == 2


def test_a_compiler_that_fails_is_said(uncompiled):
  step = timm_step.TimmStep(make_task(make_experiment()), SCHEDULE)
  assert not step.facts["compiled"]
  assert step.facts["note"].endswith("no C++ compiler")
  assert step.facts["model"] == "timm's VisionTransformer"


def test_another_model_is_refused(timm):
  task = make_task(make_experiment(model=dict(variant="Ti/16"))).model
  task.fields["depth"] = 11
  with pytest.raises(ConfigError, match="vit_tiny_patch16_224"):
    timm_step.make_model(timm, task)


def test_without_timm_the_command_that_installs_it_is_named(monkeypatch):
  monkeypatch.setattr(timm_step.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ConfigError, match=r"torch and timm.*vit_jax\[judges\]"):
    timm_step.import_timm()
