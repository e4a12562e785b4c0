# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Smoothing between edges: what stays, what goes, and what it tends to."""

import jax.numpy as jnp
import numpy as np
import scipy.ndimage

from vit_jax.perturbations.texture import flatten


def test_no_smoothing_is_the_image():
  image = jnp.asarray(np.random.default_rng(0).random((6, 7, 3)) * 255)
  np.testing.assert_array_equal(flatten(image, jnp.float32(0), 30.0), image)


def test_a_step_in_numpy():
  """Flows between neighbours, one after another, in plain loops."""
  image = np.random.default_rng(0).random((4, 5, 2)) * 60
  sigma, edge = 0.4, 20.0
  expected = image.copy()
  for y in range(4):
    for x in range(5):
      for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        if 0 <= v < 4 and 0 <= u < 5:
          gap = image[v, u] - image[y, x]
          share = np.exp(-np.mean(gap**2) / edge**2)
          expected[y, x] += sigma**2 / 2 * share * gap
  found = flatten(jnp.asarray(image, jnp.float32), jnp.float32(sigma), edge)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_edges_it_is_a_gaussian_blur():
  """A bump becomes wider by that variance."""
  image = np.zeros((41, 41, 1), np.float32)
  image[20, 20] = 1
  found = np.asarray(flatten(jnp.asarray(image), jnp.float32(3), 1e6))[..., 0]
  place = np.arange(41) - 20
  for axis in (0, 1):
    mass = found.sum(axis=axis)
    np.testing.assert_allclose(mass.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose((mass * place**2).sum(), 9, rtol=1e-3)
  # A diffusion in steps is a Gaussian up to a percent of its top.
  blurred = scipy.ndimage.gaussian_filter(image[..., 0], 3)
  np.testing.assert_allclose(found, blurred, atol=0.02 * blurred.max())


def test_edges_stay_and_texture_goes():
  rng = np.random.default_rng(1)
  image = np.where(np.arange(32) < 16, 50.0, 200.0)[None, :, None]
  image = image + rng.normal(0, 6, (32, 32, 1))
  found = np.asarray(
    flatten(jnp.asarray(image, jnp.float32), jnp.float32(4), 30.0)
  )
  left, right = found[:, :16], found[:, 16:]
  assert left.std() < 2.5 and right.std() < 2.5 and image[:, :16].std() > 5
  assert right[:, 0].mean() - left[:, -1].mean() > 145
  np.testing.assert_allclose(found.mean(), image.mean(), rtol=1e-5)
