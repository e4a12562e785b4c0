# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import models
from vit_jax.models.autoencoder import make_positions, place_tokens
from vit_jax.models.flops import count_flops
from vit_jax.models.position import Layout
from vit_jax.objectives.mae import (
  MAE,
  count_visible,
  draw_visible,
  find_hidden,
  measure_patches,
)
from vit_jax.objectives.patches import cut_patches, join_patches

MODEL = models.make_model(0, variant="mu/4", dtype="float32", registers=2)
SMALL = dict(decoder_width=16, decoder_depth=2, decoder_heads=2)
RNG = np.random.default_rng(0)
PIXELS = RNG.uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
IMAGES = jnp.asarray(PIXELS)  # Of 16 patches.
BATCH = {"image": IMAGES, "mask": jnp.ones(3, bool)}


def make_params(objective):
  """Parameters that are all random, so that each has an effect."""
  shapes = jax.eval_shape(objective.module.init, jax.random.key(0), IMAGES)
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape, scale=0.2), x.dtype),
    shapes["params"],
  )


@pytest.mark.parametrize(
  ("patches", "rate", "count"),
  [
    (196, 0.75, 49),
    (256, 0.75, 64),
    (10, 0.9, 1),
    (4, 1.0, 1),
    (196, 0.5, 98),
    (9, 0.01, 8),
  ],
)
def test_a_quarter_is_visible(patches, rate, count):
  """Their number is exact; every patch is as likely as another."""
  assert count_visible(patches, rate) == count
  keys = jax.random.split(jax.random.key(0), 500)
  found = np.asarray(draw_visible(keys, patches, rate))
  assert found.shape == (500, count) and (np.diff(found, axis=1) > 0).all()
  share = count / patches
  often = np.bincount(found.ravel(), minlength=patches) / 500
  assert np.abs(often - share).max() < 5 * (share * (1 - share) / 500) ** 0.5


def test_tokens_find_their_places_again():
  visible = jnp.asarray([[1, 4], [0, 2]])
  kept, place = place_tokens(visible, 1, 5)
  np.testing.assert_array_equal(kept, [[0, 2, 5], [0, 1, 3]])
  np.testing.assert_array_equal(place, [[0, 3, 1, 3, 3, 2], [0, 1, 3, 2, 3, 3]])


