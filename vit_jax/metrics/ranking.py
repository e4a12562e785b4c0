# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a classifier is worth where images have several labels.

Each class ranks all images, and its average precision says how far above the
others those of the class are (Salton & McGill, 1983; as of PASCAL VOC from 2010
on and COCO, without interpolation); mAP is the mean over classes. n is the
number of images, s of label slots.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from vit_jax.metrics.classification import compute_wilson, divide

MAX_SCORES = 1 << 28  # Images times classes: 1 GiB of float32.


def mark_labels(
  label: Int[np.ndarray, "n s"], classes: int
) -> Bool[np.ndarray, "n Y"]:
  """Which class is which image's.

  Args:
    label: classes of each image, padded by -1.
    classes: their number (Y).
  """
  present = np.zeros((len(label), classes), bool)
  rows, slots = np.nonzero(label >= 0)
  present[rows, label[rows, slots]] = True
  return present


def compute_average_precision(
  scores: Float[np.ndarray, "n Y"], present: Bool[np.ndarray, "n Y"]
) -> Float[np.ndarray, "Y"]:
  """Computes the average precision of each class; NaN where no image is of it.

  The sum over distinct scores, the highest first, of precision times what
  recall gains there: images of equal scores come together, and so do, last,
  those whose score is not a number.

  Args:
    scores: of each image for each class, of any scale.
    present: whether an image is of a class.
  """
  found = np.full(scores.shape[1], np.nan)
  for i in np.flatnonzero(present.any(axis=0)):
    # Of two that are infinite, or no numbers, the difference would be none.
    column = np.nan_to_num(scores[:, i], nan=np.finfo(scores.dtype).min)
    order = np.argsort(-column, kind="stable")
    ranked = column[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    right = np.cumsum(present[order, i])[last]
    gained = np.diff(right, prepend=0) / right[-1]
    found[i] = (gained * right / (last + 1)).sum()
  return found


def compute_map(
  scores: Float[np.ndarray, "n Y"], label: Int[np.ndarray, "n s"]
) -> float:
  """Computes mAP over the classes that images have; NaN if they have none."""
  present = mark_labels(label, scores.shape[1])
  return _average(compute_average_precision(scores, present))


def _average(found: Float[np.ndarray, "Y"]) -> float:
  """The mean of what is not NaN; NaN if there is nothing."""
  there = found[~np.isnan(found)]
  return float(there.mean()) if len(there) else math.nan


def describe_ranking(
  scores: Float[np.ndarray, "n Y"],
  label: Int[np.ndarray, "n s"],
  names: Sequence[str],
) -> dict[str, Any]:
  """Describes predictions of several labels as evaluation.json does.

  Args:
    scores: logarithm of each class's probability.
    label: classes of each image, padded by -1.
    names: names of the classes (Y).

  Returns:
    map; labels, with precision, recall and f1 over all labels of all images, a
    class being predicted from a probability of one half on; and classes.
  """
  present = mark_labels(label, len(names))
  taken = scores >= math.log(0.5)
  right, support = (present & taken).sum(axis=0), present.sum(axis=0)
  predicted = taken.sum(axis=0)
  average = compute_average_precision(scores, present)
  precision, recall = divide(right, predicted), divide(right, support)
  rows = [
    {
      "index": i,
      "class": name,
      "average_precision": float(average[i]),
      "precision": float(precision[i]),
      "recall": float(recall[i]),
      "recall_wilson": list(compute_wilson(int(right[i]), int(support[i])))
      if support[i]
      else None,
      "support": int(support[i]),
    }
    for i, name in enumerate(names)
  ]
  hits, taken_all, total = right.sum(), predicted.sum(), support.sum()
  return {
    "map": _average(average),
    "labels": {
      "total": int(total),
      "precision": float(divide(hits, taken_all)),
      "recall": float(divide(hits, total)),
      "f1": float(divide(2 * hits, taken_all + total)),
    },
    "classes": rows,
  }
