# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells of itself: rows, pictures, and lines for people."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vit_jax.metrics.collapse import CollapseDetector
from vit_jax.metrics.progress import describe_values
from vit_jax.metrics.tensorboard import Histogram
from vit_jax.metrics.train_log import TrainLog
from vit_jax.metrics.writer import MetricWriter
from vit_jax.optim.nonfinite import list_tensors
from vit_jax.runtime.flops import compute_peak_images_per_second
from vit_jax.runtime.layer_log import LayerLog
from vit_jax.runtime.lost_files import describe_lost_rows, describe_new_start
from vit_jax.runtime.record import make_record
from vit_jax.runtime.session import Session


class LoggedSession(Session):
  """A session with a log.

  Attributes:
    step: number of steps done.
    steps: number of steps after which the run ends.
    state: TrainState after `step` steps.
  """

  state: Any
  step: int
  steps: int

  def _open_log(self, start: int) -> None:
    """Opens the log, which goes on where the restored checkpoint was saved."""
    exp, record = self.exp, self._record
    self._writer = MetricWriter(
      self._workdir,
      start,
      self._first,
      record.list_rows(),
      exp.train.loggers,
      exp.recorded_config,
    )
    self._stack.callback(self._writer.close)
    log_every = exp.train.log_every
    if self._writer.empty and (start >= log_every or self._writer.restored):
      self.say(describe_lost_rows(self._writer, self._workdir, start))
    if not start and self._writer.dropped:
      self.say(describe_new_start(self._workdir, self._writer.dropped))
    self._layers = LayerLog(exp, self._writer)
    # A run that has ended here before wrote a row of these steps.
    written = self._writer.has_row(start, "grad_norm")
    self._log = TrainLog(
      self._writer,
      self._progress,
      start_step=start,
      steps=exp.steps,
      batch_size=exp.train.batch_size,
      log_every=log_every,
      names=list_tensors(exp.abstract_state.params, exp.abstract_state.aux),
      peak_images_per_second=compute_peak_images_per_second(exp),
      sums=None if written else record.sums,
      losses=self._writer.losses,
      show_look=self._layers.show,
      on_row=functools.partial(self._callbacks.call, "on_log"),
      collapse=CollapseDetector(exp.objective.find_collapse, exp.steps),
    )
    if start == self.steps:  # It was killed before the row of its end.
      self._log.flush(start, end=True)

  @property
  def takes_images(self) -> bool:
    """Whether any logger shows pictures: they need not be drawn otherwise."""
    return self._writer.takes_images

  def show_images(self, images: Mapping[str, np.ndarray], step: int) -> None:
    """Gives pictures of a step to the loggers: name -> uint8 [H W 3]."""
    self._writer.images(step, images)

  def show_histograms(self, values: Mapping[str, Histogram]) -> None:
    """Gives histograms of this step to the loggers, as of `np.histogram`."""
    self._writer.histograms(self.step, values)

  def call_at_first_row(self, begin: Callable[[int], None]) -> None:
    """Calls it with the step of the first row, on the first process alone."""
    self._writer.on_row = begin

  def show_layers(self) -> None:
    """Shows the weights by layer, at the end; every process takes part."""
    self._layers.show_end(self.step, self.state.params)

  def _note_progress(self) -> None:
    """Puts what the log knows into the metadata of the next checkpoint."""
    self._metadata |= make_record(
      self.step, self._log.sums, self._list_watched()
    )

  def _find_main(self) -> str:
    """Finds the evaluation of result.json.

    The first that has an accuracy; else the first that has a loss.
    """
    evaluators = self.exp.evaluators
    found = [
      name
      for metric in ("accuracy", "loss")
      for name, evaluator in evaluators.items()
      if metric in evaluator.METRICS
    ]
    return next(iter([*found, *evaluators]))

  def _say_values(
    self, when: str, values: Mapping[str, Mapping[str, float]]
  ) -> None:
    """Reports the results of evaluations in one line."""
    lines = [describe_values(name, found) for name, found in values.items()]
    self.say(": ".join(filter(None, (when, "; ".join(lines)))))
