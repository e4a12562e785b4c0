# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that read no labels, and what their encoders are used for."""

import itertools
import json

import jax
import numpy as np
import pytest
from etils import epath

import vit_jax
from tests.support import build, lower
from tests.support.runs import make_config
from vit_jax.checkpoint import load_params
from vit_jax.config import ConfigError
from vit_jax.config.errors import Preempted
from vit_jax.convert.weights import load_weights
from vit_jax.evaluate import evaluate
from vit_jax.models.flops import count_flops
from vit_jax.objectives import OBJECTIVES
from vit_jax.runtime.flops import count_flops_per_image
from vit_jax.sections import resolve
from vit_jax.sharding import OWN
from vit_jax.train import train

DECODER = dict(decoder_width=16, decoder_depth=1, decoder_heads=2)
CHOSEN = {
  "masked_patch": dict(name="masked_patch"),
  "mae": dict(name="mae", **DECODER),
}


def make_unlabelled(data_dir, name):
  """A run of a few seconds that reads no labels."""
  config = make_config(data_dir)
  config["data"] |= dict(size=16, augment=dict(flip=True))
  config["model"]["dropout"] = 0.0
  config["objective"] = CHOSEN[name]
  config["train"]["report"] = True
  config["evals"] = {
    "test": dict(split="test[:40]", batch_size=24, every=2),
    "knn": dict(kind="knn", split="test[:40]", train_split="train[:80]", k=5),
  }
  return config


@pytest.fixture(scope="module", params=CHOSEN)
def trained(request, tmp_path_factory, data_dir):
  """The config, workdir and result of a run."""
  config = make_unlabelled(data_dir, request.param)
  workdir = tmp_path_factory.mktemp(request.param)
  return config, workdir, train(config, str(workdir))


def test_the_name_of_what_is_its_own_is_the_objective_s():
  names = {n for n, x in OBJECTIVES.items() if not x.uses_labels}
  assert names <= set(OWN)


def test_a_run_is_measured_by_its_own_loss(trained):
  """That of the average of the parameters on the test images, by hand."""
  config, workdir, result = trained
  exp = build(config, jax.devices()[:1])
  params = load_params(epath.Path(workdir) / "checkpoints")
  sums = np.zeros(2)
  source, preprocess = exp.data.open("test[:40]"), exp.data.make_preprocess(1)
  for first in (0, 20):
    images = [source[i]["image"] for i in range(first, first + 20)]
    pixels = np.stack([preprocess(x)[0] for x in images])
    batch = {"image": pixels, "mask": np.ones(20, bool)}
    found = jax.jit(exp.objective.evaluate)(params, batch)
    sums += [float(x) for x in found["loss"]]
  assert (result["total"], sums[1]) == (40, 40)
  # Batches of another size, and pixels that the host scales.
  assert result["loss"] == pytest.approx(sums[0] / 40, rel=1e-4)
  rows = [json.loads(x) for x in (workdir / "metrics.jsonl").open()]
  assert sum("test/loss" in row for row in rows) == 3
  assert 0 <= rows[-1]["knn/accuracy_knn"] <= 1


def test_what_is_its_own_is_no_part_of_the_weights(trained):
  """They are the encoder's, without a head; an evaluation says what it can."""
  config, workdir, _ = trained
  name = config["objective"]["name"]
  assert name in load_params(epath.Path(workdir) / "checkpoints")
  weights = load_weights(str(workdir))
  assert weights.num_classes == 0 and weights.class_names == ()
  assert not any(path.startswith(name) for path in weights.params)
  model, preprocess = vit_jax.load(str(workdir))
  assert preprocess.size == (16, 16)
  assert model(np.zeros((1, 16, 16, 1), np.float32)).shape == (1, 32)
  with pytest.raises(ConfigError, match="knn"):
    evaluate(str(workdir), data="tfds:digits", data_dir=config["data"]["dir"])


def test_its_page_shows_what_is_filled_in(trained):
  config, workdir, _ = trained
  page = (workdir / "report.html").read_text()
  shown = config["objective"]["name"] == "mae"
  assert ("Reconstructions" in page) == shown
  assert (workdir / "evaluation/reconstruction_6.png").exists() == shown
  assert ("nats" in page) != shown


