# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Logits that the programs of the releases compute from files that we write.

They were recorded once, with the commits below: `save_weights` wrote the model
of a row in the row's format, the program read it (GroupNorm's arrays without
their dimensions of 1, where flax now wants them so) and was shown
`make_images`. To record one again, for BiT:

  from bit_pytorch import models  # In a clone of the repository, with torch.
  model = models.ResNetV2([1, 1, 1, 1], 1, head_size=5)
  model.load_from(np.load("bit.npz"))
  images = torch.from_numpy(make_images(64).transpose(0, 3, 1, 2))
  print(model.double().eval()(images.double()))

and for the others, in float32 and jax 0.10.2, `VisionTransformer(...).apply` or
`MlpMixer(...).apply` with `train=False`, and `vit.Model(...).apply`.
"""

import zlib

import jax
import numpy as np
import pytest

from vit_jax import models
from vit_jax.convert.weights import (
  Weights,
  load_weights,
  make_abstract_params,
)
from vit_jax.convert.writing import save_weights
from vit_jax.data.preprocess import Preprocess

# google-research/big_transfer at 140de6e (bit_pytorch, in float64),
# vision_transformer at c6de1e5, and big_vision at 0127fb6: format, side of the
# images, model, logits.
ROWS = {
  "big_transfer": (
    *("bit", 64, dict(variant="R50x1", stages=(1, 1, 1, 1))),
    [
      [3.40929761, 3.234586878, -5.848356391, 1.821269412, 1.14632719],
      [1.260069853, 4.756226724, -3.185785432, -1.373239587, 1.363172156],
    ],
  ),
  "vision_transformer": (
    *("authors_linen", 32),
    dict(variant="mu/8", depth=2, representation_size=24),
    [
      [-0.1973414, -0.69259524, -0.1988993, 0.05840972, -0.48511368],
      [-0.4226463, -0.12056863, 0.19158384, -0.3360896, -0.7894677],
    ],
  ),
  "vision_transformer, mean": (
    *("authors_linen", 32, dict(variant="mu/8", depth=2, pool="gap")),
    [
      [0.53018814, 0.013682917, 0.96994877, -0.24939725, 0.75501764],
      [-0.52330774, 0.25723833, 0.4322285, -0.095504075, -0.007495165],
    ],
  ),
  "vision_transformer, hybrid": (
    *("authors_linen", 32, dict(variant="mu/1", depth=1, stem=(1, 1))),
    [
      [1.2201011, -1.0726825, 1.0070337, 0.45638895, -0.71469975],
      [1.7644969, -0.17996384, 1.9115063, 0.4356105, -0.294734],
    ],
  ),
  "vision_transformer, mixer": (
    *("mixer", 32),
    dict(variant="Mixer-B/8", depth=2, width=32, mlp_dim=48, token_mlp_dim=24),
    [
      [0.42800555, 0.12802128, -0.36701873, -0.1560018, -0.10229164],
      [0.767909, -0.082524285, -0.7914946, -0.30730027, -0.40380457],
    ],
  ),
  "big_vision, as of configs/vit_s16.py": (
    *("big_vision", 32),
    dict(
      variant="mu/8",
      depth=2,
      pool="gap",
      position="sincos_2d",
      representation_size=24,
    ),
    [
      [0.3996369, 0.6422758, 0.4767004, 0.30161434, 0.88260996],
      [0.3686066, 0.68238443, 0.5001463, 0.03327456, 0.63827133],
    ],
  ),
  "big_vision, attention pooling": (
    *("big_vision", 32, dict(variant="mu/8", depth=2, pool="map")),
    [
      [1.3755431, 0.008069441, -2.4864655, 3.0123944, -2.4893994],
      [3.1202285, -1.1845349, -2.8787074, 2.539334, -3.6502957],
    ],
  ),
}


def make_array(path, shape):
  """The numbers of one array, from its name."""
  rng = np.random.default_rng(zlib.crc32(path.encode()))
  numbers = rng.normal(size=shape)
  is_scale = path.endswith("scale")
  return (1 + 0.1 * numbers if is_scale else 0.2 * numbers).astype(np.float32)


def make_images(side):
  rng = np.random.default_rng(0)
  return rng.uniform(-1, 1, (2, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ROWS)
def test_logits_are_those_of_the_released_program(name, tmp_path):
  form, side, fields, expected = ROWS[name]
  fields = dict(fields, dtype="float32")
  model = models.make_model(5, **fields)
  shapes = make_abstract_params(model, (side, side), 3)
  weights = Weights(
    params={path: make_array(path, x.shape) for path, x in shapes.items()},
    variant=fields.pop("variant"),
    fields=fields,
    num_classes=5,
    preprocess=Preprocess(height=side, width=side, channels=3),
  )
  path = tmp_path / "x.npz"
  save_weights(weights, str(path), form)
  (tmp_path / "x.npz.json").unlink()
  # A bare file, as those of the releases are.
  found = load_weights(str(path), source_size=(side, side))
  assert found.form == form
  logits = jax.jit(found.model.apply)({"params": found.tree}, make_images(side))
  assert (
    np.abs(logits - np.array(expected)).max() < 1e-5 * np.abs(expected).max()
  )
