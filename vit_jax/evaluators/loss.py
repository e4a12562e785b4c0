# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The objective's own metrics over a split, every example counted once."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from vit_jax.evaluators.split import Evaluator, check_count
from vit_jax.metrics.folding import merge
from vit_jax.train_state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(Evaluator):
  """The loss of examples that were not trained on, whatever the objective."""

  METRICS = ("loss", "total")

  @functools.cached_property
  def step(self) -> Any:
    """The jitted function (params, batch) -> name -> (sum, count)."""
    evaluate, prepare = self.objective.evaluate, self.data.prepare
    return jax.jit(lambda params, batch: evaluate(params, prepare(batch)))

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields loss, total, and the objective's other metrics.

    Arguments are those of `Evaluator.run`.
    """
    results, size = self.map(self.step, state, mark)
    metrics = merge(results)
    total = metrics["loss"].count
    check_count(int(total), size, self.split)
    yield "loss", float(metrics.pop("loss").compute())
    yield "total", int(total)
    for name, metric in metrics.items():
      yield name, float(metric.compute())
