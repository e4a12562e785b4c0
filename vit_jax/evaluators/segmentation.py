# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Mean intersection over union of a segmentation, exactly.

Every labelled pixel of every mask counts, at the resolution of its file: logits
are enlarged to it, and counts are integers.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int64, UInt8

from vit_jax.config import ConfigError
from vit_jax.data.masks import UNLABELLED
from vit_jax.data.sources import load_info
from vit_jax.evaluators.split import Evaluator, check_count, iterate_split
from vit_jax.metrics.folding import merge
from vit_jax.objectives.segmentation import Segmentation as Objective
from vit_jax.sharding import replicate
from vit_jax.train_state import Batch, TrainState

ROWS = 64  # Of an image whose logits are enlarged at a time.


def make_taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Neighbours and weights that enlarge an axis as `jax.image.resize` does.

  Returns:
    Index of the first neighbour and of the second, and the second's weight.
  """
  centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
  first = np.floor(centres).astype(int)
  second = np.minimum(first + 1, old - 1)
  return first, second, (centres - first).astype(np.float32)


def classify_pixels(
  logits: Float[np.ndarray, "h w Y"], shape: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
  """Enlarges logits bilinearly, and takes the largest of each pixel."""
  height, width = shape
  (top, bottom, y), (left, right, x) = (
    make_taps(old, new)
    for old, new in zip(logits.shape[:2], shape, strict=True)
  )
  x, y = x[None, :, None], y[:, None, None]
  found = np.empty((height, width), np.uint8)
  for start in range(0, height, ROWS):
    part = slice(start, start + ROWS)
    rows = logits[top[part]] * (1 - y[part]) + logits[bottom[part]] * y[part]
    enlarged = rows[:, left] * (1 - x) + rows[:, right] * x
    found[part] = enlarged.argmax(axis=-1)
  return found


def count_pairs(
  true: UInt8[np.ndarray, "H W"],
  found: UInt8[np.ndarray, "H W"],
  classes: int,
) -> Int64[np.ndarray, "Y Y"]:
  """Counts the pixels of each class (rows) that are taken for each."""
  kept = true != UNLABELLED
  pairs = true[kept].astype(np.int64) * classes + found[kept]
  return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def compute_shares(matrix: Int64[np.ndarray, "Y Y"]) -> Float[np.ndarray, "Y"]:
  """Intersection over union of each class; NaN where there is no pixel."""
  right = np.diag(matrix).astype(np.float64)
  union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
  return np.divide(right, union, np.full(len(right), np.nan), where=union > 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(Evaluator):
  """Mean IoU, pixel accuracy and loss of a segmentation.

  Raises:
    ConfigError: for a run whose objective is another.
  """

  METRICS = ("miou", "pixel_accuracy", "loss", "total")

  def __post_init__(self):
    if not isinstance(self.objective, Objective):
      raise ConfigError(
        "kind='segmentation' of an evaluation is for runs with objective.name="
        "'segmentation', whose head it reads: leave it out"
      )

  @functools.cached_property
  def step(self) -> Any:
    """The jitted (params, batch) -> (metrics, mask, logits)."""
    objective, prepare = self.objective, self.data.prepare

    def step(params: Any, batch: Batch) -> tuple[Any, Any, Any]:
      batch = prepare(batch)
      logits = objective.module.apply({"params": params}, batch["image"])
      mask = batch["mask"]
      metrics = objective.compute_metrics(logits, batch["segmentation"], mask)
      # Whole on every process, each of which counts all pixels.
      return metrics, replicate(mask), replicate(logits)

    return jax.jit(step)

  def count(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> tuple[Int64[np.ndarray, "Y Y"], dict[str, Any], int]:
    """Counts pixels by class (rows) and prediction (columns).

    Arguments are those of `Evaluator.run`.

    Returns:
      The counts, the objective's metrics, and the number of images.
    """
    results, size = iterate_split(
      self.step,
      self.get_params(state),
      self.data,
      self.mesh,
      self.channels,
      split=self.split,
      batch_size=self.batch_size or self.default_batch_size,
      mark=mark,
    )
    source, metrics, done = self.data.open(self.split), [], 0
    classes = self.objective.setting.classes
    matrix = np.zeros((classes, classes), np.int64)
    for values, mask, logits in results:
      metrics.append(jax.device_get(values))
      for row in np.asarray(logits)[np.asarray(mask)]:
        true = source[done]["label"].decode()  # Padding is at the end.
        matrix += count_pairs(true, classify_pixels(row, true.shape), classes)
        done += 1
    check_count(done, size, self.split)
    return matrix, merge(metrics), done

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields miou, pixel_accuracy, loss, total, and the IoU of each class.

    The mean is over classes that a pixel has, or is taken for. Arguments are
    those of `Evaluator.run`.
    """
    matrix, metrics, total = self.count(state, mark)
    shares = compute_shares(matrix)
    if np.isnan(shares).all():
      raise ConfigError(f"no pixel of {self.split!r} has a class")
    yield "miou", float(np.nanmean(shares))
    yield "pixel_accuracy", float(np.diag(matrix).sum() / matrix.sum())
    yield "loss", float(metrics["loss"].compute())
    yield "total", total
    names = load_info(self.data.source, self.data.dir).class_names
    for name, share in zip(names, shares, strict=True):
      if not np.isnan(share):
        yield "iou_" + re.sub(r"[\s/]+", "_", name), float(share)
