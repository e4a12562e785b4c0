# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""From a model and its images to all that explains it."""

import dataclasses
import functools

import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tests.support.weights import HYBRID, MIXER, RESNET, make_weights
from vit_jax.analysis import explain as explanation
from vit_jax.analysis.explain import (
  choose_batch_size,
  compute_attention,
  count_attention_bytes,
  draw_cells,
  explain,
)
from vit_jax.analysis.norms import compute_norms
from vit_jax.analysis.rollout import compute_rollout, read_rollout
from vit_jax.convert.load import Model

VIT = dict(variant="mu/4", depth=3)


@functools.cache
def make(items, size=(12, 8), **more):
  """A loaded model of random parameters; of usual sizes."""
  weights = make_weights(dict(items), size=size, **more)
  params = {path: 0.2 * x for path, x in weights.params.items()}
  weights = dataclasses.replace(weights, params=params)
  params = unflatten_dict(weights.params, sep="/")
  return Model(weights.model, params, weights.manifest)


def draw(size, count):
  """Images of random pixels."""
  shape = (count, *size, 3)
  return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
  "fields",
  [
    dict(pool="token"),
    dict(pool="token", registers=2, unroll=3),
    dict(pool="gap", position="rope"),
    dict(pool="map", registers=1, position="learned_2d"),
  ],
  ids=str,
)
def test_batches_give_what_all_images_at_once_give(fields):
  """Also of an image that is not square, and of a batch that is padded."""
  model = make(tuple((VIT | fields).items()))
  images = draw((12, 8), 5)
  padded = np.concatenate([images[3:], np.zeros((1, 12, 8, 3), np.float32)])
  found = explain(model, [(images[:3], 3), (padded, 2)], 5, 4)
  attention = compute_attention(model, images)
  logits, between = model(images, intermediates=True)
  layout = model.module.make_layout(12, 8)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  close(found["logits"], logits)
  pooling = between.get("pooling")
  rollout = read_rollout(compute_rollout(attention), layout, pooling)
  close(found["rollout"], rollout)
  close(found["norms"], compute_norms(between["residual"]))
  tokens = layout.tokens
  assert {name: x.shape for name, x in found.items()} == {
    "logits": (5, 5),
    "rollout": (5, 3, 2),
    "maps": (4, 3, 2, 3, 2),
    "distance": (5, 3, 2),
    "entropy": (5, 3, 2),
    "norms": (5, 3, tokens),
    "similarity": (3, 3),
    "samples": (),
    "components": (28, 4, 4, 3),
    "variances": (28,),
    **({"pooling": (4, 2, 3, 2)} if fields["pool"] == "map" else {}),
    **({} if "rope" in fields.values() else {"positions": (3, 2, 3, 2)}),
  }
  assert found["samples"] == 30
  np.testing.assert_allclose(np.diag(found["similarity"]), 1)


@pytest.mark.parametrize(
  "fields, size, names",
  [
    (
      RESNET,
      (64, 48),
      {"logits", "similarity", "samples", "components", "variances"},
    ),
    (
      MIXER,
      (32, 32),
      {"logits", "norms", "similarity", "samples", "components", "variances"},
    ),
    (
      HYBRID,
      (64, 32),
      {
        *("logits", "rollout", "maps", "distance", "entropy", "norms"),
        *("similarity", "samples", "components", "variances", "positions"),
      },
    ),
  ],
)
def test_other_models_give_what_they_have(fields, size, names):
  model = make(tuple(fields.items()), size)
  found = explain(model, [(draw(size, 2), 2)], 2, 2)
  assert set(found) == names
  assert all(np.isfinite(x).all() for x in found.values())
  if fields != HYBRID:
    with pytest.raises(ValueError, match="no attention"):
      compute_attention(model, draw(size, 1))


def test_layers_are_compared_by_a_bounded_number_of_patches(monkeypatch):
  monkeypatch.setattr(explanation, "SAMPLES", 7)
  model = make(tuple(VIT.items()))
  batches = [(draw((12, 8), 3), 3)]
  found = explain(model, batches, 3, 0)
  assert found["samples"] == 6
  images = batches[0][0]
  again = explain(model, [(images[:2], 2), (images[1:][::-1], 1)], 3, 0)
  np.testing.assert_allclose(
    again["similarity"], found["similarity"], atol=1e-5
  )


def test_patches_are_drawn_for_each_image():
  """From all places, each as often; none of an image twice."""
  drawn = draw_cells(range(400), 196, 16)
  assert drawn.shape == (400, 16) and (np.diff(drawn) > 0).all()
  assert len(np.unique(drawn, axis=0)) == 400
  later = draw_cells(range(100, 400), 196, 16)
  np.testing.assert_array_equal(drawn[100:], later)
  counts = np.bincount(drawn.ravel(), minlength=196)
  # Of 33 expected in each place, with a deviation of 5.5.
  assert counts.min() > 10 and counts.max() < 60


def test_batches_are_as_large_as_their_attention_allows():
  """Of 32 layers with 16 heads: 257 tokens of 64 px, 1,025 of 128 px."""
  module = make(tuple(VIT.items())).module.clone(depth=32, num_heads=16)
  assert count_attention_bytes(module, (64, 64)) == 4 * 32 * 16 * 257**2
  assert choose_batch_size(module, (16, 16)) == 32
  assert choose_batch_size(module, (64, 64)) == 1
  assert choose_batch_size(module, (48, 32)) == 2**28 // (4 * 512 * 97**2)
  assert choose_batch_size(module, (128, 128)) == 1
