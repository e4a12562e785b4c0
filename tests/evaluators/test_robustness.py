# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluations of changed images, through a config, on one device and more."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import build
from vit_jax.config import ConfigError
from vit_jax.data import pipeline, sources, transforms
from vit_jax.evaluators import occlusion
from vit_jax.sections import resolve

NUMBER = 30
KINDS = {
  "occlusion": dict(shares=(0.25, 0.5)),
  "shuffle": dict(grids=(2, 4)),
  "texture": dict(scales=(10.0,)),
  "corruptions": dict(names=("gaussian_noise", "jpeg"), severities=(1, 5)),
  "pgd": dict(epsilons=(2.0, 16.0), steps=2),
  "patch_attack": dict(sides=(1,), grid=4, steps=2),
}


def make(config, devices, batch_size, **kinds):
  config["evals"] = {
    name: dict(kind=name, split="test", batch_size=batch_size, examples=NUMBER)
    | keys
    for name, keys in kinds.items()
  }
  exp = build(config, jax.devices()[:devices])
  state = exp.make_state()
  # A zero head is right by chance alone: give it something to say.
  head = state.ema["head"]["kernel"]
  drawn = jax.random.normal(jax.random.key(1), head.shape)
  state.ema["head"]["kernel"] += jax.device_put(drawn, head.sharding)
  return exp, state


