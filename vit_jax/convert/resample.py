# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Resampling weights to another resolution, patch size or number of channels.

All operations are linear and separable: one small float64 matrix per axis.
"""

import numpy as np
from jaxtyping import Float

# The first is the default, as in the ViT authors' code (scipy.ndimage.zoom with
# order 1). The others put samples at half-pixel centres.
KERNELS = ("align_corners_bilinear", "bilinear", "bicubic")


def _triangle(x: np.ndarray) -> np.ndarray:
  """Linear kernel; zero from |x| = 1."""
  return np.maximum(1 - np.abs(x), 0)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
  """Cubic kernel (Keys, 1981) with slope a at |x| = 1; zero from |x| = 2."""
  x = np.abs(x)
  near = (a + 2) * x**3 - (a + 3) * x**2 + 1
  far = a * (x**3 - 5 * x**2 + 8 * x - 4)
  return np.where(x < 1, near, np.where(x < 2, far, 0))


def make_resize_matrix(
  old: int,
  new: int,
  kernel: str = KERNELS[0],
  antialias: bool = False,
) -> Float[np.ndarray, "new old"]:
  """Makes the matrix that resizes one axis, y = matrix @ x; its rows sum to 1.

  Equals torch.nn.functional.interpolate, borders included. Without antialias
  the cubic kernel has a = -0.75 and the outermost sample is repeated beyond the
  border. With antialias a = -0.5, the kernel is widened by old / new when that
  shrinks, taps beyond the border are dropped and the rest is scaled to sum to
  1. This holds when enlarging too, so antialias then changes "bicubic" but not
  "bilinear".

  Args:
    old: number of samples.
    new: number of samples wanted. A single one with aligned corners is the
      first, as in scipy and torch.
    kernel: one of `KERNELS`.
    antialias: averages over the area that a new sample covers.

  Raises:
    ValueError: if a number is below 1, or the kernel is unknown or has no
      antialias.
  """
  if kernel not in KERNELS:
    raise ValueError(
      f"unknown kernel {kernel!r}; choose from: {', '.join(KERNELS)}"
    )
  if old < 1 or new < 1:
    raise ValueError(f"cannot resize {old} to {new}: both must be at least 1")
  if kernel == "align_corners_bilinear":
    if antialias:
      raise ValueError(
        f"kernel {kernel!r} has no antialias; use 'bilinear' or 'bicubic', or "
        "antialias=False"
      )
    centres = np.arange(new) * ((old - 1) / max(new - 1, 1))
    return _triangle(centres[:, None] - np.arange(old))
  scale = old / new
  centres = (np.arange(new) + 0.5) * scale - 0.5
  if antialias:
    x = (np.arange(old) - centres[:, None]) / max(scale, 1.0)
    matrix = _triangle(x) if kernel == "bilinear" else _cubic(x, a=-0.5)
    return matrix / matrix.sum(axis=1, keepdims=True)
  taps = np.floor(centres).astype(int)[:, None] + np.arange(-1, 3)
  x = taps - centres[:, None]
  weights = _triangle(x) if kernel == "bilinear" else _cubic(x, a=-0.75)
  matrix = np.zeros((new, old))
  # Taps beyond the border, maybe several, fall on the outermost sample.
  rows = np.arange(new)[:, None]
  np.add.at(matrix, (rows, np.clip(taps, 0, old - 1)), weights)
  return matrix


def resample_grid(
  grid: Float[np.ndarray, "*L h w D"],
  size: tuple[int, int],
  kernel: str = KERNELS[0],
  antialias: bool = False,
) -> Float[np.ndarray, "*L H W D"]:
  """Resizes every channel of a grid; returns it unchanged if it has the size.

  Args:
    grid: e.g. position embeddings; L are stacked layers, if any.
    size: (H, W).
    kernel: see `make_resize_matrix`.
    antialias: see `make_resize_matrix`.

  Returns:
    The resized grid, in the dtype of `grid`.

  Raises:
    ValueError: as `make_resize_matrix`.
  """
  h, w = grid.shape[-3:-1]
  rows = make_resize_matrix(h, size[0], kernel, antialias)
  columns = make_resize_matrix(w, size[1], kernel, antialias)
  if (h, w) == size:
    return grid
  x = np.einsum("Hh,...hwd->...Hwd", rows, grid.astype(np.float64))
  return np.einsum("Ww,...Hwd->...HWd", columns, x).astype(grid.dtype)


def resample_positions(
  embedding: Float[np.ndarray, "*L N D"],
  old_grid: tuple[int, int],
  new_grid: tuple[int, int],
  kernel: str = KERNELS[0],
  antialias: bool = False,
) -> Float[np.ndarray, "*L M D"]:
  """Resamples position embeddings to another grid (ViT paper, section 3.2).

  Args:
    embedding: rows in raster order; the class token's may come first and stays
      as it is.
    old_grid: (h, w) of `embedding`, in patches.
    new_grid: (h, w) wanted, in patches.
    kernel: see `make_resize_matrix`.
    antialias: see `make_resize_matrix`.

  Returns:
    Embeddings of the new grid, with the class token's row if there was one;
    unchanged for equal grids.

  Raises:
    ValueError: if the number of rows does not fit the old grid; and as
      `make_resize_matrix`.
  """
  *leading, count, width = embedding.shape
  h, w = old_grid
  extra = count - h * w
  if extra not in (0, 1):
    raise ValueError(
      f"{count} position embeddings do not fit a grid of {h} x {w} patches, "
      f"which needs {h * w}, or {h * w + 1} with a class token"
    )
  grid = embedding[..., extra:, :].reshape(*leading, h, w, width)
  resized = resample_grid(grid, new_grid, kernel, antialias)
  if new_grid == old_grid:
    return embedding
  resized = resized.reshape(*leading, new_grid[0] * new_grid[1], width)
  return np.concatenate([embedding[..., :extra, :], resized], axis=-2)


def resample_axis(
  embedding: Float[np.ndarray, "*L n D"],
  new: int,
  kernel: str = KERNELS[0],
  antialias: bool = False,
) -> Float[np.ndarray, "*L m D"]:
  """Resamples the position embeddings of one axis to `new` positions.

  Raises:
    ValueError: as `make_resize_matrix`.
  """
  matrix = make_resize_matrix(embedding.shape[-2], new, kernel, antialias)
  if new == embedding.shape[-2]:
    return embedding
  return (matrix @ embedding.astype(np.float64)).astype(embedding.dtype)


def resample_patches(
  kernel: Float[np.ndarray, "h w c D"], size: tuple[int, int]
) -> Float[np.ndarray, "H W c D"]:
  """Resamples a patch embedding to another patch size, as FlexiViT does.

  Beyer et al., 2023 (arXiv 2212.08013), section 3.4: with B the bilinear
  resizing of a patch (half-pixel centres, no antialias), w' = pinv(B^T) w. When
  enlarging, a resized patch is embedded as the patch was: <B x, w'> = <x, w>.

  Args:
    kernel: kernel of the convolution that embeds patches.
    size: (H, W) of a patch, in pixels.

  Returns:
    The new kernel, in the dtype of `kernel`; unchanged if it has the size.

  Raises:
    ValueError: if a size is below 1.
  """
  h, w = kernel.shape[:2]
  # The matrix of a plane is the Kronecker product of those of its axes, and so
  # is its pseudo-inverse.
  rows = np.linalg.pinv(make_resize_matrix(h, size[0], "bilinear").T)
  columns = np.linalg.pinv(make_resize_matrix(w, size[1], "bilinear").T)
  if (h, w) == size:
    return kernel
  x = np.einsum("Hh,hwcd->Hwcd", rows, kernel.astype(np.float64))
  return np.einsum("Ww,Hwcd->HWcd", columns, x).astype(kernel.dtype)


def convert_channels(
  kernel: Float[np.ndarray, "h w c D"], channels: int
) -> Float[np.ndarray, "h w channels D"]:
  """Converts a patch embedding to another number of image channels.

  To one channel: the sum over channels, so that a grey image keeps the
  embedding that it had as a colour image of three equal channels. To any other
  number: the channels in turn (0, 1, ..., c - 1, 0, 1, ...), scaled by
  c / channels, so that embeddings keep about the same magnitude.

  Args:
    kernel: kernel of the convolution that embeds patches.
    channels: number of channels wanted.

  Returns:
    The new kernel, in the dtype of `kernel`; unchanged if it has the channels.

  Raises:
    ValueError: if channels is below 1.
  """
  if channels < 1:
    raise ValueError(f"channels={channels} must be at least 1")
  c = kernel.shape[2]
  if channels == c:
    return kernel
  x = kernel.astype(np.float64)
  if channels == 1:
    x = x.sum(axis=2, keepdims=True)
  else:
    x = x[:, :, np.arange(channels) % c] * (c / channels)
  return x.astype(kernel.dtype)
