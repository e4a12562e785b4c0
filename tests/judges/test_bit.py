# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""timm's ResNets of BiT read what we write as BiT's release does."""

import jax
import numpy as np
import pytest

from tests.judges import CLASSES, make_images
from vit_jax import models
from vit_jax.convert import Weights, load_weights, save_weights
from vit_jax.convert.weights import make_abstract_params
from vit_jax.data.preprocess import Preprocess

pytestmark = pytest.mark.judges

SIZE = (96, 96)
# float32, of sums over up to 4,608 products, through 53 convolutions.
TOLERANCE = 3e-5


def make_bit():
  """An R50x1 with kernels of the scales that trained ones have."""
  model = models.make_model(CLASSES, variant="R50x1", dtype="float32")
  rng = np.random.default_rng(0)
  params = {}
  for path, array in make_abstract_params(model, SIZE, 3).items():
    x = rng.standard_normal(array.shape, np.float32)
    x *= 0.02 if path.endswith("kernel") else 0.2
    params[path] = 1 + x if path.endswith("scale") else x
  return Weights(
    params=params,
    variant="R50x1",
    fields=dict(dtype="float32"),
    num_classes=CLASSES,
    preprocess=Preprocess(height=SIZE[0], width=SIZE[1], channels=3),
  )


@pytest.fixture(scope="module")
def judged(torch, timm, tmp_path_factory):
  """The path of a bare BiT file, images, and timm's logits in float64."""
  path = tmp_path_factory.mktemp("bit") / "BiT.npz"
  save_weights(make_bit(), str(path), "bit")
  (path.parent / f"{path.name}.json").unlink()
  model = timm.create_model("resnetv2_50x1_bit", num_classes=CLASSES)
  model.load_pretrained(str(path))
  model = model.eval().double()
  for module in model.modules():
    if type(module).__name__ == "StdConv2d":
      assert module.eps == 1e-8  # timm's own, of all its ResNets.
      module.eps = 1e-10  # That of BiT's release, in PyTorch too.
  images = make_images(SIZE)
  logits = model(torch.from_numpy(np.moveaxis(images, -1, 1)).double())
  return path, images, np.asarray(logits)


def compare(judged, **fields):
  """The largest difference of logits, to a share of their largest."""
  path, images, theirs = judged
  weights = load_weights(str(path), **fields)
  ours = jax.jit(weights.model.apply)({"params": weights.tree}, images)
  return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def test_a_bare_file_of_bit_gives_its_logits(judged):
  found = compare(judged)
  assert found <= TOLERANCE, f"they differ by {found:.1e}"


def test_the_epsilons_of_hybrids_do_not(judged):
  fields = dict(group_norm_eps=1e-6, std_conv_eps=1e-5, std_conv_eps_in="std")
  assert compare(judged, **fields) > 10 * TOLERANCE