@pytest.fixture
def examples(data_dir):
  """Images and labels of the examples that are taken, in NumPy."""
  source = sources.open_source("tfds:digits", "test", data_dir)
  found = [source[i * 360 // NUMBER] for i in range(NUMBER)]
  images = [transforms.decode(x["image"], 1) for x in found]
  return np.stack(images), np.array([x["label"] for x in found])


def score(exp, state, images, label):
  """Number of right ones, all at once."""
  values = jnp.asarray(images / 127.5 - 1, jnp.float32)
  logits = jax.jit(exp.model.apply)({"params": state.ema}, values)
  return int((np.argmax(logits, axis=-1) == label).sum())


def test_devices_and_batches_change_nothing(config, examples):
  found = {}
  for devices, batch_size in ((1, 30), (8, 16)):
    exp, state = make(config, devices, batch_size, **KINDS)
    found[devices] = {
      name: x.measure(state) for name, x in exp.evaluators.items()
    }
  clean = score(exp, state, *examples)
  assert 0 < clean < NUMBER
  for name, curves in found[1].items():
    for one, eight in zip(curves, found[8][name], strict=True):
      # Sums in another order may turn a gradient that is nearly zero.
      slack = 1 if name in ("pgd", "patch_attack", "occlusion") else 0
      assert one.x == eight.x and one.name == eight.name
      gaps = np.subtract(one.correct, eight.correct)
      assert np.abs(gaps).max() <= slack, name
      parts = 2 if one.name == "mean" else 1
      assert one.total == parts * NUMBER
      assert one.correct[0] == parts * clean
  names = {x: [c.name for c in curves] for x, curves in found[1].items()}
  assert names == {
    "occlusion": ["random", "salient", "non_salient"],
    "shuffle": ["tiles"],
    "texture": ["smoothing"],
    "corruptions": ["mean", "gaussian_noise", "jpeg"],
    "pgd": ["linf"],
    "patch_attack": ["aligned", "shifted"],
  }
  assert found[1]["occlusion"][0].x == (0.0, 25.0, 50.0)
  assert found[1]["shuffle"][0].x == (1.0, 2.0, 4.0)
  assert found[1]["patch_attack"][0].x == (0.0, 25.0)
  counts = {x for part in found[1].values() for c in part for x in c.correct}
  assert len(counts) > 5  # Not always the same.
  attacked = found[1]["pgd"][0].correct
  assert attacked[0] > attacked[2]
  mean, *rest = found[1]["corruptions"]
  assert mean.correct == tuple(np.sum([x.correct for x in rest], axis=0))


def test_rows_of_a_run_have_means(config):
  exp, state = make(
    config,
    1,
    30,
    occlusion=dict(shares=(0.25, 0.5)),
    corruptions=dict(names=("contrast", "brightness"), severities=(2, 5)),
    shuffle=dict(grids=(2,)),
  )
  for name, evaluator in exp.evaluators.items():
    rows = dict(evaluator.run(state))
    curves = [x for x in evaluator.measure(state) if x.name != "mean"]
    points = np.array([x.correct for x in curves]) / NUMBER
    means = dict(
      zip([x.name for x in curves], points[:, 1:].mean(1), strict=True)
    )
    expected = {
      "clean_accuracy": points[0, 0],
      "robust_accuracy": points[:, 1:].mean(),
    }
    assert rows == pytest.approx(expected | (means if len(means) > 1 else {}))
    assert len(rows) == {"occlusion": 5, "corruptions": 4, "shuffle": 2}[name]


@pytest.mark.parametrize("pool", ["token", "gap", "map"])
def test_attention_is_that_of_the_last_layer(
  config, examples, pool, monkeypatch
):
  config["model"]["pool"] = pool
  exp, state = make(config, 1, 30, occlusion=dict(shares=(0.25,)))
  evaluator = exp.evaluators["occlusion"]
  images, label = examples
  values = jnp.asarray(images / 127.5 - 1, jnp.float32)
  apply = jax.jit(exp.model.apply, static_argnames="intermediates")
  _, found = apply({"params": state.ema}, values, intermediates=True)
  if pool == "map":
    expected = np.asarray(found["pooling"]).mean(1)
  else:
    heads = np.asarray(found["attention"][-1]).mean(1)
    expected = heads[:, 0, 1:] if pool == "token" else heads.mean(1)
  batch = {
    "image": jnp.asarray(images, jnp.float32),
    "label": jnp.asarray(label),
    "mask": jnp.ones(NUMBER, bool),
  }
  if pool == "gap":  # In parts of 5 examples.
    each = 4 * exp.model.depth * exp.model.num_heads * 4**2
    monkeypatch.setattr(occlusion, "MOST", 5 * each)
    assert evaluator.count_parts(NUMBER) == 6
  saliency = jax.jit(evaluator.compute_saliency)(state.ema, batch)
  np.testing.assert_allclose(
    np.asarray(saliency).reshape(NUMBER, -1), expected, rtol=1e-5
  )
  if pool == "map":
    return
  # One of the four patches of two by two is missing: the most attended one.
  images = images.copy()
  for image, row in zip(images, expected, strict=True):
    y, x = divmod(int(row.argmax()), 2)
    image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = 0
  salient = evaluator.measure(state)[1]
  assert salient.name == "salient" and salient.x == (0.0, 25.0)
  assert salient.correct[1] == score(exp, state, images, label)


def test_the_gradient_is_that_of_the_pixels(config, examples):
  """By differences, through the normalisation."""
  keys = dict(saliency="gradient", shares=(0.5,))
  exp, state = make(config, 1, 30, occlusion=keys)
  evaluator = exp.evaluators["occlusion"]
  image = jnp.asarray(examples[0][:2], jnp.float32)
  label = jnp.asarray(examples[1][:2])
  batch = {"image": image, "label": label, "mask": jnp.ones(2, bool)}
  found = jax.jit(evaluator.compute_gradient)(state.ema, batch, image)
  assert found.shape == image.shape

  @jax.jit
  def compute_loss(image):
    logits = exp.model.apply({"params": state.ema}, image / 127.5 - 1)
    logs = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(logs, label[:, None], axis=1).sum()

  rng = np.random.default_rng(0)
  way = jnp.asarray(rng.normal(size=image.shape), jnp.float32)
  gap = compute_loss(image + 2 * way) - compute_loss(image - 2 * way)
  # A difference of float32's losses, over what bends.
  assert float((found * way).sum()) == pytest.approx(float(gap) / 4, rel=0.02)


def test_attacks_find_what_noise_does_not(config):
  """Images of an attack have a larger loss than those of its start."""
  exp, state = make(config, 1, 30, pgd=dict(epsilons=(8.0,), steps=5))
  evaluator = exp.evaluators["pgd"]
  batches, _ = pipeline.make_eval_batches(
    exp.data, exp.mesh, 1, split="test", batch_size=30, limit=30
  )
  batch = next(batches)
  batch |= {"image": batch["image"].astype(jnp.float32)}
  key_array = evaluator.draw_keys(np.int32(0), 30)
  ((name, epsilon, images),) = evaluator.change(state.ema, batch, key_array)
  assert (name, epsilon) == ("linf", 8.0)
  gap = jnp.abs(images - batch["image"])
  assert 7.99 < gap.max() < 8.0001 and images.min() >= 0

  @jax.jit
  def compute_loss(images):
    prepared = exp.data.prepare(batch | {"image": images})
    return exp.objective.evaluate(state.ema, prepared)["loss"][0]

  noise = np.random.default_rng(0).uniform(-8, 8, images.shape)
  noisy = jnp.clip(batch["image"] + noise.astype(np.float32), 0, 255)
  losses = [float(compute_loss(x)) for x in (batch["image"], noisy, images)]
  assert losses[2] > 1.05 * max(losses[:2])


def test_a_lost_example_is_an_error(config, monkeypatch):
  exp, state = make(config, 1, 10, shuffle=dict(grids=(2,)))
  make_batches = pipeline.make_eval_batches

  def lose_some(*args, **keys):
    batches, total = make_batches(*args, **keys)
    next(batches)
    return batches, total

  monkeypatch.setattr(pipeline, "make_eval_batches", lose_some)
  with pytest.raises(RuntimeError, match="20 examples of 30"):
    exp.evaluators["shuffle"].measure(state)


def test_mistakes_in_keys(config):
  exp, _ = make(config, 1, 30, **KINDS)
  for name, keys, word in (
    ("shuffle", dict(grids=(9,)), "9 tiles"),
    ("corruptions", dict(names=("snoww",)), "'snow'"),
    ("patch_attack", dict(sides=(2,), grid=2), "2 x 2"),
    # What would be no curve, or one with a point twice.
    ("occlusion", dict(shares=()), "shares=.. .*at least one"),
    ("occlusion", dict(shares=(0.0, 0.01)), "no patch"),
    ("shuffle", dict(grids=()), "grids=.. .*at least one"),
    ("shuffle", dict(grids=(2, 4, 2)), "twice"),
    ("shuffle", dict(grids=(1, 2)), "grids=.1, 2. .*as it is"),
    ("texture", dict(scales=()), "scales=.. .*at least one"),
    ("corruptions", dict(names=()), "names=.. .*at least one"),
    ("corruptions", dict(names=("fog", "fog")), "'fog' twice"),
    ("corruptions", dict(severities=(3, 3)), "3 twice"),
    ("pgd", dict(epsilons=()), "epsilons=.. .*at least one"),
    ("patch_attack", dict(sides=(1, 1)), "1 twice"),
    # Cells without a pixel, which would count as missing.
    ("occlusion", dict(grid=100), "8 x 8 pixels .*100 x 100"),
    ("patch_attack", dict(grid=(4, 9)), "8 x 8 pixels .*4 x 9"),
  ):
    with pytest.raises(ConfigError, match=word):
      dataclasses.replace(exp.evaluators[name], **keys)


@pytest.mark.parametrize(
  ("name", "key", "value"),
  [
    ("texture", "edge", 1e-30),  # Its square is 0, and pixels would be NaN.
    ("texture", "scales", (1e9,)),  # It would never end.
    ("pgd", "seed", -1),
    ("pgd", "seed", 2**63),
    ("linear", "seed", -1),
  ],
)
def test_values_that_cannot_be_computed_with(config, name, key, value):
  config["evals"] = {"x": {"kind": name, "split": "test", key: value}}
  with pytest.raises(ConfigError, match=rf"evals.x.{key}="):
    resolve(config)


def test_a_resnet_has_no_attention(config):
  config["model"] = dict(variant="R50x1", stages=(1,), dtype="float32")
  with pytest.raises(ConfigError, match="ResNet has none"):
    make(config, 1, 30, occlusion=dict(saliency="attention"))
