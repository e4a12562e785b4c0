# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small models with random parameters, to be written and read."""

import functools
import json
import math

import jax
import numpy as np
import pytest

from vit_jax import models
from vit_jax.convert import files, storing
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.weights import Weights, load_weights, make_abstract_params
from vit_jax.data.preprocess import Preprocess

# A model of each kind; at 224 px, so that no size needs to be given.
VIT = dict(variant="mu/16", depth=2)
HYBRID = dict(variant="mu/1", depth=2, stem=(1, 1))
MIXER = dict(
  variant="Mixer-B/16", depth=2, width=32, mlp_dim=48, token_mlp_dim=24
)
RESNET = dict(variant="R50x1", stages=(2, 1))


@functools.cache
def compute_shapes(classes, size, channels, items):
  """Path -> shape; cached, as it takes most of the time of a sample."""
  model = models.make_model(classes, **dict(items))
  found = make_abstract_params(model, size, channels)
  return {path: tuple(leaf.shape) for path, leaf in found.items()}


def make_weights(fields=VIT, *, size=(224, 224), channels=3, classes=5, **more):
  """Weights of a model of random parameters."""
  fields = dict(dtype="float32") | fields
  preprocess = Preprocess(
    height=size[0],
    width=size[1],
    channels=channels,
    **more.pop("preprocess", {}),
  )
  names = more.pop("class_names", ())
  source = more.pop("source", "a sample")
  fields |= more
  rng = np.random.default_rng(0)
  params = {
    path: rng.normal(size=shape).astype(np.float32)
    for path, shape in compute_shapes(
      classes, size, channels, tuple(fields.items())
    ).items()
  }
  return Weights(
    params=params,
    variant=fields.pop("variant"),
    fields=fields,
    num_classes=classes,
    preprocess=preprocess,
    class_names=names,
    source=source,
  )


def make_tiny_weights(size=(8, 8), names=(), **more):
  """Weights of a model that reads images of a few pixels."""
  fields = dict(variant="mu/2", depth=2)
  return make_weights(
    fields, size=size, class_names=names, source="source", **more
  )


def check_params(found, expected):
  """Both have the same arrays, to the bit."""
  assert found.keys() == expected.keys()
  for path, array in found.items():
    assert array.dtype == np.float32 and array.shape == expected[path].shape
    assert array.tobytes() == expected[path].tobytes(), path


def check_same(found, expected):
  """Both are the same model with the same parameters."""
  check_params(found.params, expected.params)
  assert found.all_fields == expected.all_fields
  assert found.num_classes == expected.num_classes
  assert found.class_names == expected.class_names
  assert found.preprocess == expected.preprocess


def read_arrays(path):
  """Reads all arrays of a file or directory: name -> array."""
  with files.open_arrays(path) as arrays:
    return {name: array.load() for name, array in arrays.items()}


def edit(path, change):
  """Rewrites the arrays of a file."""
  arrays = change(read_arrays(path))
  if str(path).endswith(".npz"):
    storing.write_npz(path, arrays, overwrite=True)
  else:
    storing.write_safetensors(path, arrays, {"format": "pt"}, overwrite=True)


def compute_logits(weights, seed=0):
  """Logits of a model for two random images."""
  shape = (2, *weights.size, weights.preprocess.channels)
  images = jax.random.normal(jax.random.key(seed), shape)
  apply = jax.jit(weights.model.apply)
  return np.asarray(apply({"params": weights.tree}, images))


def count(shapes):
  """Parameters in arrays of these shapes."""
  return sum(math.prod(shape) for shape in shapes.values())


def check_refused(path, *parts, **how):
  """Reading fails, and the message has all the parts."""
  with pytest.raises(CheckpointError) as caught:
    load_weights(path, **how)
  for part in (path, *parts):
    assert part in str(caught.value), str(caught.value)
  return str(caught.value)


def lie(path, changes):
  """Changes dotted keys of a manifest; a text replaces it."""
  if isinstance(changes, str):
    path.write_text(changes)
    return
  manifest = json.loads(path.read_text())
  for key, value in changes.items():
    *sections, last = key.split(".")
    section = manifest
    for name in sections:
      section = section[name]
    section[last] = value
  path.write_text(json.dumps(manifest))
