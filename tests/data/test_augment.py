# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import sharding
from vit_jax.config import ConfigError, check, parameters
from vit_jax.data import augment, randaugment
from vit_jax.data.augment import Augment, make_augment, normalize
from vit_jax.devices.mesh import make_mesh
from vit_jax.objectives.supervised import make_targets

RNG = np.random.default_rng(0)
BATCH = {
  "image": jnp.asarray(RNG.integers(0, 256, (64, 4, 6, 3), np.uint8)),
  "label": jnp.asarray(RNG.integers(0, 5, 64, np.int32)),
  "mask": jnp.ones(64, bool),
}
KEY = jax.random.key(3)
TARGETS = functools.partial(make_targets, num_classes=5)


def test_values_span_minus_one_to_one():
  image = jnp.asarray([0, 255], jnp.uint8).reshape(1, 1, 2, 1)
  values = normalize({"image": image})["image"].reshape(-1)
  np.testing.assert_allclose(values, [-1, 1], atol=1e-6)


def test_nothing_is_done_unless_asked_for():
  batch = make_augment(Augment(), TARGETS)(BATCH, KEY)
  expected = np.asarray(BATCH["image"]) / 127.5 - 1
  np.testing.assert_allclose(batch["image"], expected, atol=1e-6)
  np.testing.assert_array_equal(batch["label"], BATCH["label"])


def test_about_half_of_the_images_are_mirrored():
  plain = np.asarray(normalize(BATCH)["image"])
  found = np.asarray(
    make_augment(Augment(flip=True), TARGETS)(BATCH, KEY)["image"]
  )
  mirrored = np.array(
    [np.array_equal(f, p[:, ::-1]) for f, p in zip(found, plain, strict=True)]
  )
  kept = np.array(
    [np.array_equal(f, p) for f, p in zip(found, plain, strict=True)]
  )
  assert np.all(mirrored ^ kept)
  assert 20 <= mirrored.sum() <= 44


def test_mixup_mixes_images_and_labels_by_the_same_weight():
  batch = make_augment(Augment(mixup=0.5), TARGETS)(BATCH, KEY)
  plain = np.asarray(normalize(BATCH)["image"], np.float64)
  other = np.roll(plain, -1, axis=0)
  hot = np.eye(5)[np.asarray(BATCH["label"])]
  difference = (plain - other).reshape(64, -1)
  moved = (np.asarray(batch["image"], np.float64) - other).reshape(64, -1)
  weight = (moved * difference).sum(1) / (difference**2).sum(1)
  assert np.all((0.5 - 1e-5 <= weight) & (weight <= 1 + 1e-5))
  assert weight.std() > 0.1, "each example has a weight of its own"
  expected = weight[:, None] * hot + (1 - weight[:, None]) * np.roll(hot, -1, 0)
  np.testing.assert_allclose(batch["label"], expected, atol=1e-5)
  np.testing.assert_allclose(batch["label"].sum(axis=1), np.ones(64), atol=1e-5)


def test_the_same_key_gives_the_same_batch():
  apply = make_augment(Augment(mixup=0.5, flip=True), TARGETS)
  a, b = apply(BATCH, KEY), jax.jit(apply)(BATCH, KEY)
  np.testing.assert_allclose(a["image"], b["image"], atol=1e-6)
  c = apply(BATCH, jax.random.key(4))
  assert np.abs(a["image"] - c["image"]).max() > 0.1


def test_mixup_and_flip_draw_what_they_always_did():
  """The rest has keys of its own: runs of before are not changed."""
  keys = jax.vmap(jax.random.split)(jax.random.split(KEY, 64))
  coins = jax.vmap(jax.random.bernoulli)(keys[:, 0])
  draw = jax.vmap(lambda key: jax.random.beta(key, 0.5, 0.5))
  weight = np.asarray(draw(keys[:, 1]))
  weight = np.maximum(weight, 1 - weight)[:, None, None, None]
  plain = np.asarray(BATCH["image"]) / np.float32(127.5) - 1
  mirrored = np.asarray(coins)[:, None, None, None]
  plain = np.where(mirrored, plain[:, :, ::-1], plain)
  expected = weight * plain + (1 - weight) * np.roll(plain, -1, axis=0)
  found = make_augment(Augment(mixup=0.5, flip=True), TARGETS)(BATCH, KEY)
  found = found["image"]
  np.testing.assert_allclose(found, expected, atol=1e-6)


