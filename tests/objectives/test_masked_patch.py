# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vit_jax import models
from vit_jax.objectives import masked_patch
from vit_jax.objectives.masked_patch import (
  KEPT,
  MASKED,
  REPLACED,
  Corruption,
  MaskedPatch,
  compute_colours,
  cut_cells,
  draw_corruption,
)
from vit_jax.objectives.patches import (
  cut_patches,
  join_patches,
  make_image_keys,
)

MODEL = models.make_model(0, variant="mu/4", dtype="float32")
RNG = np.random.default_rng(0)
PIXELS = RNG.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
IMAGES = jnp.asarray(PIXELS)  # Of 16 patches.
BATCH = {"image": IMAGES, "mask": jnp.ones(2, bool)}


def make_params(objective, image=IMAGES):
  """Parameters that are all random, so that each has an effect."""
  shapes = jax.eval_shape(objective.module.init, jax.random.key(0), image)[
    "params"
  ]
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape, scale=0.3), x.dtype), shapes
  )


def draw(count, patches, rate):
  """What becomes of the patches of `count` images."""
  keys = jax.random.split(jax.random.key(3), count)
  found = jax.vmap(lambda key: draw_corruption(key, patches, rate))(keys)
  return Corruption(*map(np.asarray, found))


@pytest.mark.parametrize(
  ("rate", "count"), [(0.5, 98), (0.15, 29), (0.75, 147)]
)
def test_statistics_of_the_corruption(rate, count):
  """196 patches: their number is exact, what becomes of each is binomial."""
  found = draw(400, 196, rate)
  assert found.chosen.shape == (400, count)
  assert (np.diff(found.chosen, axis=1) > 0).all()  # Distinct, in order.
  whole = np.ones((400, 196), bool)
  np.put_along_axis(whole, found.chosen, False, axis=1)
  assert (found.kind[whole] == KEPT).all()
  # Every patch is as likely as another: 5 standard deviations.
  share = count / 196
  often = (~whole).mean(axis=0)
  assert np.abs(often - share).max() < 5 * (share * (1 - share) / 400) ** 0.5
  kinds = found.kind[~whole]
  for kind, p in ((MASKED, 0.8), (REPLACED, 0.1), (KEPT, 0.1)):
    deviation = (p * (1 - p) / kinds.size) ** 0.5
    assert abs((kinds == kind).mean() - p) < 4 * deviation
  # What replaces a patch is another one, that the encoder sees anyway.
  rows = np.arange(400)[:, None]
  assert whole[rows, found.source].all()
  sources = np.bincount(found.source.ravel(), minlength=196) / found.source.size
  assert sources.max() < 2.5 / 196 and sources.min() > 0.3 / 196


def test_draws_are_of_each_image_alone():
  """The first two of four images have what they have among two."""
  keys = make_image_keys(jnp.concatenate([IMAGES, IMAGES[::-1]]))
  levels = np.round((PIXELS.reshape(2, -1).astype(np.float64) + 1) * 127.5)
  words = (levels * np.arange(1, 769)).sum(axis=1) % 2**32
  expected = [jax.random.fold_in(jax.random.key(0), int(x)) for x in words]
  data = [jax.random.key_data(x) for x in (*expected, *expected[::-1])]
  np.testing.assert_array_equal(jax.random.key_data(keys), np.stack(data))


def test_patches_by_hand():
  image = np.arange(4 * 6).reshape(1, 4, 6, 1).astype(np.float32)
  patches = cut_patches(jnp.asarray(image), 2)
  assert patches.shape == (1, 6, 2, 2, 1)
  np.testing.assert_array_equal(patches[0, 1, ..., 0], [[2, 3], [8, 9]])
  np.testing.assert_array_equal(patches[0, 3, ..., 0], [[12, 13], [18, 19]])
  np.testing.assert_array_equal(join_patches(patches, (2, 3)), image)


def test_colours_by_hand():
  """Three bits of red, green and blue: (255, 128, 31) is 7, 4 and 0."""
  colours = np.array([[255, 128, 31], [0, 0, 0], [32, 223, 224]], np.float32)
  patches = np.broadcast_to(colours[None, :, None, None], (1, 3, 4, 4, 3))
  found = compute_colours(jnp.asarray(patches / 127.5 - 1))
  np.testing.assert_array_equal(found, [[7 * 64 + 4 * 8, 0, 64 + 6 * 8 + 7]])
  # The mean decides: half black and half white is in the middle, 4.
  half = np.full((1, 1, 4, 4, 1), -1, np.float32)
  half[:, :, :2] = 1
  assert compute_colours(jnp.asarray(half)) == 4


def test_a_patch_is_sized_down_to_sixteen_means():
  patch = RNG.uniform(-1, 1, (1, 2, 8, 8, 1)).astype(np.float32)
  found = np.asarray(cut_cells(jnp.asarray(patch)).mean(axis=(2, 3)))
  expected = patch.reshape(1, 2, 4, 2, 4, 2, 1).mean(axis=(3, 5))
  np.testing.assert_allclose(found.reshape(1, 2, 4, 4, 1), expected, atol=1e-6)


