# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run with an average evaluates it, and everybody who reads it gets it."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from etils import epath

import vit_jax
from tests.support import build
from vit_jax import optim, predict
from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError
from vit_jax.convert import __main__ as convert
from vit_jax.convert.weights import load_weights
from vit_jax.data import sources, transforms
from vit_jax.train import train
from vit_jax.train_state import compute_digest

pytestmark = pytest.mark.usefixtures("same_programs")


@pytest.fixture(scope="module")
def averaged(data_dir, tmp_path_factory):
  """A run far from its average: its config, workdir, result and last state."""
  config = {
    "model": dict(variant="mu/4", dtype="float32", remat="none"),
    "data": dict(source="tfds:digits", dir=data_dir, size=8, threads=1),
    "optim": dict(lr=1e-2, schedule="constant", ema=0.99),
    "train": dict(batch_size=16, steps=8, accumulate=1, allow_cpu=True),
    "evals": {
      "test": dict(split="test[:40]"),
      "raw": dict(split="test[:40]", params="raw"),
    },
  }
  workdir = tmp_path_factory.mktemp("averaged") / "run"
  result = train(config, str(workdir))
  exp = build(config)
  directory = epath.Path(workdir / "checkpoints")
  with Checkpointer(directory, exp.checkpoint) as checkpointer:
    state = checkpointer.restore(exp.abstract_state)
  assert compute_digest(state.params) != compute_digest(state.ema)
  return config, workdir, result, state


@pytest.fixture(scope="module")
def images(data_dir):
  """The first forty test images, [40 8 8 1] uint8, and their labels."""
  source = sources.open_source("tfds:digits", "test[:40]", data_dir)
  found = [transforms.decode(source[i]["image"], 1) for i in range(40)]
  return np.stack(found), np.array([source[i]["label"] for i in range(40)])


def get_logits(config, params, images):
  """What parameters of the run's model say."""
  model = build(config).model
  values = jnp.asarray(images / 127.5 - 1, jnp.float32)
  return np.asarray(jax.jit(model.apply)({"params": params}, values))


def test_the_average_is_evaluated_and_the_raw_parameters_if_asked(
  averaged, images
):
  config, workdir, result, state = averaged
  pixels, label = images
  losses = {}
  for name, params in (("test", state.ema), ("raw", state.params)):
    logits = get_logits(config, jax.device_get(params), pixels)
    log_p = scipy.special.log_softmax(logits, axis=-1)
    losses[name] = -log_p[range(40), label].mean()
  assert abs(losses["test"] - losses["raw"]) > 1e-3
  recorded = json.loads((workdir / "result.json").read_text())
  assert recorded == result
  assert recorded["loss"] == pytest.approx(losses["test"], rel=1e-5)
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rows = {key: x for line in lines for key, x in json.loads(line).items()}
  for name, loss in losses.items():
    assert rows[f"{name}/loss"] == pytest.approx(loss, rel=1e-5)


def test_the_average_is_loaded_converted_and_started_from(averaged, tmp_path):
  config, workdir, result, state = averaged
  digest = compute_digest(state.ema)
  assert compute_digest(vit_jax.load(str(workdir))[0].params) == digest
  step = str(workdir / "checkpoints" / "8")
  assert compute_digest(vit_jax.load(step)[0].params) == digest
  for name in ("out.npz", "out.safetensors", "out"):
    path = str(tmp_path / name)
    convert.main([str(workdir), path])
    assert compute_digest(load_weights(path).tree) == digest
  exp = build(config | {"init": str(workdir)})
  started = exp.make_state(exp.load_init()[0])
  assert compute_digest(started.params) == compute_digest(started.ema) == digest


def test_the_raw_parameters_are_converted_if_asked(averaged, tmp_path):
  _, workdir, result, state = averaged
  path = str(tmp_path / "raw.npz")
  convert.main([str(workdir), path, "--raw"])
  found = compute_digest(load_weights(path).tree)
  assert found == compute_digest(state.params) == result["params_sha256"]
  with pytest.raises(ConfigError, match="raw.npz: raw"):
    load_weights(path, raw=True)


def test_the_average_predicts(averaged, images, tmp_path, capsys):
  config, workdir, _, state = averaged
  pixels, _ = images
  assert cv2.imwrite(str(tmp_path / "0.png"), pixels[0])
  arguments = [str(workdir), str(tmp_path), "--format=json", "--top=10"]
  predict.main(arguments)
  rows = json.loads(capsys.readouterr().out)["images"][0]["predictions"]
  found = {row["index"]: row["probability"] for row in rows}
  logits = get_logits(config, jax.device_get(state.ema), pixels[:1])
  expected = scipy.special.softmax(logits[0])
  found = [found[i] for i in range(10)]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_young_average_is_a_tenth_of_the_run_old():
  """And has forgotten the start; parameters are the number of their step."""
  steps = 20_000  # The paper's on ImageNet, where 0.9999 is not reached.

  def update(average, step):
    params = {"age": step + 1.0, "start": jnp.zeros(())}
    return optim.update_ema(average, params, step, 0.9999), None

  start = {"age": jnp.zeros(()), "start": jnp.ones(())}
  found, _ = jax.lax.scan(update, start, jnp.arange(steps))
  # a + 9 / (10 + s) (s + 1 - a) has the solution 0.9 s. In float32 1 - decay
  # has three to four digits.
  assert float(found["age"]) == pytest.approx(0.9 * steps, rel=1e-3)
  assert float(found["start"]) < 1e-30
  # From 9 / (1 - 0.9999) steps on the decay is 0.9999.
  zero, one = {"x": jnp.zeros(())}, {"x": jnp.ones(())}
  for step, rate in ((89_000, 9 / 89_010), (91_000, 1e-4), (10**6, 1e-4)):
    moved = optim.update_ema(zero, one, jnp.int32(step), 0.9999)["x"]
    assert float(moved) == pytest.approx(rate, rel=1e-3)
