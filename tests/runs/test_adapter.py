# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that train adapters beside weights that stay as they are."""

import copy
import dataclasses
import math

import jax
import numpy as np
import pytest
from etils import epath
from flax.traverse_util import unflatten_dict

import vit_jax
from tests.support import build, lower
from tests.support.runs import make_config
from tests.support.weights import VIT, check_params, make_weights
from vit_jax.checkpoint import load_params
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.convert.weights import flatten, load_weights
from vit_jax.convert.writing import save_weights
from vit_jax.data import pipeline
from vit_jax.export import __main__ as export
from vit_jax.sharding import ADAPTER, AXES, get_path
from vit_jax.soup import soup
from vit_jax.train import train

HEAD = {"head/kernel", "head/bias"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  """Random weights of a model that sees digits, and where they lie."""
  path = tmp_path_factory.mktemp("base") / "base"
  weights = make_weights(
    VIT | dict(variant="mu/4", depth=2), size=(8, 8), channels=1, classes=10
  )
  # Random norms and kernels of size one saturate a softmax.
  params = {name: 0.2 * x for name, x in weights.params.items()}
  save_weights(dataclasses.replace(weights, params=params), str(path))
  return params, str(path)


@pytest.fixture(scope="module")
def adapted(data_dir, base):
  """A run of a few seconds that has adapters."""
  config = make_config(data_dir)
  config["model"] |= dict(adapter="lora:4", depth=2)
  config["optim"] |= dict(lr=0.02, warmup_steps=0)
  config["data"]["augment"] = dict(flip=True)
  config["checkpoint"] = dict(every=3)
  return config | dict(init=base[1])


@pytest.fixture(scope="module")
def done(adapted, tmp_path_factory):
  """What the run ends with, and its directory."""
  workdir = str(tmp_path_factory.mktemp("done") / "run")
  return train(copy.deepcopy(adapted), workdir), workdir


def read(workdir, **options):
  """Path -> array of the last checkpoint, adapters among them."""
  directory = epath.Path(workdir) / "checkpoints"
  found = flatten(load_params(directory, **options))
  return {path: np.asarray(x) for path, x in found.items()}


@pytest.mark.parametrize("raw", [False, True])
def test_only_adapters_and_head_are_trained(done, base, raw):
  """All others have their bits, in the average too."""
  found = read(done[1], raw=raw)
  for path, array in base[0].items():
    same = array.tobytes() == found[path].tobytes()
    assert same == (path not in HEAD), path
  adapters = found.keys() - base[0].keys()
  assert len(adapters) == 12 and all(map(ADAPTER.search, adapters))
  assert all(np.abs(found[path]).max() > 0.01 for path in adapters)


def test_no_moment_of_what_is_frozen_is_kept(adapted):
  exp = build(adapted)
  arrays = jax.tree_util.tree_leaves_with_path(exp.abstract_state.opt_state)
  found = [(get_path(keys), x.size) for keys, x in arrays if x.ndim]
  trained = {
    path: x.size
    for path, x in flatten(exp.abstract_state.params).items()
    if path in HEAD or ADAPTER.search(path)
  }
  assert sum(size for _, size in found) == 2 * sum(trained.values())
  assert all(path.endswith(tuple(trained)) for path, _ in found)


def test_it_is_read_as_weights_without_adapters(done, base, tmp_path):
  """Equal logits, and the loss that the run itself has found."""
  result, workdir = done
  weights = load_weights(workdir)
  assert weights.params.keys() == base[0].keys()
  assert "adapter" not in weights.fields | weights.manifest["model"]
  image = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1))
  image = image.astype(np.float32)
  model = weights.model.clone(adapter="lora:4")
  variables = {"params": unflatten_dict(read(workdir), sep="/")}
  expected = jax.jit(model.apply)(variables, image)
  scale = np.abs(expected).max()
  found = jax.jit(weights.model.apply)({"params": weights.tree}, image)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)
  save_weights(weights, str(tmp_path / "x.npz"), "authors")
  again, _ = vit_jax.load(str(tmp_path / "x.npz"))
  np.testing.assert_allclose(again(image), expected, rtol=0, atol=1e-6 * scale)
  evaluated = vit_jax.evaluate(workdir)
  assert evaluated["accuracy"] == result["accuracy"]
  assert evaluated["loss"] == pytest.approx(result["loss"], rel=1e-5)
  with pytest.raises(ConfigError, match="adapter is for training"):
    load_weights(workdir, adapter="lora:4")


