# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import cv2
import jax
import ml_dtypes
import numpy as np
import pytest
import scipy.ndimage

from vit_jax.convert import resample

RNG = np.random.default_rng(0)
GRID = RNG.normal(size=(4, 6, 2))
SIZES = [(7, 3), (8, 12), (2, 2), (4, 9)]
HALF_PIXEL = ["bilinear", "bicubic"]
SETTINGS = [
  ("align_corners_bilinear", False),
  *itertools.product(HALF_PIXEL, [False, True]),
]


@pytest.mark.parametrize("size", [*SIZES, (1, 1), (1, 5)])
def test_aligned_corners_are_what_scipy_zooms(size):
  factors = (size[0] / 4, size[1] / 6, 1)
  expected = scipy.ndimage.zoom(GRID, factors, order=1)
  np.testing.assert_allclose(
    resample.resample_grid(GRID, size), expected, atol=1e-12, strict=True
  )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
  "kernel, flag",
  [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)],
)
def test_half_pixel_kernels_are_what_opencv_resizes(kernel, flag, size):
  expected = cv2.resize(GRID, size[::-1], interpolation=flag)
  # OpenCV has its weights in float32.
  np.testing.assert_allclose(
    resample.resample_grid(GRID, size, kernel), expected, atol=5e-6
  )


@pytest.mark.parametrize("size", SIZES)
def test_antialias_is_what_jax_resizes(size):
  expected = jax.image.resize(
    GRID.astype(np.float32), (*size, 2), "linear", antialias=True
  )
  resized = resample.resample_grid(GRID, size, "bilinear", antialias=True)
  np.testing.assert_allclose(resized, expected, atol=1e-6)


# torch 2.13.0 made these numbers, for n of 3 and 6:
#   x = (torch.arange(4.0).double() ** 2).view(1, 1, 4, 1).repeat(1, 1, 1, 4)
#   torch.nn.functional.interpolate(
#     x, size=(n, 4), mode="bicubic", antialias=True
#   )[0, 0, :, 0].tolist()
@pytest.mark.parametrize(
  "expected",
  [
    [0.07551487414187644, 2.359195402298851, 7.935926773455377],
    [
      *(-0.0657894736842106, 0.29411764705882354, 1.361111111111111),
      *(3.3611111111111103, 6.8235294117647065, 9.328947368421051),
    ],
  ],
)
def test_antialiased_bicubic_is_what_torch_interpolates(expected):
  matrix = resample.make_resize_matrix(4, len(expected), "bicubic", True)
  np.testing.assert_allclose(matrix @ np.arange(4.0) ** 2, expected, atol=1e-12)


def test_hand_computed_matrices():
  # Samples sit at 0 and 1, wanted at 0, 1/2 and 1.
  np.testing.assert_array_equal(
    resample.make_resize_matrix(2, 3), [[1, 0], [0.5, 0.5], [0, 1]]
  )
  # Samples sit at 1/4 and 3/4, wanted at 1/8, 3/8, 5/8 and 7/8.
  np.testing.assert_array_equal(
    resample.make_resize_matrix(2, 4, "bilinear"),
    [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]],
  )
  # Widened twofold it covers four samples: (1, 3, 3, 1) / 8, cut at a border.
  np.testing.assert_allclose(
    resample.make_resize_matrix(4, 2, "bilinear", True),
    np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7,
    atol=1e-15,
  )
  # Without antialias halving takes the mean of the two in the middle.
  np.testing.assert_array_equal(
    resample.make_resize_matrix(4, 2, "bilinear"),
    [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]],
  )
  # Halfway between samples Keys' kernel of a = -3/4 is (a, 4 - a, ...) / 8.
  np.testing.assert_allclose(
    resample.make_resize_matrix(8, 4, "bicubic")[1],
    np.array([0, -3, 19, 19, -3, 0, 0, 0]) / 32,
    atol=1e-15,
  )


@pytest.mark.parametrize("kernel, antialias", SETTINGS)
def test_every_new_sample_is_a_mean(kernel, antialias):
  for old, new in itertools.product([1, 2, 3, 7, 14, 24], repeat=2):
    matrix = resample.make_resize_matrix(old, new, kernel, antialias)
    assert matrix.shape == (new, old) and matrix.dtype == np.float64
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    # Both ends are alike, but for a single corner.
    if new > 1 or kernel != "align_corners_bilinear":
      np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("kernel, antialias", SETTINGS)
