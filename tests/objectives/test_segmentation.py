# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models
from vit_jax.data.masks import UNLABELLED
from vit_jax.objectives.objective import Setting
from vit_jax.objectives.segmentation import Segmentation
from vit_jax.sharding import get_letters, get_path

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (3, 8, 12, 3)).astype(np.float32))


def make_objective(head="linear", classes=4, **fields):
  model = models.make_model(0, variant="mu/4", dtype="float32", **fields)
  found = Segmentation(model, head=head, head_width=8)
  return found.place(Setting(classes=classes))


def test_the_loss_by_hand():
  """Bilinear logits, a mean over labelled pixels, and then over images."""
  logits = RNG.normal(size=(3, 2, 3, 4)).astype(np.float32)
  target = RNG.integers(0, 4, (3, 4, 6)).astype(np.uint8)
  target[RNG.random(target.shape) < 0.3] = UNLABELLED
  target[1] = UNLABELLED
  mask = np.array([True, True, False])
  losses, shares = [], []
  for image, true in zip(logits, target, strict=True):
    found, right = [], []
    for y in range(4):
      for x in range(6):
        if true[y, x] == UNLABELLED:
          continue
        row = min(max((y + 0.5) / 2 - 0.5, 0), 1)
        column = min(max((x + 0.5) / 2 - 0.5, 0), 2)
        pixel = np.zeros(4)
        for i in range(2):
          for j in range(3):
            near = max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j))
            pixel += near * image[i, j]
        found.append(np.log(np.exp(pixel).sum()) - pixel[true[y, x]])
        right.append(pixel.argmax() == true[y, x])
    losses.append(np.mean(found) if found else 0.0)
    shares.append(np.mean(right) if right else 0.0)
  metrics = make_objective().compute_metrics(
    jnp.asarray(logits), jnp.asarray(target), jnp.asarray(mask)
  )
  total, count = metrics["loss"]
  np.testing.assert_allclose(total, sum(losses[:2]), rtol=1e-5)
  assert count == 2
  np.testing.assert_allclose(
    metrics["pixel_accuracy"][0], sum(shares[:2]), rtol=1e-5
  )


@pytest.mark.parametrize(
  "head, fields, sizes, parameters",
  [
    ("linear", {}, (2, 3), 32 * 4 + 4),
    ("naive", dict(pool="gap", fc_norm=True), (2, 3), 33 * 8 + 16 + 9 * 4),
    # Two doublings of patches of 4 px.
    (
      "pup",
      dict(registers=2),
      (8, 12),
      (32 * 9 + 1) * 8 + (8 * 9 + 1) * 8 + 2 * 16 + 9 * 4,
    ),
  ],
)
def test_heads(head, fields, sizes, parameters):
  objective = make_objective(head, **fields)
  params = jax.jit(objective.module.init)(jax.random.key(0), IMAGES)["params"]
  apply = jax.jit(objective.module.apply)
  logits = apply({"params": params}, IMAGES)
  assert logits.shape == (3, *sizes, 4) and logits.dtype == np.float32
  own = jax.tree_util.tree_leaves_with_path(
    {"segmentation": params["segmentation"]}
  )
  assert sum(x.size for _, x in own) == parameters
  for keys, x in own:  # Each has a place on a mesh.
    assert len(get_letters(get_path(keys)).split()) == x.ndim
  if head == "linear":
    _, found = objective.model.apply(
      {"params": params}, IMAGES, intermediates=True
    )
    tokens = np.asarray(found["encoded"])[:, 1:]
    layer = params["segmentation"]["head"]
    expected = tokens @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    np.testing.assert_allclose(
      logits.reshape(expected.shape), expected, rtol=1e-5, atol=1e-5
    )
  if "fc_norm" in fields:  # Its norm is that of the patches.
    norm = dict(params["pooled_norm"], scale=jnp.linspace(0, 2, 32))
    other = apply({"params": {**params, "pooled_norm": norm}}, IMAGES)
    assert np.abs(other - logits).max() > 0.01


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(variant="R50x1"), "a ViT or hybrid, and model.variant is a ResNet"),
    (dict(variant="mu/4", patch_dropout=0.5), "patch_dropout=0.5 drops"),
  ],
)
def test_what_has_no_patches(fields, message):
  objective = Segmentation(models.make_model(0, **fields))
  (error,) = objective.find_errors(32, 32, 3)
  assert message in error
