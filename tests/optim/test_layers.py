# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Figures by layer against NumPy, which looks at one layer at a time."""

import jax
import numpy as np
import pytest

from vit_jax import models, sharding
from vit_jax.devices.mesh import make_mesh
from vit_jax.optim import Optim, layers
from vit_jax.sharding import get_path

# Layer -> (where its parameters begin, row of the stack).
VIT = {
  "encoderblock_00": ("Transformer/encoderblock/", 0),
  "encoderblock_01": ("Transformer/encoderblock/", 1),
  "encoder_norm": ("Transformer/encoder_norm/", None),
  "posembed_input": ("Transformer/posembed_input/", None),
  "cls": ("cls", None),
  "embedding": ("embedding/", None),
  "head": ("head/", None),
}


def make_params(variant="mu/4", depth=2, **more):
  model = models.make_model(10, variant=variant, depth=depth, **more)
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), shapes
  )


def cut(params, start, row):
  """Path -> array of one layer."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  found = {
    get_path(keys): (x if row is None else x[row]).astype(np.float64)
    for keys, x in leaves
    if get_path(keys).startswith(start)
  }
  assert found
  return found


def test_every_layer_has_a_name():
  assert set(layers.list_layers(make_params())) == VIT.keys()
  mixer = layers.list_layers(make_params("Mixer-B/8"))
  assert {"MixerBlock_00", "MixerBlock_01", "stem"} <= set(mixer)


@pytest.mark.parametrize("devices", [1, 8])
def test_norms_and_histograms_are_those_of_numpy(devices):
  params = make_params()
  names = layers.list_layers(params)
  double = jax.tree.map(lambda x: 2 * x, params)
  given, histograms = (params, double), layers.Histograms(params)
  if devices > 1:  # Sharded, so that sums go over devices.
    mesh = make_mesh(
      jax.devices(), {"params": params}, fsdp=4, tensor=2, replica=1
    )
    places = sharding.get_shardings(mesh, {"params": params})["params"]
    given = jax.device_put(given, (places, places))
    with jax.set_mesh(mesh):
      norms = jax.jit(layers.compute_norms)(*given)
      found = histograms.dispatch(given[0])
    assert all(x.is_fully_replicated for x in jax.tree.leaves((norms, found)))
  else:
    norms = jax.jit(layers.compute_norms)(*given)
    found = histograms.dispatch(given[0])
  counts, edges = histograms.finish(jax.device_get(found))
  for i, name in enumerate(names):
    arrays = cut(params, *VIT[name])
    norm = np.sqrt(sum((x**2).sum() for x in arrays.values()))
    np.testing.assert_allclose(norms[:, i], [norm, 2 * norm], rtol=1e-5)
    weights = [
      x for path, x in arrays.items() if not path.endswith(("bias", "scale"))
    ]
    values = np.concatenate([x.ravel() for x in weights or arrays.values()])
    assert counts[i].sum() == len(values)
    np.testing.assert_allclose(
      edges[i],
      np.linspace(values.min(), values.max(), layers.BINS + 1),
      # Beside 0 the spacing of float32 at the ends is what counts.
      **dict(rtol=1e-5, atol=1e-6),
    )
    expected, _ = np.histogram(values, np.asarray(edges[i], np.float64))
    np.testing.assert_array_equal(counts[i], expected)


def test_learning_rates_by_layer():
  params = make_params()
  assert layers.compute_rates(Optim(lr=1.0), params) == {}
  decayed = layers.compute_rates(Optim(lr=1.0, layer_decay=0.5), params)
  assert decayed["head"] == 1 and decayed["encoderblock_01"] == 0.5
  assert decayed["encoderblock_00"] == 0.25 and decayed["embedding"] == 0.125
  frozen = layers.compute_rates(
    Optim(lr=1.0, multipliers=(("head/bias", 0.0), ("head", 3.0))), params
  )
  assert frozen["head"] == 3 and frozen["cls"] == 1
