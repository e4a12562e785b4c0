# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy and loss over a split, every example counted once.

And mean average precision, where images may have several labels.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.evaluators.split import Evaluator, check_count
from vit_jax.metrics.folding import merge
from vit_jax.metrics.ranking import MAX_SCORES, compute_map
from vit_jax.objectives.distillation import Distillation
from vit_jax.sharding import replicate
from vit_jax.train_state import Batch, TrainState

log = logging.getLogger(__name__)

# What makes probabilities of logits, by the cross-entropy of training, and
# their logarithms, which still differ where probabilities round to 1.
SCORES = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}
LOGARITHMS = {"softmax": jax.nn.log_softmax, "sigmoid": jax.nn.log_sigmoid}


class Scores(NamedTuple):
  """What a model says of n examples, in the order of their split.

  Attributes:
    label: int32 [n], or [n s] padded by -1.
    classes: int32 [n k], the k most likely, the likeliest first.
    probability: float32 [n k].
    ranking: float32 [n Y], logarithms of the probabilities of all classes,
      where images may have several labels; else None, or if they are too many.
  """

  label: Any
  classes: Any
  probability: Any
  ranking: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(Evaluator):
  """Top-1 and top-5 accuracy, and loss, as the objective computes them."""

  METRICS = ("accuracy", "correct", "total", "loss", "map")
  READS_HEAD = True

  @functools.cached_property
  def step(self) -> Any:
    """The jitted function (params, batch) -> name -> (sum, count)."""
    evaluate, prepare = self.objective.evaluate, self.data.prepare
    return jax.jit(lambda params, batch: evaluate(params, prepare(batch)))

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields accuracy (a fraction), correct, total and loss.

    And accuracy_top5, where there are more than five classes, and map, where
    images may have several labels.

    Args:
      state: its parameters are evaluated.
      mark: called after each batch.

    Raises:
      RuntimeError: unless every example was counted exactly once.
    """
    if self.data.label_slots is None:
      results, size = self.map(self.step, state, mark)
      yield from self._fold(results, size)
      return
    values, scores = self.score(state, 1, mark)
    yield from values.items()
    # There is none of images without any label.
    if scores.ranking is not None and (scores.label >= 0).any():
      yield "map", compute_map(scores.ranking, scores.label)

  @property
  def supervised(self) -> Any:
    """The `Supervised` objective: of a distillation the student's alone."""
    given = self.objective
    return given.labels if isinstance(given, Distillation) else given

  @functools.cached_property
  def scorer(self) -> Any:
    """The jitted function (params, batch, top, images) of `score`.

    It returns metrics, the batch's mask, and scores of `top` classes. `images`
    is the number of those that are to have a ranking, or 0.
    """
    objective, prepare = self.supervised, self.data.prepare
    turn = SCORES[objective.cross_entropy]

    def step(params: Any, batch: Batch, top: int, images: int) -> Any:
      prepared = prepare(batch)
      logits = objective.model.apply({"params": params}, prepared["image"])
      label, mask = prepared["label"], prepared["mask"]
      metrics = objective.evaluate_logits(logits, label, mask)
      probability, classes = jax.lax.top_k(
        turn(logits), min(top, logits.shape[-1])
      )
      scores = Scores(label, classes, probability)
      if images * logits.shape[-1] > MAX_SCORES:
        log.warning(  # As the step is traced, so once.
          "%s has no mean average precision: %d images of %d classes have more "
          "scores than the %d that are kept",
          *(self.split, images, logits.shape[-1], MAX_SCORES),
        )
      elif images:
        take = LOGARITHMS[objective.cross_entropy]
        scores = scores._replace(ranking=take(logits.astype(jnp.float32)))
      # Whole on every process.
      return metrics, *jax.tree.map(replicate, (mask, scores))

    return jax.jit(step, static_argnames=("top", "images"))

  def score(
    self,
    state: TrainState,
    top: int,
    mark: Callable[[], None] = lambda: None,
    *,
    ranked: bool = True,
  ) -> tuple[dict[str, float], Scores]:
    """Computes what `run` yields but map, and the scores of every example.

    On every process.

    Args:
      state: as of `run`.
      top: number of classes of an example, at most.
      mark: as of `run`.
      ranked: whether images that may have several labels get a ranking.
    """
    ranked = ranked and self.data.label_slots is not None
    images = len(self.data.open(self.split)) if ranked else 0
    step = functools.partial(self.scorer, top=top, images=images)
    results, size = self.map(step, state, mark)
    metrics, masks, rows = zip(*results, strict=True)
    # Padding is at the end, so the examples keep their order.
    kept = np.concatenate(masks)
    scores = jax.tree.map(lambda *x: np.concatenate(x)[kept], *rows)
    check_count(len(scores.label), size, self.split)
    return dict(self._fold(metrics, size)), scores

  def _fold(
    self, results: Sequence[Any], size: int
  ) -> Iterator[tuple[str, float]]:
    """Yields the metrics of all batches."""
    metrics = merge(results)
    correct, total = metrics["accuracy"].total, metrics["accuracy"].count
    check_count(int(total), size, self.split)
    yield "accuracy", float(correct / total)
    yield "correct", int(correct)
    yield "total", int(total)
    yield "loss", float(metrics["loss"].compute())
    if "accuracy_top5" in metrics:
      yield "accuracy_top5", float(metrics["accuracy_top5"].compute())
