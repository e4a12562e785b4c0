# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Mean IoU: exact counts, at the size of every mask, on any mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.masks import make_shapes
from vit_jax import models
from vit_jax.config import ConfigError
from vit_jax.data.masks import UNLABELLED
from vit_jax.data.pipeline import Data
from vit_jax.devices.mesh import make_mesh
from vit_jax.evaluators.segmentation import (
  Segmentation,
  classify_pixels,
  compute_shares,
  count_pairs,
)
from vit_jax.objectives import segmentation as objectives
from vit_jax.objectives.objective import Setting
from vit_jax.objectives.supervised import Supervised
from vit_jax.train_state import TrainState

RNG = np.random.default_rng(0)


def test_counts_and_shares_by_hand():
  true = RNG.integers(0, 4, (9, 7)).astype(np.uint8)
  found = RNG.integers(0, 4, (9, 7)).astype(np.uint8)
  true[0], true[true == 3], found[found == 3] = UNLABELLED, 2, 1
  expected = np.zeros((4, 4), np.int64)
  for y in range(9):
    for x in range(7):
      if true[y, x] != UNLABELLED:
        expected[true[y, x], found[y, x]] += 1
  matrix = count_pairs(true, found, 4)
  np.testing.assert_array_equal(matrix, expected)
  shares = compute_shares(matrix)
  kept = true != UNLABELLED
  for i in range(3):
    both = (kept & (true == i) & (found == i)).sum()
    either = (kept & ((true == i) | (found == i))).sum()
    assert shares[i] == both / either
  assert np.isnan(shares[3])  # Nothing is, or is taken for, the last class.
  # Where float32 would no longer count.
  large = np.array([[2**24 + 1, 1], [0, 2**24]], np.int64)
  assert compute_shares(large)[0] == (2**24 + 1) / (2**24 + 2)


@pytest.mark.parametrize("shape", [(70, 9), (5, 6), (3, 4), (150, 160)])
def test_pixels_are_classified_by_logits_that_are_enlarged(shape):
  logits = RNG.normal(size=(5, 6, 3)).astype(np.float32)
  enlarged = jax.image.resize(
    jnp.asarray(logits), (*shape, 3), "bilinear", antialias=False
  )
  found = classify_pixels(logits, shape)
  first, second = np.sort(np.asarray(enlarged), axis=-1)[..., ::-1][..., :2].T
  clear = (first - second).T > 1e-5  # Not within rounding of a tie.
  assert clear.mean() > 0.99
  expected = np.asarray(enlarged).argmax(axis=-1)
  np.testing.assert_array_equal(found[clear], expected[clear])


def test_every_pixel_counts_once_on_any_mesh(tmp_path):
  """Batches are padded, and masks are of four sizes."""
  make_shapes(tmp_path, train=1, validation=11)
  data = Data(source=f"segmentation:{tmp_path}", size=16, threads=1)
  model = models.make_model(0, variant="mu/4", dtype="float32")
  objective = objectives.Segmentation(model).place(Setting(classes=3))
  params = objective.module.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
  state = TrainState(jnp.zeros((), jnp.int32), params["params"], (), None, {})
  found = []
  for devices in (jax.devices()[:1], jax.devices()):
    mesh = make_mesh(devices, params)
    evaluator = Segmentation(
      objective, data, mesh, 3, 8, split="validation", params="raw"
    )
    placed = state.replace(
      params=jax.device_put(
        state.params, jax.NamedSharding(mesh, jax.sharding.PartitionSpec())
      )
    )
    matrix, metrics, total = evaluator.count(placed)
    found.append((matrix, metrics["loss"].compute()))
    assert total == 11
  np.testing.assert_array_equal(found[0][0], found[1][0])
  np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)
  masks = [x["label"].decode() for x in data.open("validation")]
  assert len({x.shape for x in masks}) == 6
  assert matrix.sum() == sum((x != UNLABELLED).sum() for x in masks)
  values = dict(evaluator.run(placed))
  shares = compute_shares(matrix)
  assert values["miou"] == np.nanmean(shares)
  assert values["pixel_accuracy"] == np.trace(matrix) / matrix.sum()
  assert values["iou_disc"] == shares[2] and values["total"] == 11


def test_other_objectives_have_no_head_for_pixels():
  objective = Supervised(models.make_model(3, variant="mu/4"))
  mesh = make_mesh(jax.devices()[:1], {})
  with pytest.raises(ConfigError, match="objective.name='segmentation'"):
    Segmentation(objective, Data(source="tfds:x"), mesh, 3, 8, split="x")