def test_it_is_averaged_and_exported_without_adapters(
  done, base, tmp_path, capsys
):
  """Also with what has none; the export compares logits by itself."""
  merged = load_weights(done[1])
  plain = str(tmp_path / "plain")
  save_weights(dataclasses.replace(merged, params=base[0]), plain)
  soup([done[1], plain], str(tmp_path / "soup"))
  mean = load_weights(str(tmp_path / "soup"))
  for path, array in mean.params.items():
    both = np.stack([merged.params[path], base[0][path]]).astype(np.float64)
    np.testing.assert_array_equal(array, both.mean(axis=0).astype(np.float32))
  out = str(tmp_path / "npz")
  export.main([done[1], "--to=npz", f"--out={out}"])
  assert "8 of 8 images" in capsys.readouterr().out
  check_params(load_weights(f"{out}/model.npz").params, merged.params)


def test_a_run_that_is_cut_off_ends_with_the_same_bits(
  adapted, done, tmp_path, ask_at
):
  workdir = str(tmp_path / "cut")
  ask_at(4)
  with pytest.raises(Preempted):
    train(copy.deepcopy(adapted), workdir)
  found = train(copy.deepcopy(adapted), workdir)
  assert found["params_sha256"] == done[0]["params_sha256"]
  other = copy.deepcopy(adapted)
  other["model"]["adapter"] = "lora:2"
  with pytest.raises(ConfigError, match="model.adapter='lora:2'"):
    train(other, workdir)


def test_the_next_run_starts_from_the_sum(done, adapted):
  """With new adapters, or without; and a run says what is frozen though new."""
  config = adapted | dict(init=done[1])
  exp = build(config)
  given, report = exp.load_init()
  merged = load_weights(done[1]).params
  assert given.keys() == merged.keys()
  assert all((given[path] == merged[path]).all() for path in given)
  assert not report.new and not report.warnings
  assert any("12 arrays of model.adapter=lora:4" in x for x in report.notes)
  state = exp.make_state(given)
  up = [x for path, x in flatten(state.params).items() if path.endswith("/b")]
  assert len(up) == 6 and not any(x.any() for x in up)
  config["model"] = config["model"] | dict(registers=1)
  _, report = build(config).load_init()
  (line,) = report.warnings
  assert line.startswith("register is new") and "optim.multipliers" in line


def test_it_begins_as_its_teacher(adapted, base):
  """Distilled from the weights that it starts from, it has nothing to learn."""
  config = copy.deepcopy(adapted)
  config["model"] |= dict(dropout=0.0)
  teacher = dict(name="distillation", teacher=base[1])
  exp = build(config | dict(objective=teacher), jax.devices()[:1])
  state, frozen = exp.make_state(exp.load_init()[0]), exp.load_frozen()
  step = lower(exp).compile()
  _, metrics = step(state, next(exp.make_batches(0)), *frozen)
  found = {name: float(x / n) for name, (x, n) in metrics.items()}
  assert found["agreement"] == 1 and abs(found["loss"]) < 1e-6
  assert found["grad_norm"] < 1e-5


def run_on(config, shape, fill_state):
  """A step on a mesh: its loss, and its gradients as SGD's momentum."""
  mesh = dict(zip(AXES, shape, strict=True))
  exp = build(config | dict(mesh=mesh), jax.devices()[: math.prod(shape)])
  batch = next(
    pipeline.make_train_batches(
      exp.data, exp.mesh, 1, batch_size=16, seed=0, start_step=0
    )
  )
  state, metrics = lower(exp).compile()(fill_state(exp), batch)
  total, count = metrics["loss"]
  return float(total / count), flatten(state.opt_state)


def test_a_mesh_changes_nothing(adapted, fill_state, eight_devices):
  config = copy.deepcopy(adapted)
  config["model"] |= dict(dropout=0.0)
  config["optim"] = dict(name="sgd", lr=0.1)
  alone, expected = run_on(config, (1, 1, 1), fill_state)
  loss, found = run_on(config, (2, 2, 2), fill_state)
  assert loss == pytest.approx(alone, rel=1e-5)
  assert len(expected) == 14 and found.keys() == expected.keys()
  largest = max(np.abs(x).max() for x in expected.values())
  for path, gradient in expected.items():
    assert np.abs(gradient).max() > 0, path
    np.testing.assert_allclose(
      found[path], gradient, rtol=0, atol=1e-5 * largest
    )
