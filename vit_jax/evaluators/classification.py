# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy and loss over a split, every example counted once."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from vit_jax.evaluators.split import Evaluator, check_count
from vit_jax.metrics.folding import merge
from vit_jax.sharding import replicate
from vit_jax.train_state import Batch, TrainState

# What makes probabilities of logits, by the cross-entropy of training.
SCORES = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}


class Scores(NamedTuple):
  """What a model says of n examples, in the order of their split.

  Attributes:
    label: int32 [n], or [n s] padded by -1.
    classes: int32 [n k], the k most likely, the likeliest first.
    probability: float32 [n k].
  """

  label: Any
  classes: Any
  probability: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(Evaluator):
  """Top-1 and top-5 accuracy, and loss, as the objective computes them."""

  METRICS = ("accuracy", "correct", "total", "loss")
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

    And accuracy_top5, where there are more than five classes.

    Args:
      state: its parameters are evaluated.
      mark: called after each batch.

    Raises:
      RuntimeError: unless every example was counted exactly once.
    """
    results, size = self.map(self.step, state, mark)
    yield from self._fold(results, size)

  def score(
    self,
    state: TrainState,
    top: int,
    mark: Callable[[], None] = lambda: None,
  ) -> tuple[dict[str, float], Scores]:
    """Computes what `run` yields, and the scores of every example.

    On every process; the objective is a `Supervised`.

    Args:
      state: as of `run`.
      top: number of classes of an example, at most.
      mark: as of `run`.
    """
    objective, prepare = self.objective, self.data.prepare
    turn = SCORES[objective.cross_entropy]

    def step(params: Any, batch: Batch) -> tuple[Any, tuple[Any, Scores]]:
      prepared = prepare(batch)
      logits = objective.model.apply({"params": params}, prepared["image"])
      label, mask = prepared["label"], prepared["mask"]
      metrics = objective.evaluate_logits(logits, label, mask)
      probability, classes = jax.lax.top_k(
        turn(logits), min(top, logits.shape[-1])
      )
      # Whole on every process.
      scores = jax.tree.map(replicate, Scores(label, classes, probability))
      return metrics, (replicate(mask), scores)

    results, size = self.map(jax.jit(step), state, mark)
    masks = [mask for _, (mask, _) in results]
    rows = zip(*(scores for _, (_, scores) in results), strict=True)
    # Padding is at the end, so the examples keep their order.
    kept = np.concatenate(masks)
    scores = Scores(*(np.concatenate(x)[kept] for x in rows))
    metrics = dict(self._fold([metrics for metrics, _ in results], size))
    check_count(len(scores.label), size, self.split)
    return metrics, scores

  def _fold(self, results: list[Any], size: int) -> Iterator[tuple[str, float]]:
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