def test_the_encoder_is_fine_tuned(trained, data_dir, tmp_path):
  """A supervised run begins with every array of it."""
  config, workdir, _ = trained
  tuned = make_config(data_dir)
  tuned["data"] |= dict(size=16, augment={})
  tuned["init"] = str(workdir)
  exp = build(tuned, jax.devices()[:1])
  given, report = exp.load_init()
  encoder = load_weights(str(workdir)).params
  assert given.keys() == encoder.keys() and not report.dropped
  for path, array in encoder.items():
    np.testing.assert_array_equal(given[path], array)
  assert "new: all of" not in str(report)
  # A run of the same objective has only its encoder to begin with, and says so.
  again = build(config | dict(init=str(workdir)), jax.devices()[:1])
  given, report = again.load_init()
  assert given.keys() == encoder.keys()
  assert f"new: all of {config['objective']['name']}/" in str(report)


@pytest.mark.parametrize("name", CHOSEN)
def test_eight_devices_draw_what_one_does(
  name, data_dir, fill_state, eight_devices
):
  """The same losses and parameters, of a batch with padding."""
  config = make_unlabelled(data_dir, name)
  config["optim"] = dict(name="sgd", lr=0.1)
  found = []
  for count, mesh in ((1, {}), (8, dict(fsdp=4, tensor=2))):
    exp = build(config | {"mesh": mesh}, jax.devices()[:count])
    step, state, losses = lower(exp).compile(), fill_state(exp), []
    for batch in itertools.islice(exp.make_batches(0), 2):
      state, metrics = step(state, batch)
      losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    found.append((losses, jax.tree.map(np.asarray, state.params)))
  (one, params), (eight, others) = found
  # Sums over the batch in another order.
  np.testing.assert_allclose(one, eight, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    params,
    others,
  )


@pytest.mark.parametrize("name", CHOSEN)
def test_its_cost_is_known(name, data_dir):
  """Three forward passes of what the loss differentiates."""
  exp = build(make_unlabelled(data_dir, name), jax.devices()[:1])
  image = jax.ShapeDtypeStruct((1, 16, 16, 1), np.float32)
  params = exp.abstract_state.params
  key = jax.random.key(0)
  forward = count_flops(
    lambda params, image: exp.objective.forward(params, image, key),
    params,
    image,
  )
  assert count_flops_per_image(exp) == 3 * forward
  whole = count_flops(exp.model.apply, {"params": params}, image)
  body = {k: x for k, x in params.items() if k != name}
  assert set(body) == set(params) - {name}
  if name == "masked_patch":  # The head reads half of the 16 patches.
    assert forward == whole + 2 * 8 * 32 * 8
  else:  # The encoder sees 4 of 16 patches.
    assert forward < 0.8 * whole


@pytest.mark.parametrize(
  ("change", "key"),
  [
    (dict(data=dict(augment=dict(mixup=0.1))), "data.augment.mixup=0.1"),
    (dict(data=dict(augment=dict(cutmix=1.0))), "data.augment.cutmix=1"),
    (dict(data=dict(num_classes=12)), "data.num_classes=12"),
    (dict(evals=dict(x=dict(kind="classification", split="test"))), "evals.x"),
    (dict(evals=dict(x=dict(kind="pgd", split="test"))), "evals.x"),
    (dict(objective=dict(label_smoothing=0.1)), "label_smoothing"),
  ],
)
def test_what_needs_labels_is_refused(change, key, data_dir):
  config = make_unlabelled(data_dir, "mae")
  for section, values in change.items():
    config[section] = config[section] | values
  with pytest.raises(ConfigError, match=key):
    resolve(config)


def test_without_labels_an_evaluation_is_of_the_loss(data_dir):
  evals = resolve(make_unlabelled(data_dir, "mae"))["evals"]
  assert evals["test"]["kind"] == "loss"
  assert resolve(make_config(data_dir))["evals"]["test"]["kind"] == (
    "classification"
  )


def test_a_run_goes_on_to_the_same_bits(trained, tmp_path, ask_at):
  """Stopped after three steps and resumed, it ends as the whole one did."""
  config, _, result = trained
  config = config | {"train": config["train"] | {"report": False}}
  ask_at(3)
  with pytest.raises(Preempted):
    train(config, str(tmp_path / "run"))
  again = train(config, str(tmp_path / "run"))
  assert again["params_sha256"] == result["params_sha256"]