def test_positions_are_those_of_the_authors():
  """Frequencies of 10000 ** -(i / (D / 4)); columns first, sines first."""
  found = np.asarray(make_positions(Layout((2, 3), 1, 1), 16))[0]
  assert not found[:2].any()
  omega = 10_000.0 ** -(np.arange(4) / 4)
  for place, row in enumerate(found[2:]):
    y, x = divmod(place, 3)
    expected = [f(p * omega) for p in (x, y) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(row, np.concatenate(expected), atol=1e-6)


def test_the_encoder_is_the_model_on_the_visible_patches():
  """What the decoder gets is what the encoder makes of these tokens alone."""
  objective = MAE(MODEL, **SMALL)
  params = make_params(objective)
  visible = draw_visible(jax.random.split(jax.random.key(1), 3), 16, 0.75)
  _, state = objective.module.apply(
    {"params": params},
    IMAGES,
    visible,
    capture_intermediates=lambda module, _: module.name == "embed",
    mutable=["intermediates"],
  )
  (embedded,) = jax.tree.leaves(state["intermediates"])
  assert embedded.shape == (3, 7, 16)  # Class token, registers, four patches.
  # Hidden patches are black: their attention is cut off by hand.
  kernel, bias = (params["mae"]["embed"][x] for x in ("kernel", "bias"))
  for image, own in enumerate(np.asarray(visible)):
    tokens = MODEL.apply(
      {"params": params}, IMAGES[image : image + 1], method="embed"
    )
    added = np.asarray(params["Transformer"]["posembed_input"]["pos_embedding"])
    positions = np.concatenate(
      [added[:, :1], np.zeros((1, 2, 32), np.float32), added[:, 1:]], axis=1
    )
    rows = [0, 1, 2, *(own + 3)]
    bare = models.make_model(
      0, variant="mu/4", dtype="float32", position="none", registers=2
    )

    def encode(module, x):
      return module.Transformer(x, Layout((1, 4), 1, 2), False, False)[0]

    body = {
      k: v for k, v in params["Transformer"].items() if k != "posembed_input"
    }
    found = bare.apply(
      {"params": {**params, "Transformer": body}},
      jnp.asarray((np.asarray(tokens) + positions)[:, rows]),
      method=encode,
    )
    expected = np.asarray(found[0] @ kernel) + np.asarray(bias)
    # Sums of 32 products in another order.
    np.testing.assert_allclose(embedded[image], expected, atol=2e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_that_of_the_hidden_patches(normalise):
  """Against NumPy, from the predictions; a masked example counts nothing."""
  objective = MAE(MODEL, normalise=normalise, **SMALL)
  predicted = RNG.normal(size=(3, 16, 48)).astype(np.float32)
  visible = np.array([[0, 3, 5, 9], [1, 2, 3, 4], [12, 13, 14, 15]], np.int32)
  losses = []
  for image, own, rows in zip(PIXELS, visible, predicted, strict=True):
    parts = []
    for place in set(range(16)) - set(own.tolist()):
      y, x = 4 * (place // 4), 4 * (place % 4)
      patch = image[y : y + 4, x : x + 4].ravel().astype(np.float64)
      if normalise:
        patch = (patch - patch.mean()) / (patch.var(ddof=1) + 1e-6) ** 0.5
      parts.append(((rows[place] - patch) ** 2).mean())
    losses.append(np.mean(parts))
  arrays = jnp.asarray(predicted), jnp.asarray(visible)
  total, count = objective.compute_metrics(*arrays, BATCH)["loss"]
  assert count == 3
  np.testing.assert_allclose(total, sum(losses), rtol=1e-5)
  padded = BATCH | {"mask": jnp.asarray([False, True, False])}
  total, count = objective.compute_metrics(*arrays, padded)["loss"]
  assert count == 1
  np.testing.assert_allclose(total, losses[1], rtol=1e-5)


def test_hidden_pixels_reach_no_prediction():
  objective = MAE(MODEL, **SMALL)
  params = make_params(objective)
  visible = draw_visible(jax.random.split(jax.random.key(1), 3), 16, 0.75)
  apply = jax.jit(objective.module.apply)
  before = apply({"params": params}, IMAGES, visible)
  hidden = find_hidden(visible, 16)[..., None, None, None]
  patches = cut_patches(IMAGES, 4)
  other = join_patches(jnp.where(hidden, 0.3, patches), (4, 4))
  np.testing.assert_array_equal(
    apply({"params": params}, other, visible), before
  )
  other = join_patches(jnp.where(hidden, patches, 0.3), (4, 4))
  # In every patch: one pixel of it may be rounded to the same number.
  changed = apply({"params": params}, other, visible) != before
  assert changed.any(axis=-1).all()


def test_an_evaluation_hides_the_same_of_an_image_in_any_batch():
  objective = MAE(MODEL, **SMALL)
  params = make_params(objective)
  evaluate = jax.jit(objective.evaluate)
  whole, count = evaluate(params, BATCH)["loss"]
  assert count == 3
  parts = [
    evaluate(params, {"image": IMAGES[i : i + 1], "mask": jnp.ones(1, bool)})
    for i in (2, 0, 1)
  ]
  # The sum of three numbers in another order.
  np.testing.assert_allclose(whole, sum(x["loss"][0] for x in parts), rtol=1e-6)


def test_a_reconstruction_keeps_what_is_visible():
  """And fills in the predictions, brought back to the values of pixels."""
  objective = MAE(MODEL, **SMALL)
  params = make_params(objective)
  found = jax.jit(objective.reconstruct)(params, IMAGES)
  patches, seen, filled = (
    np.asarray(cut_patches(x, 4)) for x in (IMAGES, *found)
  )
  hidden = ~(seen == patches).all(axis=(2, 3, 4))
  assert (hidden.sum(axis=1) == 12).all() and not seen[hidden].any()
  np.testing.assert_array_equal(filled[~hidden], patches[~hidden])
  mean, deviation = measure_patches(jnp.asarray(patches))
  flat = (patches.reshape(3, 16, 48) - mean) / deviation
  np.testing.assert_allclose(flat.mean(axis=-1), 0, atol=1e-5)
  np.testing.assert_allclose(flat.var(axis=-1, ddof=1), 1, rtol=1e-3)
  assert np.abs(filled).max() <= 1


def test_the_cost_of_the_encoder_is_that_of_the_visible_patches():
  """B/16 at 224 px: 50 tokens of 197 in the encoder, 197 in the decoder."""
  model = models.make_model(0, variant="B/16")
  objective = MAE(model)
  image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  variables = jax.eval_shape(objective.module.init, jax.random.key(0), image)
  found = count_flops(
    lambda params, image: objective.forward(params, image, jax.random.key(0)),
    variables["params"],
    image,
  )

  def block(n, d):  # Projections, attention and MLP; two a multiply-add.
    return 2 * (4 * n * d**2 + 2 * n**2 * d + 8 * n * d**2)

  patches = 2 * 196 * 768 * 768
  encoder = 12 * block(50, 768)
  decoder = 2 * 50 * 768 * 512 + 8 * block(197, 512) + 2 * 196 * 512 * 768
  assert found == patches + encoder + decoder
  whole = count_flops(model.apply, {"params": variables["params"]}, image)
  assert found / whole == pytest.approx(0.557, abs=1e-3)


@pytest.mark.parametrize(
  ("given", "key"),
  [
    (dict(decoder_width=10, decoder_heads=5), "for the decoder's positions"),
    (dict(decoder_width=16, decoder_heads=3), "objective.decoder_heads"),
  ],
)
def test_a_decoder_that_cannot_be_is_refused(given, key):
  (error,) = MAE(MODEL, **given).find_errors(16, 16, 3)
  assert key in error


def test_the_encoder_has_its_usual_paths():
  shapes = jax.eval_shape(MODEL.init, jax.random.key(0), IMAGES)["params"]
  objective = MAE(MODEL, **SMALL)
  found = jax.eval_shape(objective.module.init, jax.random.key(0), IMAGES)
  own = found["params"].pop("mae")
  assert found["params"] == shapes
  assert set(own) == {"Transformer", "embed", "mask", "head"}
