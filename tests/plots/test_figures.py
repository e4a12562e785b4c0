# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What figures show is what they are given, on axes that have names."""

import io
import math

import numpy as np
import PIL.Image
import pytest

from vit_jax.plots import style
from vit_jax.plots.attention import draw_distance, draw_entropy, draw_maps
from vit_jax.plots.layers import draw_norms, draw_similarity
from vit_jax.plots.pictures import draw_overlay, draw_picture, restore
from vit_jax.plots.weights import draw_components, draw_positions


def draw_numbers(*shape):
  """Random numbers above zero."""
  return np.random.default_rng(0).gamma(2.0, size=shape)


def read(png):
  """The pixels of a PNG."""
  return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), int)


def test_mosaics_join_tiles_with_gaps():
  tiles = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
  picture, rows, columns = style.make_mosaic(tiles)
  assert picture.shape == (5, 8)
  np.testing.assert_array_equal(picture[3:, 6:], tiles[1, 2])
  assert np.isnan(picture[2]).all() and np.isnan(picture[:, 5]).all()
  assert rows == [0.5, 3.5] and columns == [0.5, 3.5, 6.5]


def test_maps_have_depth_across_and_heads_down(drawn):
  maps = draw_numbers(3, 2, 4, 5)  # L K h w
  draw_maps(maps)
  axes, _ = drawn()
  shown = np.asarray(axes.images[0].get_array())
  assert axes.get_xlabel() == "depth (layer)"
  assert len(axes.get_xticks()) == 3 and len(axes.get_yticks()) == 2
  np.testing.assert_allclose(shown[5:9, 12:17], maps[2, 1] / maps[2, 1].max())


def test_distance_and_entropy_are_points_of_heads(drawn):
  values = draw_numbers(5, 3, 4)  # n L K
  draw_distance(values, 40.0)
  (axes,) = drawn()
  assert "px" in axes.get_ylabel()
  means = values.mean(0)
  for head in range(4):
    points = axes.lines[head].get_xydata()
    np.testing.assert_allclose(points[:, 0], [1, 2, 3])
    np.testing.assert_allclose(points[:, 1], means[:, head])
  np.testing.assert_allclose(axes.lines[4].get_ydata(), means.mean(1))
  draw_entropy(values, 17)
  (axes,) = drawn()
  assert "bits" in axes.get_ylabel()
  assert axes.lines[-1].get_ydata()[0] == math.log2(17)


def test_similarity_is_drawn_as_it_is(drawn):
  similarity = np.eye(40) / 2 + 0.5
  draw_similarity(similarity)
  axes, bar = drawn()
  np.testing.assert_array_equal(axes.images[0].get_array(), similarity)
  assert axes.images[0].get_clim() == (0, 1) and "CKA" in bar.get_ylabel()
  assert len(axes.get_xticks()) <= 12


@pytest.mark.parametrize("class_tokens, registers", [(1, 0), (0, 2), (1, 3)])
def test_norms_of_every_kind_of_token(drawn, class_tokens, registers):
  norms = draw_numbers(2, 3, class_tokens + registers + 9)
  draw_norms(norms, np.array([0, 0.1, 0.5]), class_tokens, registers)
  top, bottom = drawn()
  names = top.get_legend_handles_labels()[1]
  assert ("class token" in names) == bool(class_tokens)
  assert ("registers" in names) == bool(registers)
  patches = norms[:, :, class_tokens + registers :]
  np.testing.assert_allclose(
    top.lines[0].get_ydata(), np.median(patches, axis=(0, 2))
  )
  heights = [bar.get_height() for bar in bottom.patches]
  np.testing.assert_allclose(heights, [0, 10, 50])


def test_one_layer_is_seen(drawn):
  """A line through one point is nothing; there is no layer 0.6."""
  norms = draw_numbers(2, 1, 12)
  draw_norms(norms, np.zeros(1), 1, 2)
  top, bottom = drawn()
  assert len(top.lines) == 4
  assert all(np.ptp(line.get_xdata()) > 0.5 for line in top.lines)
  assert (top.lines[1].get_ydata() == norms[:, :, 3:].max()).all()
  assert all(tick == int(tick) for tick in bottom.get_xticks())
  draw_distance(draw_numbers(5, 1, 4), 40.0)
  (axes,) = drawn()
  assert np.ptp(axes.lines[-1].get_xdata()) > 0.5
  assert all(tick == int(tick) for tick in axes.get_xticks())


@pytest.mark.parametrize("grid", [(3, 4), (30, 20)])
def test_positions_are_tiles_at_their_places(drawn, grid):
  similarity = np.cos(draw_numbers(*grid, *grid))
  draw_positions(similarity)
  axes, _ = drawn()
  shown = np.asarray(axes.images[0].get_array())
  step = -(-max(grid) // 14)
  np.testing.assert_allclose(shown[: grid[0], : grid[1]], similarity[0, 0])
  assert len(axes.get_yticks()) == -(-grid[0] // step)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_components_are_scaled_around_grey(drawn, channels):
  components = np.random.default_rng(0).normal(size=(9, 4, 4, channels))
  draw_components(components, np.linspace(0.3, 0, 9))
  axes = [x for x in drawn() if x.axison]
  assert [x.get_title() for x in axes[:2]] == ["30.0 %", "26.2 %"]
  assert len(axes) == 9
  shown = np.asarray(axes[4].images[0].get_array())
  kept = components[4]
  if channels != 3:
    kept = np.repeat(kept.mean(-1, keepdims=True), 3, axis=-1)
  np.testing.assert_allclose(shown, 0.5 + 0.5 * kept / np.abs(kept).max())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_inputs_are_turned_back_into_pixels(channels):
  pixels = np.random.default_rng(0).integers(0, 256, (5, 6, channels))
  mean, std = np.full(channels, 0.4), np.full(channels, 0.3)
  values = ((pixels / 255 - 0.4) / 0.3).astype(np.float32)
  found = restore(values, tuple(mean), tuple(std))
  if channels == 3:
    np.testing.assert_array_equal(found, pixels)
  else:
    middle = pixels.mean(-1)
    assert (np.abs(found - middle[..., None]) <= 0.5 + 1e-3).all()


def test_pictures_are_large_enough_to_see():
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (8, 16, 3), np.uint8)
  found = read(draw_picture(small))
  assert found.shape == (192, 384, 3)
  np.testing.assert_array_equal(found[::24, ::24], small)
  assert read(draw_picture(np.zeros((900, 300, 3), np.uint8))).shape == (
    *(512, 171),
    3,
  )


def test_an_overlay_is_yellow_where_the_map_is_large():
  image = np.full((64, 64, 3), 128, np.uint8)
  weights = np.zeros((4, 4))
  weights[3, 0] = 0.01  # Scaled to the map's own largest value.
  found = read(draw_overlay(image, weights))
  bright, dark = found[-1, 0], found[0, -1]
  assert bright[0] > bright[2] + 80 and bright[1] > bright[2] + 80
  assert abs(dark - dark.mean()).max() < 30
  flat = read(draw_overlay(image, np.ones((4, 4))))
  assert (flat == flat[0, 0]).all()
