# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that compare views: on meshes, resumed, and used."""

import itertools
import json

import jax
import numpy as np
import pytest
from etils import epath

import vit_jax
from tests.support import build, lower
from tests.support.runs import OF_CALL, get_timeless
from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.sections import resolve
from vit_jax.train import train
from vit_jax.train_state import compute_digest

OBJECTIVES = {
  "moco": dict(hidden=32, outputs=24),
  "dino": dict(hidden=32, outputs=24, bottleneck=16),
}
VIEWS = {"moco": dict(count=2), "dino": dict(count=2, local=2, local_size=4)}


def make(config, name):
  """A run of a few seconds that compares views of the digits."""
  config["model"]["dropout"] = 0.0
  config["data"] |= dict(augment=dict(flip=True), views=VIEWS[name])
  config["objective"] = dict(name=name) | OBJECTIVES[name]
  del config["optim"]["ema"]
  config["evals"] = dict(
    test=dict(split="test[:40]", train_split="train[:100]", batch_size=24)
  )
  return config


def run(exp, steps):
  """Trains a few steps; the state, and every step's metrics."""
  state, step, history = exp.make_state(), lower(exp).compile(), []
  for batch in itertools.islice(exp.make_batches(0), steps):
    state, metrics = step(state, batch)
    history.append({k: float(s / n) for k, (s, n) in metrics.items()})
  return state, history


@pytest.mark.parametrize("name", OBJECTIVES)
def test_eight_devices_do_what_one_does(config, name, eight_devices):
  """Loss, centre and average; DINO's in micro-batches, too."""
  config = make(config, name)
  one = build(config, jax.devices()[:1])
  state, expected = run(one, 2)
  config["mesh"] = dict(fsdp=4, tensor=2)
  eight = build(config)
  if name == "dino":
    config["train"]["accumulate"] = 2
    eight = build(config)
    kernel = eight.abstract_state.aux["teacher"]["dino"]["last"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (4, 12)
  sharded, history = run(eight, 2)
  for a, b in zip(expected, history, strict=True):
    # Of a micro-batch, what is said of a batch is another.
    same = ("loss", "grad_norm") if name == "dino" else a
    for key in same:
      # DINO's low temperatures enlarge roundings.
      assert a[key] == pytest.approx(b[key], rel=2e-4, abs=1e-6), key
  pairs = zip(*map(jax.tree.leaves, (state.aux, sharded.aux)), strict=True)
  for a, b in pairs:
    # An average has moved by 1 % of Adam's steps, which rounding may turn.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


@pytest.mark.usefixtures("same_programs")
def test_a_run_resumes_to_the_bit_and_is_used(
  config, tmp_path, monkeypatch, ask_at, capsys
):
  """DINO's: its teacher is evaluated, exported, and fine-tuned."""
  config = make(config, "dino")
  with monkeypatch.context() as patch:
    patch.setattr("vit_jax.objectives.dino.COLLAPSED", 10.0)
    result = train(config, str(tmp_path / "straight"))
  text = capsys.readouterr().err
  assert text.count("collapsed") == 1 and "step 6: " in text  # Third row.
  ask_at(3)
  resumed = tmp_path / "resumed"
  with pytest.raises(Preempted, match="saved step 3"):
    train(config, str(resumed))
  monkeypatch.undo()
  again = train(config, str(resumed))
  assert "collapsed" not in capsys.readouterr().err
  for name in set(result) - OF_CALL:
    assert again[name] == result[name], name
  rows = [
    get_timeless(map(json.loads, (path / "metrics.jsonl").open()))
    for path in (tmp_path / "straight", resumed)
  ]
  assert rows[0] == rows[1]
  assert {"loss", "entropy", "information", "spread"} <= rows[0][0].keys()
  assert "test/accuracy_knn" in rows[0][-1]

  exp = build(config)
  directory = epath.Path(resumed / "checkpoints")
  with Checkpointer(directory, exp.checkpoint) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  teacher = dict(state.aux["teacher"])
  del teacher["dino"]
  model, _ = vit_jax.load(str(resumed))
  assert compute_digest(model.params) == compute_digest(teacher)
  raw = dict(state.params)
  del raw["dino"]
  assert compute_digest(raw) != compute_digest(teacher)
  found = dict(exp.evaluators["test"].run(state))
  assert found["accuracy_knn"] == rows[0][-1]["test/accuracy_knn"]

  # A run that starts from it; its own teacher starts from the same.
  config["init"] = str(resumed)
  exp = build(config)
  given, _ = exp.load_init()
  state = exp.make_state(given)
  for tree in (state.params, state.aux["teacher"]):
    tree = {k: x for k, x in tree.items() if k != "dino"}
    assert compute_digest(tree) == compute_digest(teacher)


def test_a_run_of_before_resumes(config):
  """One that was recorded when a config had no views."""
  from vit_jax.runtime.resume import check_config

  now = json.loads(json.dumps(resolve(config), default=dict))
  then = json.loads(json.dumps(now))
  del then["data"]["views"]
  check_config(then, now, extend=False)
  now["data"]["views"]["count"] = 2
  with pytest.raises(ConfigError, match=r"\+ data\.views\.count=2"):
    check_config(then, now, extend=False)


@pytest.mark.parametrize(
  ("change", "key"),
  [
    (dict(evals=dict(test=dict(split="test", kind="loss"))), "evals.test.kind"),
    (dict(train=dict(batch_size=16, steps=2, accumulate=2)), "accumulate=2"),
    (dict(data=dict(source="tfds:digits", size=8)), "data.views.count=1"),
  ],
)
def test_what_does_not_go_together_is_named(config, data_dir, change, key):
  config = make(config, "moco") | change
  config["data"] = config["data"] | dict(dir=data_dir)
  with pytest.raises(ConfigError, match=key):
    build(config)


def test_a_teacher_has_no_other_average_beside_it(config):
  """That was evaluated and exported in place of the teacher."""
  config = make(config, "dino")
  config["optim"] = config["optim"] | dict(ema=0.9)
  with pytest.raises(ConfigError, match="optim.ema=0.9 averages the student"):
    resolve(config)
  resolve(make(config, "moco"))


@pytest.mark.parametrize("name", ["supervised", "mae"])
def test_views_that_nothing_compares_are_refused(config, name):
  """They were cut out and not read: no more images, as it may have seemed."""
  config = make(config, "moco") | dict(objective=dict(name=name), evals={})
  config["data"] = config["data"] | dict(views=dict(count=3, local=2))
  with pytest.raises(ConfigError) as caught:
    resolve(config)
  assert "data.views.count=3 is for objectives that" in str(caught.value)
  assert f"objective.name={name!r} reads one: set it to 0" in str(caught.value)
  config["data"] = config["data"] | dict(views=dict(colour="moco"))
  resolve(config)  # Of the one view.


def test_no_estimate_splits_a_batch_that_is_compared(config, monkeypatch):
  monkeypatch.setattr("vit_jax.devices.fitting.get_memory", lambda _: 1.0)
  config = make(config, "moco")
  config["train"]["accumulate"] = "auto"
  assert build(config, jax.devices()[:1]).fit.accumulate == 1
