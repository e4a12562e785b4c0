# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import build
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.data import pipeline
from vit_jax.data.augment import normalize
from vit_jax.metrics.progress import describe_values
from vit_jax.models.attention import LOGITS
from vit_jax.train import train


def compute_maxima(block, layer, x):
  """The largest logit of each example in a layer, in float64."""

  def get(*names):
    found = functools.reduce(lambda tree, name: tree[name], names, block)
    return np.asarray(found[layer], np.float64)

  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  x = x * get("LayerNorm_0", "scale") + get("LayerNorm_0", "bias")
  name = "MultiHeadDotProductAttention_0"
  query, key = (
    np.einsum("bnd,dkc->bnkc", x, get(name, part, "kernel"))
    + get(name, part, "bias")
    for part in ("query", "key")
  )
  logits = np.einsum("bnkc,bskc->bkns", query, key)
  return logits.max((1, 2, 3)) / np.sqrt(query.shape[-1])


def make(config, devices=4, **model):
  config["model"] |= model
  config["evals"] = {
    "logits": dict(kind="attention_logits", split="test[:13]", batch_size=8)
  }
  return build(config, jax.devices()[:devices])


def read_split(exp):
  """All examples of the evaluation's split as one batch, padding included."""
  batches, _ = pipeline.make_eval_batches(
    exp.data, exp.mesh, 1, split="test[:13]", batch_size=16
  )
  return next(batches)


@pytest.mark.parametrize("mesh", [dict(fsdp=2, tensor=2), dict(replica=4)])
def test_the_largest_logit_of_every_layer(config, fill_state, mesh):
  """Of all examples of a split, over a mesh, where a kernel computes attention.

  The padding of the last batch does not count.
  """
  config["mesh"] = mesh
  exp = make(config, depth=3, pool="map")
  state, batch = fill_state(exp), read_split(exp)
  evaluator = exp.evaluators["logits"]
  flash = exp.model.clone(attention="flash")
  object.__setattr__(evaluator.objective, "model", flash)
  found = dict(evaluator.run(state))
  assert list(found) == [
    "MAPHead_0",
    *("encoderblock_0", "encoderblock_1", "encoderblock_2"),
  ]
  params = jax.device_get(state.params)
  image = jnp.asarray(jax.device_get(normalize(batch)["image"]))
  _, between = exp.model.apply({"params": params}, image, intermediates=True)
  inputs = [between["embedded"], *between["residual"][:2]]
  block = params["Transformer"]["encoderblock"]
  for i, x in enumerate(inputs):
    expected = compute_maxima(block, i, np.asarray(x, np.float64))
    # Sums in float32, of up to 32 products of several digits.
    assert found[f"encoderblock_{i}"] == pytest.approx(
      expected[:13].max(), rel=1e-4
    )


def test_what_is_masked_does_not_count(config, fill_state):
  exp = make(config, devices=2)
  state, batch = fill_state(exp), read_split(exp)
  step = exp.evaluators["logits"].step
  maxima = []
  for i in range(4):
    mask = jax.device_put(np.arange(16) == i, batch["mask"].sharding)
    with jax.set_mesh(exp.mesh):
      found, count = step(state.params, batch | {"mask": mask})
    assert count == 1
    (values,) = jax.tree.leaves(found)
    maxima.append(float(values[0]))
  assert len(set(maxima)) == 4


def test_a_lost_example_is_an_error(config, fill_state, monkeypatch):
  exp = make(config, devices=1)
  make_batches = pipeline.make_eval_batches

  def lose_one(*args, **kwargs):
    batches, total = make_batches(*args, **kwargs)
    next(batches)
    return batches, total

  monkeypatch.setattr(pipeline, "make_eval_batches", lose_one)
  with pytest.raises(RuntimeError, match="5 examples of 13"):
    dict(exp.evaluators["logits"].run(fill_state(exp)))


def test_a_model_without_attention_has_none(config):
  config["model"] = dict(variant="Mixer-B/4")
  with pytest.raises(ConfigError, match="attention_logits.*MlpMixer"):
    make(config, devices=1)


def test_a_run_evaluates_attention_logits(config, tmp_path, capsys):
  config["evals"] |= {
    "logits": dict(kind="attention_logits", split="test[:13]", every=2)
  }
  config["train"]["steps"] = 2
  train(config, str(tmp_path))
  rows = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
  (value,) = (
    row["logits/encoderblock_0"]
    for row in rows
    if "logits/encoderblock_0" in row
  )
  text = capsys.readouterr().err
  assert describe_values("logits", {"encoderblock_0": value}) in text
  assert "test accuracy " in text


def test_values_are_described():
  values = dict(accuracy=355 / 360, correct=355, total=360, loss=0.1234)
  expected = "test accuracy 98.61% (355/360), loss 0.1234"
  assert describe_values("test", values) == expected
  values = dict(encoderblock_0=1.23456, encoderblock_1=123456.0)
  expected = "logits encoderblock_0 1.235, encoderblock_1 1.235e+05"
  assert describe_values("logits", values) == expected
  expected = "test loss 0.6931, 12 images"
  assert describe_values("test", dict(loss=0.69314, total=12)) == expected


def test_nobody_pays_who_does_not_ask():
  model = models.make_model(3, variant="mu/4", depth=2, unroll=2)
  image = jnp.zeros((1, 8, 8, 3))
  variables = jax.jit(model.init)(jax.random.key(0), image)
  assert set(variables) == {"params"}

  def count(**asked):
    jaxpr = jax.make_jaxpr(lambda v: model.apply(v, image, **asked))(variables)
    return str(jaxpr).count("dot_general")

  assert count(mutable=[LOGITS]) == count() + 1
