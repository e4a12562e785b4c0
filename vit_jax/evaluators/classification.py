# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy and loss over a split, every example counted once."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from vit_jax.config import Count
from vit_jax.data.pipeline import Data
from vit_jax.evaluators.split import check_count, map_split
from vit_jax.metrics.folding import merge
from vit_jax.sharding import replicate
from vit_jax.train_state import Batch, TrainState, get_evaluated_params

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


@dataclasses.dataclass(frozen=True)
class Classification:
  """Top-1 and top-5 accuracy, and loss.

  Attributes:
    objective: computes the metrics of a batch.
    data: the data section.
    mesh: devices to run on.
    channels: c.
    default_batch_size: training's batch size (B).
    split: split to evaluate on.
    batch_size: global batch size (B); None is training's. It need not divide
      the split.
    params: "average" evaluates the moving average of the parameters where there
      is one (optim.ema), as exports hold it; "raw" the parameters themselves.
  """

  METRICS = ("accuracy", "correct", "total", "loss")

  objective: Any
  data: Data
  mesh: Mesh
  channels: int
  default_batch_size: int
  _: dataclasses.KW_ONLY
  split: str
  batch_size: Count | None = None
  params: Literal["average", "raw"] = "average"

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
    results, size = self._map(self.step, state, mark)
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

    results, size = self._map(jax.jit(step), state, mark)
    masks = [mask for _, (mask, _) in results]
    rows = zip(*(scores for _, (_, scores) in results), strict=True)
    # Padding is at the end, so the examples keep their order.
    kept = np.concatenate(masks)
    scores = Scores(*(np.concatenate(x)[kept] for x in rows))
    metrics = dict(self._fold([metrics for metrics, _ in results], size))
    check_count(len(scores.label), size, self.split)
    return metrics, scores

  def get_params(self, state: TrainState) -> Any:
    """Returns the parameters of a state that are evaluated."""
    if self.params == "average":
      return get_evaluated_params(state)
    return state.params

  def _map(
    self, step: Any, state: TrainState, mark: Callable[[], None]
  ) -> tuple[list[Any], int]:
    """Applies a step to the split, see `map_split`."""
    return map_split(
      step,
      self.get_params(state),
      self.data,
      self.mesh,
      self.channels,
      split=self.split,
      batch_size=self.batch_size or self.default_batch_size,
      mark=mark,
    )

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