LARGE = {
  "image": jnp.asarray(RNG.integers(0, 256, (64, 12, 20, 3), np.uint8)),
  "label": BATCH["label"],
  "mask": BATCH["mask"],
}


def get_outline(inside):
  """(top, left, bottom, right) of the True pixels, which must fill it."""
  y, x = np.nonzero(inside)
  if not len(y):
    return 0, 0, 0, 0
  box = y.min(), x.min(), y.max() + 1, x.max() + 1
  assert inside[box[0] : box[2], box[1] : box[3]].all()
  return tuple(map(int, box))


def test_cutmix_pastes_a_box_and_mixes_labels_by_its_area():
  batch = jax.jit(make_augment(Augment(cutmix=1.0), TARGETS))(LARGE, KEY)
  plain = np.asarray(normalize(LARGE)["image"])
  hot = np.eye(5)[np.asarray(LARGE["label"])]
  areas = []
  for i in range(64):
    own, other = plain[i], plain[(i + 1) % 64]
    found = np.asarray(batch["image"][i])
    pasted = (np.abs(found - own) > 1e-5).any(axis=-1)
    top, left, bottom, right = get_outline(pasted)
    expected = own.copy()
    for y in range(top, bottom):
      for x in range(left, right):
        expected[y, x] = other[y, x]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    area = (bottom - top) * (right - left) / (12 * 20)
    label = (1 - area) * hot[i] + area * hot[(i + 1) % 64]
    np.testing.assert_allclose(batch["label"][i], label, atol=1e-6)
    areas.append(area)
  assert min(areas) < 0.1 and max(areas) > 0.5 and np.std(areas) > 0.1


def test_the_boxes_of_cutmix_are_of_the_share_that_beta_gives():
  """Or smaller, where the rim cuts them off."""

  def draw(key):
    share_key, centre_key = jax.random.split(key)
    share = jax.random.beta(share_key, 1.0, 1.0)
    return share, augment.sample_cutmix(centre_key, share, 200, 100)

  keys = jax.random.split(KEY, 50)
  whole = 0
  for share, box in zip(*jax.jit(jax.vmap(draw))(keys), strict=True):
    top, left, bottom, right = get_outline(np.asarray(box)[..., 0])
    h, w = (int(n * np.sqrt(share)) for n in (200, 100))
    assert bottom - top <= h and right - left <= w
    if 0 < top and bottom < 200 and 0 < left and right < 100:
      assert (bottom - top, right - left) == (h, w)
      whole += 1
  assert whole


def test_of_mixup_and_cutmix_a_coin_takes_one():
  both = jax.jit(make_augment(Augment(mixup=0.5, cutmix=1.0), TARGETS))(
    LARGE, KEY
  )
  only = [
    jax.jit(make_augment(Augment(**section), TARGETS))(LARGE, KEY)
    for section in (dict(mixup=0.5), dict(cutmix=1.0))
  ]
  same = np.array(
    [
      [
        all(  # Up to the last bit: compilers fuse the programs differently.
          np.allclose(both[key][i], one[key][i], rtol=0, atol=1e-6)
          for key in ("image", "label")
        )
        for one in only
      ]
      for i in range(64)
    ]
  )
  assert same.any(axis=1).all()
  assert 20 <= same[:, 1].sum() <= 44


@pytest.mark.parametrize("fill", ["noise", "grey"])
def test_erasing(fill):
  options = dict(erasing=0.5, erasing_area=(0.1, 0.3), erasing_fill=fill)
  batch = jax.jit(make_augment(Augment(**options), TARGETS))(LARGE, KEY)
  np.testing.assert_array_equal(batch["label"], LARGE["label"])
  plain = np.asarray(normalize(LARGE)["image"])
  shares, noise = [], []
  for own, found in zip(plain, np.asarray(batch["image"]), strict=True):
    top, left, bottom, right = get_outline(
      (np.abs(found - own) > 1e-5).any(axis=-1)
    )
    if bottom == top:
      continue
    h, w = bottom - top, right - left
    shares.append(h * w / (12 * 20))
    # Each side is rounded by half a pixel at most.
    assert (h - 0.5) / (w + 0.5) < 1 / 0.3 and (w - 0.5) / (h + 0.5) < 1 / 0.3
    assert (h - 0.5) * (w - 0.5) < 0.3 * 240 < 3 * (h + 0.5) * (w + 0.5)
    noise.append(found[top:bottom, left:right].ravel())
  assert 20 <= len(shares) <= 44
  assert min(shares) < 0.15 and max(shares) > 0.25
  noise = np.concatenate(noise)
  if fill == "grey":
    assert not noise.any()
  else:
    assert -1 <= noise.min() < -0.99 and 0.99 < noise.max() <= 1
    assert abs(noise.mean()) < 0.05
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_a_box_that_never_fits_erases_nothing():
  draw = jax.vmap(
    lambda key: augment.sample_erasing(key, 40, 2, 1.0, (0.95, 1.0))
  )
  assert not np.asarray(draw(jax.random.split(KEY, 20))).any()