def test_an_equal_size_changes_no_bit(kernel, antialias):
  x = RNG.normal(size=(4, 6, 2)).astype(np.float32)
  x[0, 0, 0], x[1, 1, 1] = np.nan, np.inf
  setting = dict(kernel=kernel, antialias=antialias)
  for same in (
    resample.resample_grid(x, (4, 6), **setting),
    resample.resample_axis(x, 6, **setting),
    resample.resample_positions(x, (2, 3), (2, 3), **setting),
    resample.resample_positions(x, (1, 5), (1, 5), **setting),
  ):
    assert same.tobytes() == x.tobytes() and same.dtype == x.dtype
  patches = x[:, :4, None]
  assert resample.resample_patches(patches, (4, 4)).tobytes() == (
    patches.tobytes()
  )
  assert resample.convert_channels(patches, 1).tobytes() == patches.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_types_are_kept_and_rounded_once(dtype):
  x = GRID.astype(dtype)
  resized = resample.resample_grid(x, (7, 3), "bicubic")
  exact = resample.resample_grid(x.astype(np.float64), (7, 3), "bicubic")
  np.testing.assert_array_equal(resized, exact.astype(dtype), strict=True)
  assert resample.resample_axis(x, 3).dtype == dtype
  kernel = x[:, :4, None]
  assert resample.resample_patches(kernel, (3, 3)).dtype == dtype
  assert resample.convert_channels(kernel, 3).dtype == dtype


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("layers", [(), (3,)])
def test_positions_are_a_grid_behind_the_class_token(extra, layers):
  x = RNG.normal(size=(*layers, extra + 6, 5)).astype(np.float32)
  resized = resample.resample_positions(x, (2, 3), (4, 5), "bicubic", True)
  assert resized.shape == (*layers, extra + 20, 5)
  token = resized[..., :extra, :]
  assert token.tobytes() == x[..., :extra, :].tobytes()
  grid = x[..., extra:, :].reshape(*layers, 2, 3, 5)
  np.testing.assert_array_equal(
    resized[..., extra:, :].reshape(*layers, 4, 5, 5),
    resample.resample_grid(grid, (4, 5), "bicubic", True),
  )


def test_positions_of_another_shape_of_equal_count_are_resampled():
  x = np.arange(6.0)[:, None]
  # In raster order, rows of three become columns of three.
  np.testing.assert_allclose(
    resample.resample_positions(x, (2, 3), (3, 2))[:, 0],
    [0, 2, 1.5, 3.5, 3, 5],
    atol=1e-12,
  )


def test_an_axis_is_resized_as_a_line():
  x = RNG.normal(size=(2, 5, 3))
  np.testing.assert_allclose(
    resample.resample_axis(x, 8, "bicubic"),
    resample.resample_grid(x[:, None], (1, 8), "bicubic")[:, 0],
    atol=1e-12,
  )


@pytest.mark.parametrize("new", [5, 7, 8])
def test_an_enlarged_patch_is_embedded_as_it_was(new):
  kernel = RNG.normal(size=(4, 4, 3, 5))
  resized = resample.resample_patches(kernel, (new, new))
  image = RNG.normal(size=(4, 4, 3))
  enlarged = cv2.resize(image, (new, new), interpolation=cv2.INTER_LINEAR)
  # OpenCV has its weights in float32.
  np.testing.assert_allclose(
    np.einsum("hwc,hwcd->d", enlarged, resized),
    np.einsum("hwc,hwcd->d", image, kernel),
    atol=1e-5,
  )


@pytest.mark.parametrize("size", [(2, 3), (3, 6), (6, 6)])
def test_patches_use_the_pseudo_inverse_of_the_whole_matrix(size):
  kernel = RNG.normal(size=(4, 5, 2, 3))
  pixels = np.eye(20).reshape(4, 5, 20)
  matrix = resample.resample_grid(pixels, size, "bilinear").reshape(-1, 20)
  expected = np.linalg.pinv(matrix.T) @ kernel.reshape(20, 6)
  np.testing.assert_allclose(
    resample.resample_patches(kernel, size),
    expected.reshape(*size, 2, 3),
    atol=1e-10,
  )


def test_grey_images_keep_their_embedding():
  kernel = RNG.normal(size=(4, 4, 3, 5))
  grey = RNG.normal(size=(4, 4, 1))
  np.testing.assert_allclose(
    np.einsum("hwc,hwcd->d", grey, resample.convert_channels(kernel, 1)),
    np.einsum("hwc,hwcd->d", grey.repeat(3, axis=2), kernel),
    atol=1e-12,
  )


@pytest.mark.parametrize(
  "c, new, sources",
  [(3, 4, [0, 1, 2, 0]), (3, 2, [0, 1]), (1, 3, [0, 0, 0]), (2, 5, [0, 1] * 3)],
)
def test_channels_are_repeated_in_turn_and_scaled(c, new, sources):
  kernel = RNG.normal(size=(2, 2, c, 3))
  converted = resample.convert_channels(kernel, new)
  assert converted.shape == (2, 2, new, 3)
  for i, source in zip(range(new), sources, strict=False):
    np.testing.assert_allclose(
      converted[:, :, i], kernel[:, :, source] * c / new, atol=1e-15
    )


def test_what_can_not_be_resampled_is_an_error():
  with pytest.raises(ValueError, match="'bilinear' or 'bicubic'"):
    resample.resample_grid(GRID, (2, 2), antialias=True)
  with pytest.raises(ValueError, match="unknown kernel 'cubic'.*bicubic"):
    resample.make_resize_matrix(2, 3, "cubic")
  with pytest.raises(ValueError, match="cannot resize 2 to 0"):
    resample.make_resize_matrix(2, 0)
  with pytest.raises(ValueError, match="channels=0"):
    resample.convert_channels(np.ones((2, 2, 3, 4)), 0)
  for count in (5, 8):
    with pytest.raises(ValueError, match=f"{count} .* 2 x 3 .* 6, or 7 with"):
      resample.resample_positions(np.ones((count, 4)), (2, 3), (4, 4))
