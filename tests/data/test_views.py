# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Several views of an image: boxes, pixels, and what is done on the device."""

import dataclasses
import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax import sharding
from vit_jax.config import ConfigError
from vit_jax.data import pipeline, transforms
from vit_jax.data.augment import Augment, make_augment
from vit_jax.data.crops import sample_random_resized
from vit_jax.data.resize import resize
from vit_jax.data.rows import Batches
from vit_jax.data.views import ONE, Views, find_hull
from vit_jax.devices.mesh import make_mesh

VIEWS = Views(count=3, local=2, local_size=5, local_area=(0.05, 0.3))


@pytest.fixture(scope="module")
def source():
  """Twelve JPEGs of 60 x 50 pixels."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (12, 6, 5, 3), np.uint8)
  images = [cv2.resize(x, (50, 60)) for x in images]
  files = [cv2.imencode(".jpg", x)[1].tobytes() for x in images]
  return [dict(image=x, label=i) for i, x in enumerate(files)]


def make_rows(source, **fields):
  data = pipeline.Data(
    source="x",
    size=(8, 7),
    crop="random_resized",
    crop_area=(0.4, 1.0),
    resize="bicubic",
    **fields,
  )
  return pipeline.make_train_rows(data, 3, source, seed=1)


def test_views_are_the_boxes_drawn_one_after_another(source):
  rows = make_rows(source, views=VIEWS)
  batch = Batches(rows, 9, 16, range(16), 1)[0]
  shapes = {name: x.shape for name, x in batch.items()}
  assert shapes["image"] == (16, 8, 7, 3)
  assert shapes["views"] == (16, 2, 8, 7, 3)
  assert shapes["local"] == (16, 2, 5, 5, 3)
  for row in range(16):
    example = source[rows.order.find(row)]
    image = transforms.decode(example["image"], 3)
    rng = rows.order.get_rng(row)
    large = [sample_random_resized(60, 50, rng, (0.4, 1.0)) for _ in range(3)]
    small = [sample_random_resized(60, 50, rng, (0.05, 0.3)) for _ in range(2)]
    cut = [
      resize(image[t : t + h, x : x + w], size, "bicubic")
      for boxes, size in ((large, (8, 7)), (small, (5, 5)))
      for t, x, h, w in boxes
    ]
    np.testing.assert_array_equal(batch["image"][row], cut[0])
    np.testing.assert_array_equal(batch["views"][row], np.stack(cut[1:3]))
    np.testing.assert_array_equal(batch["local"][row], np.stack(cut[3:]))


def test_the_first_view_is_the_image_of_a_run_without(source):
  plain = Batches(make_rows(source), 9, 16, range(16), 1)[3]
  several = Batches(make_rows(source, views=VIEWS), 9, 16, range(16), 1)[3]
  for name, x in plain.items():
    np.testing.assert_array_equal(several[name], x)
  assert several.keys() - plain.keys() == {"views", "local"}


def test_threads_hosts_and_a_later_start_change_nothing(source):
  rows = make_rows(source, views=VIEWS)
  whole = Batches(rows, 9, 16, range(16), 1)[5]
  late = Batches(rows, 9, 16, range(16), 3, start_step=4)[1]
  halves = [Batches(rows, 9, 16, range(p, 16, 2), 1)[5] for p in (0, 1)]
  for name, x in whole.items():
    np.testing.assert_array_equal(late[name], x)
    for p, half in enumerate(halves):
      np.testing.assert_array_equal(half[name], x[p::2])


def test_the_hull_holds_every_box():
  assert find_hull([(3, 5, 2, 2), (1, 6, 3, 9)]) == (1, 5, 4, 10)


def test_counts_and_shapes():
  assert ONE.get_shapes((4, 6), 3) == {"image": (4, 6, 3)}
  dino = Views(count=2, local=8)
  shapes = dino.get_shapes((224, 224), 3)
  assert shapes["views"] == (1, 224, 224, 3)
  assert shapes["local"] == (8, 96, 96, 3)
  assert dino.count_values((224, 224), 3) == 3 * (2 * 224**2 + 8 * 96**2)


@pytest.mark.parametrize(
  ("fields", "key"),
  [
    (dict(views=VIEWS, crop="none"), "data.crop"),
    (dict(views=VIEWS, augment=Augment(mixup=0.1)), "data.augment.mixup"),
    (
      dict(views=Views(colour="moco"), augment=Augment(erasing=0.5)),
      "data.augment.erasing",
    ),
  ],
)
def test_what_does_not_go_together_is_named(fields, key):
  with pytest.raises(ConfigError, match=key):
    pipeline.Data(source="x", **fields)


def test_an_area_is_from_small_to_large():
  with pytest.raises(ConfigError, match=r"data\.views\.local_area"):
    Views(local_area=(0.4, 0.05))


RNG = np.random.default_rng(0)
BATCH = {
  "image": jnp.asarray(RNG.integers(0, 256, (8, 12, 12, 3), np.uint8)),
  "views": jnp.asarray(RNG.integers(0, 256, (8, 2, 12, 12, 3), np.uint8)),
  "local": jnp.asarray(RNG.integers(0, 256, (8, 2, 5, 5, 3), np.uint8)),
  "label": jnp.zeros(8, jnp.int32),
  "mask": jnp.ones(8, bool),
}
KEY = jax.random.key(3)


def make(colour="none", flip=False):
  views = dataclasses.replace(VIEWS, colour=colour)
  augment = Augment(flip=flip)
  return jax.jit(make_augment(augment, lambda x: x, views))


def test_without_colours_values_are_scaled():
  found = make()(BATCH, KEY)
  for name in ("image", "views", "local"):
    expected = np.asarray(BATCH[name]) / 127.5 - 1
    np.testing.assert_allclose(found[name], expected, atol=1e-6)


def test_views_are_mirrored_each_for_itself():
  found, plain = make(flip=True)(BATCH, KEY), make()(BATCH, KEY)
  images, turned = (
    np.concatenate([x["image"][:, None], x["views"]], 1) for x in (plain, found)
  )
  mirrored = np.all(turned == images[:, :, :, ::-1], axis=(2, 3, 4))
  kept = np.all(turned == images, axis=(2, 3, 4))
  assert np.all(mirrored ^ kept)
  assert len({tuple(row) for row in mirrored.tolist()}) > 4
  assert 0 < mirrored.mean() < 1


@functools.cache
def make_expected():
  return make("dino", flip=True)(BATCH, KEY)


def test_colours_change_every_view():
  found, plain = make_expected(), make()(BATCH, KEY)
  for name in ("image", "views", "local"):
    x = np.asarray(found[name])
    assert x.min() >= -1 and x.max() <= 1
    changed = np.abs(x - plain[name]).max(axis=tuple(range(1, x.ndim))) > 0.01
    assert changed.mean() > 0.6  # Four of five are jittered.


def test_colours_do_not_depend_on_the_mesh():
  """To the roundings of other programs: each example has its own key."""
  mesh = make_mesh(replica=2, fsdp=4)
  place = sharding.get_batch_sharding(mesh)
  placed = {name: jax.device_put(x, place) for name, x in BATCH.items()}
  with jax.set_mesh(mesh):
    program = make("dino", flip=True).lower(placed, KEY).compile()
    found = program(placed, KEY)
  for transfer in ("all-gather(", "all-reduce(", "all-to-all(", "permute("):
    assert transfer not in program.as_text()
  for name, x in make_expected().items():
    np.testing.assert_allclose(found[name], x, atol=1e-4)
  assert found["local"].sharding.spec[0] == ("replica", "fsdp")
