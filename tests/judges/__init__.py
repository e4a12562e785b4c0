# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Our converters before judges that nobody here wrote: timm and transformers,
in torch on CPU. All of it ends in logits, theirs beside ours."""

import dataclasses
import math

import jax
import numpy as np

from vit_jax import models
from vit_jax.convert import Weights
from vit_jax.convert.npz import POSITION
from vit_jax.convert.resample import resample_positions
from vit_jax.convert.weights import make_abstract_params
from vit_jax.data.preprocess import Preprocess

TOLERANCE = 3e-5  # float32 summed in another order, through 24 blocks.
STEM_TOLERANCE = 1e-4  # And through convolutions of very uneven channels.
CLASSES = 10

# Not square, more patches down than 224 px have, fewer across.
OTHER_SIZE = (256, 160)


def make_weights(
  variant,
  size=(224, 224),
  channels=3,
  num_classes=CLASSES,
  preprocess=None,
  **fields,
):
  """A model of which every array, biases and norms too, moves the logits."""
  rng = np.random.default_rng(0)
  fields = dict(dtype="float32") | fields
  model = models.make_model(num_classes, variant=variant, **fields)
  params = {}
  for path, array in make_abstract_params(model, size, channels).items():
    x = rng.standard_normal(array.shape, np.float32)
    if path.startswith(("conv_root/", "block")) and path.endswith("kernel"):
      # Small enough in some channels for the epsilons of the stem to count.
      x *= 10 ** rng.uniform(-6, -1, x.shape[-1]).astype(np.float32)
    elif path.endswith("kernel"):
      # Large enough for one GELU to differ from the other.
      x *= 2 * model.width**-0.5
    else:
      x *= 0.2
    params[path] = 1 + x if path.endswith("scale") else x
  preprocess = Preprocess(
    height=size[0], width=size[1], channels=channels, **(preprocess or {})
  )
  return Weights(
    params=params,
    variant=variant,
    fields=fields,
    num_classes=num_classes,
    preprocess=preprocess,
  )


def randomize(model):
  """Fills a model of torch with values like those of `make_weights`."""
  rng = np.random.default_rng(2)
  for name, parameter in model.named_parameters():
    x = rng.standard_normal(tuple(parameter.shape), np.float32)
    if parameter.ndim == 2 or parameter.ndim == 4:
      x *= 2 / math.sqrt(math.prod(x.shape[1:]))
    else:
      x *= 0.2
    one = parameter.ndim == 1 and name.endswith(("weight", "gamma"))
    parameter.data.numpy()[...] = 1 + x if one else x


def make_images(size=(224, 224), channels=3):
  """Two images [2 H W c] of values in [-1, 1], of squares and noise.

  Of noise alone all patches, and so all logits, would be much the same.
  """
  rng = np.random.default_rng(1)
  side = 16
  cells = (2, size[0] // side, size[1] // side, channels)
  squares = np.kron(rng.uniform(-0.7, 0.7, cells), np.ones((1, side, side, 1)))
  noise = rng.uniform(-0.3, 0.3, (2, *size, channels))
  return (squares + noise).astype(np.float32)


def resize(weights, size, kernel):
  """Weights for images of another size."""
  layouts = (weights.model.make_layout(*x) for x in (weights.size, size))
  position = resample_positions(
    weights.params[POSITION], *(x.grid for x in layouts), kernel
  )
  return dataclasses.replace(
    weights,
    params=weights.params | {POSITION: position},
    preprocess=dataclasses.replace(
      weights.preprocess, height=size[0], width=size[1]
    ),
  )


def check(weights, images, judged):
  """Our logits must be the judge's, to a share of their largest.

  Args:
    weights: ours.
    images: [B H W c].
    judged: the judge's logits [B Y].
  """
  apply = jax.jit(weights.model.apply)
  ours = np.asarray(apply({"params": weights.tree}, images))
  theirs = np.asarray(judged)
  assert ours.shape == theirs.shape
  largest = np.abs(theirs).max()
  assert np.ptp(theirs, axis=0).max() > 0.05 * largest, "images hardly matter"
  difference = np.abs(ours - theirs).max() / largest
  plain = weights.model.stem is None
  tolerance = TOLERANCE if plain else STEM_TOLERANCE
  assert difference <= tolerance, f"they differ by {difference:.1e}"
