# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of ours, read and written."""

import json

import jax
import numpy as np
import pytest
from etils import epath

from tests.support import build
from tests.support.weights import (
  MIXER,
  check_params,
  check_refused,
  check_same,
  compute_logits,
  lie,
  make_weights,
)
from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError
from vit_jax.convert.manifest_checks import describe_unfinished
from vit_jax.convert.weights import flatten, load_weights
from vit_jax.convert.writing import save_weights
from vit_jax.train import train


def list_files(directory):
  """Every path below a directory, its size and when it was changed."""
  return {
    str(path): (path.stat().st_size, path.stat().st_mtime_ns)
    for path in sorted(directory.rglob("*"))
  }


@pytest.fixture
def run(tmp_path):
  """What is in a run's directory, and the directory."""
  weights = make_weights(class_names=tuple("abcde"), gelu="exact")
  save_weights(weights, str(tmp_path / "run"))
  return weights, tmp_path / "run"


def test_a_run_is_named_by_itself_or_by_a_checkpoint(run, monkeypatch):
  weights, directory = run
  before = list_files(directory)
  for path in (directory, directory / "checkpoints" / "0"):
    found = load_weights(str(path))
    check_same(found, weights)
    assert found.form == "vit_jax" and found.source == str(path)
    assert found.origins == {}
  monkeypatch.chdir(directory.parent)
  check_same(load_weights("run"), weights)
  monkeypatch.chdir(directory / "checkpoints")
  check_same(load_weights("../checkpoints/0"), weights)
  assert list_files(directory) == before


def test_a_relative_path_is_written(run, monkeypatch):
  monkeypatch.chdir(run[1].parent)
  save_weights(run[0], "new/run")
  check_same(load_weights("new/run"), run[0])


def test_weights_are_replaced_only_if_asked(run):
  weights, directory = run
  other = make_weights(MIXER)
  with pytest.raises(ConfigError, match="run exists"):
    save_weights(other, str(directory))
  check_same(load_weights(str(directory)), weights)
  save_weights(other, str(directory), overwrite=True)
  check_same(load_weights(str(directory)), other)
  (directory / "metrics.jsonl").touch()
  with pytest.raises(ConfigError, match="more than weights .metrics.jsonl"):
    save_weights(other, str(directory), overwrite=True)
  check_same(load_weights(str(directory)), other)


def test_fields_of_a_run_can_be_replaced(run):
  weights, directory = run
  found = load_weights(str(directory), gelu="tanh", layer_norm_eps=1e-3)
  assert found.model.gelu == "tanh" and found.model.layer_norm_eps == 1e-3
  check_params(found.params, weights.params)
  assert found.origins == dict.fromkeys(("gelu", "layer_norm_eps"), "given")
  check_refused(str(directory), "/LayerNorm_0/bias (3, 32)", depth=3)
  check_refused(str(directory), "model.gelu='erf'", gelu="erf")
  check_refused(str(directory), "num_heads", num_heads=5)
  check_refused(str(directory), "(224, 224)", source_size=(32, 32))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ("", "manifest.json"),
    ({"model": None}, "model=None must be a section"),
    ({"preprocess": None}, "preprocess=None must be a section"),
    ({"num_classes": None}, "num_classes=None"),
    ({"model.variant": None}, "model.variant is missing"),
    ({"model.variant": "B/3.5"}, "'B/3.5'"),
    ({"model.stages": [1]}, "model.stages"),
    ({"model.patch_size": 0}, "model.patch_size=0"),
    ({"model.num_heads": 5}, "model.num_heads"),
    ({"preprocess.height": 0}, "preprocess.height=0"),
    ({"preprocess.height": 225}, "data.size"),
    ({"preprocess.std": [1, 1]}, "preprocess.std has 2 values"),
  ],
)
def test_a_manifest_that_is_wrong(changes, message, run):
  _, directory = run
  lie(directory / "manifest.json", changes)
  check_refused(str(directory), message)


@pytest.mark.parametrize(
  "changes",
  [
    {"model.width": 48, "model.num_heads": 3},
    {"model.depth": 1},
    {"model.pool": "gap"},
    {"num_classes": 6, "class_names": []},
    {"preprocess.height": 240},
    {"preprocess.channels": 1, "preprocess.mean": [0], "preprocess.std": [1]},
    {"model": dict(variant="R50x1", stages=[1, 1])},
  ],
)
def test_a_manifest_of_another_model(changes, run):
  _, directory = run
  lie(directory / "manifest.json", changes)
  message = check_refused(str(directory), "in its manifest", "differences")
  assert "\n  - " in message and "\n  + " in message


def test_directories_that_are_no_runs(run, tmp_path):
  weights, directory = run
  for path in ("checkpoints/7", "checkpoints", "nowhere"):
    with pytest.raises(ConfigError) as caught:
      load_weights(str(directory / path))
    assert str(directory) in str(caught.value)
  # Beside a run's checkpoints there may be weights for others.
  save_weights(weights, str(directory / "export" / "hf"), "hugging_face")
  check_same(load_weights(str(directory / "export" / "hf")), weights)
  (tmp_path / "empty").mkdir()
  manifest = json.loads((directory / "manifest.json").read_text())
  (tmp_path / "empty" / "manifest.json").write_text(json.dumps(manifest))
  with pytest.raises(
    ConfigError, match="there is no checkpoint .*start it again"
  ):
    load_weights(str(tmp_path / "empty"))


def test_a_run_that_was_trained_gives_what_it_evaluates(config, tmp_path):
  config["checkpoint"] = dict(every=2)
  config["data"].update(crop="none", augment={})
  config["evals"] = {}
  directory = tmp_path / "run"
  train(config, str(directory))
  before = list_files(directory)
  found = load_weights(str(directory))
  earlier = load_weights(str(directory / "checkpoints" / "4"))
  assert list_files(directory) == before

  exp = build(config)
  with Checkpointer(
    epath.Path(directory / "checkpoints"), exp.checkpoint
  ) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  check_params(found.params, jax.tree.map(np.asarray, flatten(state.ema)))
  name = "head/kernel"
  assert not np.array_equal(found.params[name], state.params["head"]["kernel"])
  assert not np.array_equal(found.params[name], earlier.params[name])
  assert found.class_names == tuple("0123456789")
  assert found.size == (8, 8) and found.model.dropout == 0.1
  assert found.preprocess.mean == (0.5,) * found.preprocess.channels
  # It can be written over by no conversion, and into any format.
  with pytest.raises(ConfigError, match="more than weights"):
    save_weights(found, str(directory), overwrite=True)
  save_weights(found, str(tmp_path / "x.npz"), "authors")
  again = load_weights(str(tmp_path / "x.npz"))
  check_same(again, found)
  np.testing.assert_array_equal(compute_logits(again), compute_logits(found))


def test_a_run_that_has_not_ended_says_so(tmp_path):
  run = epath.Path(tmp_path / "run")
  assert describe_unfinished(run) is None
  for step in ("90", "100", "tmp"):
    (run / "checkpoints" / step).mkdir(parents=True)
  assert describe_unfinished(run) is None  # Converted weights.
  (run / "config.json").touch()
  assert describe_unfinished(run).endswith("its weights are those of step 100")
  (run / "result.json").touch()
  assert describe_unfinished(run) is None