@pytest.mark.parametrize("target", ["mean_colour", "downsized", "pixels"])
def test_the_loss_is_that_of_the_corrupted_patches(target):
  """Against NumPy, from the predictions; a masked example counts nothing."""
  objective = MaskedPatch(MODEL, target=target)
  params = make_params(objective)
  found = objective.module.apply({"params": params}, BATCH["image"])
  predicted, chosen = (np.asarray(x) for x in (found[0], found[1].chosen))
  assert chosen.shape == (2, 8)
  losses = []
  for image, own, rows in zip(PIXELS, chosen, predicted, strict=True):
    parts = []
    for place, row in zip(own, rows, strict=True):
      y, x = 4 * (place // 4), 4 * (place % 4)
      patch = image[y : y + 4, x : x + 4].astype(np.float64)
      if target == "pixels":
        parts.append(((row - patch.ravel()) ** 2).mean())
        continue
      cells = patch.reshape(-1, 3)  # A pixel each, of patches of four.
      if target == "mean_colour":
        cells = cells.mean(axis=0, keepdims=True)
      digits = np.clip(np.floor((cells + 1) * 4), 0, 7).astype(int)
      classes = digits @ [64, 8, 1]
      logs = scipy.special.log_softmax(row.reshape(-1, 512), axis=-1)
      parts += [-logs[i, k] for i, k in enumerate(classes)]
    losses.append(np.mean(parts))
  evaluate = jax.jit(objective.evaluate)
  total, count = evaluate(params, BATCH)["loss"]
  assert count == 2
  np.testing.assert_allclose(total, sum(losses), rtol=1e-5)
  padded = BATCH | {"mask": jnp.asarray([True, False])}
  total, count = evaluate(params, padded)["loss"]
  assert count == 1
  np.testing.assert_allclose(total, losses[0], rtol=1e-5)


def test_nothing_leaks_into_a_prediction():
  """No patch but a kept one sees its own pixels, not even through others."""
  objective = MaskedPatch(MODEL, target="pixels")
  params = make_params(objective)
  keys = jax.random.split(jax.random.key(3), 2)
  apply = jax.jit(
    lambda image: objective.module.apply({"params": params}, image, keys)
  )
  _, found = apply(IMAGES)
  chosen, kind, source = map(np.asarray, found)
  # By all pixels of each patch: [B n F] by [B H W c].
  gradients = jax.jit(
    jax.vmap(
      jax.grad(lambda image, i: apply(image)[0][:, i].sum()), in_axes=(None, 0)
    )
  )(IMAGES, jnp.arange(8))
  seen = np.asarray(
    jax.vmap(lambda x: cut_patches(jnp.abs(x), 4).sum(axis=(2, 3, 4)))(
      gradients
    )
  )
  kinds = np.take_along_axis(kind, chosen, axis=1)
  assert {*kinds.ravel()} == {MASKED, REPLACED, KEPT}
  for image in range(2):
    for i, place in enumerate(chosen[image]):
      own = seen[i, image, place]
      assert (own > 0) == (kinds[image, i] == KEPT)
      # Whole patches are seen, and other images never.
      whole = np.setdiff1d(np.arange(16), chosen[image])
      assert (seen[i, image, whole] > 0).all()
  # And with other pixels in every hidden patch nothing changes.
  hidden = np.where(kind != KEPT, True, False)[..., None, None, None]
  other = jnp.where(hidden, 0.5, cut_patches(IMAGES, 4))
  changed = apply(join_patches(other, (4, 4)))
  np.testing.assert_array_equal(changed[0], apply(IMAGES)[0])


def test_positions_are_added_to_what_is_corrupted():
  """[mask] is the same everywhere, and what is predicted from it is not."""
  objective = MaskedPatch(MODEL)
  params = make_params(objective)
  keys = jax.random.split(jax.random.key(5), 2)
  (predicted, found), state = objective.module.apply(
    {"params": params},
    IMAGES,
    keys,
    capture_intermediates=lambda module, name: name == "corrupt",
    mutable=["intermediates"],
  )
  (corrupted,) = jax.tree.leaves(state["intermediates"])
  plain = MODEL.apply({"params": params}, IMAGES, method="embed")[:, 1:]
  mask = np.asarray(params["masked_patch"]["mask"])[0]
  for image in range(2):
    for place in range(16):
      kind, other = found.kind[image, place], found.source[image, place]
      expected = {
        MASKED: mask[0],
        REPLACED: plain[image, other],
        KEPT: plain[image, place],
      }[int(kind)]
      np.testing.assert_array_equal(corrupted[image, place], expected)
    masked = np.asarray(found.kind[image][found.chosen[image]]) == MASKED
    rows = np.asarray(predicted[image])[masked]
    assert len(np.unique(rows, axis=0)) == masked.sum() > 2


def test_the_encoder_has_its_usual_paths():
  """All of the model's, also of a pooling that training does not use."""
  model = models.make_model(
    0, variant="mu/4", pool="map", representation_size=8, dtype="float32"
  )
  shapes = jax.eval_shape(model.init, jax.random.key(0), IMAGES)["params"]
  found = jax.eval_shape(
    MaskedPatch(model).module.init, jax.random.key(0), IMAGES
  )["params"]
  own = found.pop(masked_patch.NAME)
  assert found == shapes
  assert own["head"]["kernel"].shape == (32, 512)


@pytest.mark.parametrize(
  ("variant", "fields", "size", "key"),
  [
    ("R50x1", {}, 16, "ResNet"),
    ("R+Ti/16", {}, 64, "stem"),
    ("mu/4", dict(patch_dropout=0.5), 16, "model.patch_dropout=0.5"),
    ("mu/16", {}, 16, "data.size"),
    ("mu/6", {}, 12, "objective.target='downsized'"),
  ],
)
def test_what_has_no_patches_to_hide_is_refused(variant, fields, size, key):
  model = models.make_model(0, variant=variant, **fields)
  (error,) = MaskedPatch(model, target="downsized").find_errors(size, size, 3)
  assert key in error
