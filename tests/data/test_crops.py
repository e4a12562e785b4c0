# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Random boxes against TensorFlow's op and a plain RandomResizedCrop."""

import math

import numpy as np
import pytest

from vit_jax.data.crops import (
  CROPS,
  sample_distorted_box,
  sample_random_resized,
)

DRAWS = 10_000

# 10,000 boxes of tf.image.stateless_sample_distorted_bounding_box, TensorFlow
# 2.21, with no objects, min_object_covered=0, the aspects in [0.75, 1.33] and
# seeds (i, 7): (H, W, area range) -> mean share of the area; share of boxes
# under a quarter; deciles 1, 3, 5, 7 and 9 of the shares of the area.
QUANTILES = {
  (500, 375, 0.05, 1.0): (0.3264, 0.447, 0.081, 0.168, 0.289, 0.439, 0.625),
  (375, 500, 0.05, 1.0): (0.3377, 0.444, 0.081, 0.170, 0.290, 0.451, 0.669),
  (300, 900, 0.05, 1.0): (0.1790, 0.760, 0.069, 0.113, 0.164, 0.229, 0.311),
  (900, 300, 0.05, 1.0): (0.1677, 0.811, 0.066, 0.105, 0.155, 0.214, 0.287),
  (375, 500, 0.60, 1.0): (0.6961, 0.000, 0.607, 0.633, 0.671, 0.727, 0.829),
  (375, 500, 0.25, 0.3): (0.2750, 0.000, 0.254, 0.265, 0.275, 0.285, 0.296),
  (8, 8, 0.05, 1.0): (0.3997, 0.356, 0.062, 0.188, 0.312, 0.562, 0.875),
  (3, 5, 0.05, 1.0): (0.3257, 0.339, 0.067, 0.067, 0.267, 0.400, 0.600),
  # No box fits: the whole image.
  (40, 4000, 0.05, 1.0): (1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
  (1000, 20, 0.05, 1.0): (1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
  (300, 900, 0.60, 1.0): (1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
  (1, 1, 0.05, 1.0): (1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
}


def draw(sample, height, width, area=(0.05, 1.0), count=DRAWS):
  """Boxes [count 4]: top, left, height, width."""
  rng = np.random.default_rng(0)
  boxes = np.array([sample(height, width, rng, area) for _ in range(count)])
  top, left, h, w = boxes.T
  assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
  assert (top + h <= height).all() and (left + w <= width).all()
  return boxes


def compute_distance(a, b):
  """The largest difference of two samples' distributions (Kolmogorov's D)."""
  values = np.sort(np.concatenate([a, b]))
  below = (
    np.searchsorted(np.sort(x), values, "right") / len(x) for x in (a, b)
  )
  return np.abs(np.subtract(*below)).max()


@pytest.mark.parametrize("case", QUANTILES)
def test_distorted_boxes_are_tensorflows(case):
  height, width, *area = case
  mean, quarter, *deciles = QUANTILES[case]
  boxes = draw(sample_distorted_box, height, width, tuple(area))
  shares = boxes[:, 2] * boxes[:, 3] / (height * width)
  # Four standard errors of two such means: deviations are below 0.27.
  assert abs(shares.mean() - mean) < 0.015
  assert abs((shares < 0.25).mean() - quarter) < 0.03  # The same of shares.
  for level, value in zip((0.1, 0.3, 0.5, 0.7, 0.9), deciles, strict=True):
    # The recorded value is rounded; small images have many boxes of one size.
    least = (shares < value - 5e-4).mean()
    most = (shares <= value + 5e-4).mean()
    assert least - 0.03 < level < most + 0.03


def test_the_last_place_is_never_drawn_as_in_tensorflow():
  top, left, h, w = draw(sample_distorted_box, 8, 8).T
  assert (top + h < 8)[h < 8].all() and (left + w < 8)[w < 8].all()
  assert (top[h == 4] == 3).any() and (left[w == 4] == 3).any()


def resize_randomly(height, width, rng, area):
  """RandomResizedCrop as its documentation says, without rounding."""
  for _ in range(10):
    pixels = height * width * rng.uniform(*area)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    h, w = math.sqrt(pixels / aspect), math.sqrt(pixels * aspect)
    if h <= height and w <= width:
      top, left = rng.uniform(0, height - h), rng.uniform(0, width - w)
      return top, left, h, w
  h, w = min(height, width * 4 / 3), min(width, height * 4 / 3)
  return (height - h) / 2, (width - w) / 2, h, w


@pytest.mark.parametrize("size", [(500, 375), (300, 900), (900, 300)])
def test_random_resized_boxes_are_torchvisions(size):
  rng = np.random.default_rng(1)
  expected = np.array(
    [resize_randomly(*size, rng, (0.05, 1.0)) for _ in range(DRAWS)]
  )
  found = draw(sample_random_resized, *size)
  for values in (
    lambda x: x[:, 2] * x[:, 3],
    lambda x: x[:, 3] / x[:, 2],
    lambda x: x[:, 0] + x[:, 2] / 2,
    lambda x: x[:, 1] + x[:, 3] / 2,
  ):
    # 0.023 is exceeded by one of a hundred pairs of equal distributions.
    assert compute_distance(values(found), values(expected)) < 0.03


def test_the_two_differ():
  """As much as recipes do that name the wrong one."""
  shares = {
    name: np.prod(draw(sample, 500, 375)[:, 2:], axis=1) / (500 * 375)
    for name, sample in CROPS.items()
  }
  ours, torch = shares["distorted_box"], shares["random_resized"]
  assert 0.32 < ours.mean() < 0.335 and 0.41 < torch.mean() < 0.43
  # TensorFlow's 100,000: mean .328, and 44 % under a quarter.
  assert 0.42 < (ours < 0.25).mean() < 0.46
  assert 0.26 < (torch < 0.25).mean() < 0.30
  assert 0.15 < compute_distance(ours, torch) < 0.20


def test_torchvisions_last_resort_has_an_aspect_of_the_range():
  """The middle of what is too long, and the whole of what is not."""
  rng = np.random.default_rng(0)
  area = (1.0, 1.0)
  assert sample_random_resized(30, 1000, rng, area) == (0, 480, 30, 40)
  assert sample_random_resized(1000, 30, rng, area) == (480, 0, 40, 30)
  assert sample_random_resized(1, 1, rng, (0.05, 0.1)) == (0, 0, 1, 1)