ALL = Augment(
  flip=True,
  randaugment=(2, 10.0),
  erasing=0.5,
  mixup=0.2,
  cutmix=1.0,
)


def test_randaugment_is_in_the_batch_what_it_is_alone():
  images = LARGE["image"]
  section = Augment(randaugment=(2, 10.0))
  found = jax.jit(make_augment(section, TARGETS))(LARGE, KEY)["image"]
  keys = jax.random.split(KEY, 64)
  alone = jax.jit(randaugment.make_randaugment(2, 10.0))
  changed = 0
  for i in range(0, 64, 8):
    key = jax.random.fold_in(keys[i], augment.RANDAUGMENT)
    (one,) = alone(images[i][None], key[None])
    changed += not np.array_equal(one, images[i])
    expected = normalize({"image": one[None]})["image"][0]
    np.testing.assert_allclose(found[i], expected, atol=1e-6)
  assert changed >= 4


def test_an_example_depends_on_its_own_key_alone():
  """Whatever is beside it."""
  section = dataclasses.replace(ALL, mixup=0.0, cutmix=0.0)
  apply = jax.jit(make_augment(section, TARGETS))
  # Every second image is another one.
  order = np.arange(64)
  order[1::2] = np.roll(order[1::2], 1)
  other = LARGE | {"image": LARGE["image"][order]}
  first, second = apply(LARGE, KEY)["image"], apply(other, KEY)["image"]
  np.testing.assert_array_equal(first[::2], second[::2])
  assert all(np.any(first[i] != second[i]) for i in range(1, 64, 2))


def test_any_mesh_gives_the_same():
  expected = jax.jit(make_augment(ALL, TARGETS))(LARGE, KEY)
  assert expected["image"].shape == (64, 12, 20, 3)
  assert expected["label"].shape == (64, 5)
  assert expected["image"].dtype == expected["label"].dtype == jnp.float32
  assert np.abs(expected["image"]).max() <= 1 + 1e-6
  total = expected["label"].sum(axis=1)
  np.testing.assert_allclose(total, np.ones(64), atol=1e-6)
  mesh = make_mesh(fsdp=4, tensor=2)
  place = sharding.get_batch_sharding(mesh)
  placed = jax.tree.map(lambda x: jax.device_put(np.asarray(x), place), LARGE)
  with jax.set_mesh(mesh):
    program = jax.jit(make_augment(ALL, TARGETS)).lower(placed, KEY).compile()
    found = program(placed, KEY)
  # Neighbours are sent on to be mixed; nobody collects all images, and nobody
  # waits for what others draw.
  text = program.as_text()
  for transfer in ("all-gather(", "all-reduce(", "all-to-all("):
    assert transfer not in text
  assert text.count(" collective-permute(") == 2
  for name in ("image", "label"):
    assert found[name].sharding.spec[0] == place.spec[0]
    np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_what_can_not_be_is_refused():
  with pytest.raises(ConfigError, match="erasing_area"):
    Augment(erasing_area=(0.4, 0.1))
  keys = parameters(Augment)
  for section in (
    dict(randaugment=(0, 10)),
    dict(randaugment=(2, 31)),
    dict(randaugment=2),
    dict(cutmix=-1.0),
    dict(erasing=1.5),
    dict(erasing_area=(0.0, 0.5)),
    dict(erasing_fill="black"),
  ):
    errors = []
    check("data.augment", section, keys, errors)
    assert len(errors) == 1 and next(iter(section)) in errors[0]
  errors = []
  found = check("data.augment", dict(randaugment=[2, 10]), keys, errors)
  assert found["randaugment"] == (2, 10.0) and not errors
