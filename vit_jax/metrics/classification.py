# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What predictions say of a classifier: functions of NumPy's arrays.

n is the number of examples. The reliability diagram and the calibration error
are those of Guo et al., 2017, "On Calibration of Modern Neural Networks", arXiv
1706.04599, equation 3; intervals are Efron's percentile bootstrap (1979) and
Wilson's of a share (1927).
"""

import math
import statistics
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

BINS = 15  # As Guo et al. have it.
RESAMPLES = 10_000


class ByClass(NamedTuple):
  """Figures of each class; NaN where one is not defined.

  Attributes:
    precision: share of the examples taken for a class that are of it.
    recall: share of the examples of a class that are taken for it.
    support: number of examples of a class.
  """

  precision: Float[np.ndarray, "Y"]
  recall: Float[np.ndarray, "Y"]
  support: Int[np.ndarray, "Y"]


class Reliability(NamedTuple):
  """Bins of the reliability diagram, equally wide over [0, 1].

  Bin i of m has the confidences in (i/m, (i+1)/m]; the first has 0, too. Means
  of an empty bin are NaN.

  Attributes:
    confidence: mean probability of the predictions in each bin.
    accuracy: share of them that are right.
    total: their number.
  """

  confidence: Float[np.ndarray, "bins"]
  accuracy: Float[np.ndarray, "bins"]
  total: Int[np.ndarray, "bins"]


def compute_confusion(
  labels: Int[np.ndarray, "n"], predictions: Int[np.ndarray, "n"], classes: int
) -> Int[np.ndarray, "Y Y"]:
  """Counts the examples of each class (row) taken for each class (column)."""
  pairs = labels.astype(np.int64) * classes + predictions
  return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def compute_by_class(
  labels: Int[np.ndarray, "n"], predictions: Int[np.ndarray, "n"], classes: int
) -> ByClass:
  """Computes precision, recall and support of each class."""
  right = np.bincount(labels[labels == predictions], minlength=classes)
  support = np.bincount(labels, minlength=classes)
  taken = np.bincount(predictions, minlength=classes)
  return ByClass(divide(right, taken), divide(right, support), support)


def list_confusions(
  labels: Int[np.ndarray, "n"],
  predictions: Int[np.ndarray, "n"],
  most: int | None = None,
) -> list[tuple[int, int, int]]:
  """Lists (class, other class it is taken for, count), the most frequent first.

  Without the Y^2 counts of `compute_confusion`, most of which are 0.
  """
  wrong = labels != predictions
  pairs = np.stack([labels[wrong], predictions[wrong]])
  found, counts = np.unique(pairs, axis=1, return_counts=True)
  order = np.argsort(-counts, kind="stable")[:most]
  return [(int(found[0, i]), int(found[1, i]), int(counts[i])) for i in order]


def compute_reliability(
  confidence: Float[np.ndarray, "n"],
  correct: Bool[np.ndarray, "n"],
  bins: int = BINS,
) -> Reliability:
  """Sorts predictions into bins by their confidence.

  Args:
    confidence: probability of each example's most likely class.
    correct: whether that is its class.
    bins: their number.
  """
  edges = np.arange(1, bins) / bins
  index = np.searchsorted(edges, confidence.astype(np.float64), side="left")
  count = np.bincount(index, minlength=bins)
  total = np.bincount(index, confidence, minlength=bins)
  right = np.bincount(index, correct, minlength=bins)
  return Reliability(divide(total, count), divide(right, count), count)


def compute_calibration_error(reliability: Reliability) -> float:
  """The expected calibration error: |accuracy - confidence|, mean over examples
  of the gap of their bin; a fraction."""
  gaps = np.abs(reliability.accuracy - reliability.confidence)
  share = reliability.total / reliability.total.sum()
  return float(np.where(reliability.total > 0, gaps * share, 0).sum())


def compute_interval(
  correct: int, total: int, *, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
  """Computes the bootstrap interval of an accuracy, by percentiles.

  A resample draws `total` examples with replacement, each of which is right
  with the probability correct / total: the number of right ones is binomial, so
  no example needs to be drawn.

  Args:
    correct: number of examples that are right.
    total: number of examples.
    level: probability that it stands for.
    seed: of the resamples.
  """
  rng = np.random.default_rng(seed)
  found = rng.binomial(total, correct / total, RESAMPLES) / total
  low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def compute_wilson(
  correct: int, total: int, *, level: float = 0.95
) -> tuple[float, float]:
  """Computes Wilson's score interval of a share.

  It holds for few examples, too, and where all of them or none are right: the
  bootstrap then has one resample, and an interval of no width. Where there are
  no examples it is all of [0, 1].

  Args:
    correct: number of examples that are right.
    total: number of examples.
    level: probability that it stands for.
  """
  if not total:
    return 0.0, 1.0
  z = statistics.NormalDist().inv_cdf((1 + level) / 2)
  share, more = correct / total, z**2 / total
  middle = (share + more / 2) / (1 + more)
  variance = share * (1 - share) / total + more / (4 * total)
  half = z * math.sqrt(variance) / (1 + more)
  # What is 0 or 1 is so to the bit.
  low = middle - half if correct else 0.0
  return low, middle + half if correct < total else 1.0


def divide(part: Any, whole: Any) -> Float[np.ndarray, "..."]:
  """Computes part / whole, and NaN where whole is 0."""
  none = np.full(part.shape, np.nan)
  return np.divide(part, whole, out=none, where=whole > 0)
