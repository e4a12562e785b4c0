# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.data.augment import Augment, make_augment, normalize
from vit_jax.objectives.supervised import get_targets

RNG = np.random.default_rng(0)
BATCH = {
  "image": jnp.asarray(RNG.integers(0, 256, (64, 4, 6, 3), np.uint8)),
  "label": jnp.asarray(RNG.integers(0, 5, 64, np.int32)),
  "mask": jnp.ones(64, bool),
}
KEY = jax.random.key(3)
TARGETS = functools.partial(get_targets, num_classes=5)


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
  augment = make_augment(Augment(mixup=0.5, flip=True), TARGETS)
  a, b = augment(BATCH, KEY), jax.jit(augment)(BATCH, KEY)
  np.testing.assert_allclose(a["image"], b["image"], atol=1e-6)
  c = augment(BATCH, jax.random.key(4))
  assert np.abs(a["image"] - c["image"]).max() > 0.1
