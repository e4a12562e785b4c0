# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Cells by hand: which are dropped, where tiles go, where patches lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_jax.perturbations import patches


def make_images(height=12, width=8, channels=2, batch=3):
  size = batch * height * width * channels
  values = np.random.default_rng(0).permutation(size).astype(np.float32)
  return jnp.asarray(values.reshape(batch, height, width, channels) + 1)


def make_keys(batch=3, seed=0):
  return jax.random.split(jax.random.key(seed), batch)


def test_cells_in_raster_order():
  found = patches.find_cells((5, 4), (2, 2))
  # Of five rows the first two are the upper cells'.
  rows = [[0, 0, 1, 1], [0, 0, 1, 1], *[[2, 2, 3, 3]] * 3]
  np.testing.assert_array_equal(found, rows)


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_so_many_cells_are_dropped(count):
  images, grid = make_images(), (3, 2)
  order = patches.order_randomly(make_keys(), 6)
  found = np.asarray(patches.drop(images, order, count, grid, 0.0))
  cells = found.reshape(3, 3, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4, 5)
  cells = cells.reshape(3, 6, -1)
  gone = (cells == 0).all(axis=2)
  np.testing.assert_array_equal(gone.sum(axis=1), [count] * 3)
  assert ((cells == 0).any(axis=2) == gone).all()
  # The first of the order; the others as they were.
  for i in range(3):
    assert set(np.flatnonzero(gone[i])) == set(np.asarray(order[i, :count]))
  before = np.asarray(images)
  np.testing.assert_array_equal(found[found > 0], before[found > 0])


def test_orders_differ_and_are_nested():
  orders = np.asarray(patches.order_randomly(make_keys(50), 16))
  assert (np.sort(orders, axis=1) == np.arange(16)).all()
  assert len({tuple(x) for x in orders}) == 50
  # Each cell is as often the first.
  assert len(set(orders[:, 0])) > 10


def test_the_most_salient_comes_first():
  saliency = jnp.array([[[0.1, 0.5], [0.2, 0.2]], [[3.0, 1.0], [2.0, 4.0]]])
  found = patches.order_by_saliency(saliency, (2, 2))
  np.testing.assert_array_equal(found, [[1, 2, 3, 0], [3, 0, 2, 1]])


def test_saliency_of_pixels_is_that_of_cells():
  values = np.random.default_rng(1).random((2, 8, 12)).astype(np.float32)
  values[0, 4:, 8:] += 5  # The last cell.
  values[1, :4, 4:8] -= 5  # The second.
  found = np.asarray(patches.order_by_saliency(jnp.asarray(values), (2, 3)))
  assert found[0, 0] == 5 and found[1, -1] == 1


@pytest.mark.parametrize("grid", [2, 4])
def test_tiles_are_permuted_and_whole(grid):
  images = make_images()
  found = np.asarray(patches.shuffle(images, make_keys(), grid))
  tall, wide = 12 // grid, 8 // grid
  for before, after in zip(np.asarray(images), found, strict=True):

    def cut(image):
      return [
        image[i : i + tall, j : j + wide].tobytes()
        for i in range(0, 12, tall)
        for j in range(0, 8, wide)
      ]

    assert sorted(cut(before)) == sorted(cut(after))
    assert cut(before) != cut(after)


def test_one_tile_is_the_image():
  images = make_images()
  found = patches.shuffle(images, make_keys(), 1)
  np.testing.assert_array_equal(found, images)


def test_a_border_beyond_the_tiles_stays():
  images = make_images(7, 8)
  found = np.asarray(patches.shuffle(images, make_keys(), 3))
  np.testing.assert_array_equal(found[:, 6:], images[:, 6:])
  np.testing.assert_array_equal(found[:, :, 6:], images[:, :, 6:])
  assert sorted(found.ravel()) == sorted(np.asarray(images).ravel())


@pytest.mark.parametrize(
  ("size", "expected"),
  [((224, 224), (2, 4, 7, 8, 14, 16)), ((16, 8), (2, 4, 8)), ((9, 5), (2, 4))],
)
def test_grids_fit(size, expected):
  assert patches.list_grids(size) == expected


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("cells", [1, 2])
def test_patches_lie_on_the_grid_or_half_a_cell_off(cells, shifted):
  size, grid = (16, 24), (4, 4)
  found = np.asarray(
    patches.place_squares(make_keys(60), size, grid, cells, shifted)
  )
  assert found.shape == (60, 16, 24, 1)
  corners = set()
  for mask in found[..., 0]:
    y, x = np.nonzero(mask)
    assert mask.sum() == cells * 4 * cells * 6  # Inside, whole.
    assert np.ptp(y) == 4 * cells - 1 and np.ptp(x) == 6 * cells - 1
    corners.add((int(y.min()), int(x.min())))
  start = (2, 3) if shifted else (0, 0)
  most = 4 - cells + 1 - shifted
  places = range(most)
  expected = {
    (start[0] + 4 * i, start[1] + 6 * j) for i in places for j in places
  }
  assert corners == expected
