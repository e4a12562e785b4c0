# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The `train` section of a config."""

import dataclasses
import re
from typing import Annotated, Literal

from vit_jax.config.errors import ConfigError, quote
from vit_jax.config.schema import (
  Count,
  Examples,
  Interval,
  Positive,
  Seed,
  check_multiple,
  raise_all,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """Batch size, length, seed and logging of a run.

  Attributes:
    batch_size: global batch size B, over all devices and processes.
    steps: length of the run in steps; takes precedence over epochs.
    epochs: length in passes over the training split; takes precedence over
      examples.
    examples: length in training examples seen.
    accumulate: micro-batches that a batch is split into to save memory; their
      gradients are summed to that of the batch. "auto" takes as few as fit.
    seed: seeds parameters, order of examples, augmentation and dropout.
    log_every: steps between two log rows.
    loggers: what gets the rows beside metrics.jsonl, separated by commas, as
      "tensorboard,csv": tensorboard, csv, wandb, or a class of your own as
      package.module:Class. None is nothing.
    layers_every: steps between two looks into the layers: norms of gradient,
      update and parameters, learning rates, and histograms of the weights, by
      layer. A multiple of log_every; None looks at the end alone.
    stop_by: a metric of an evaluation, as "test/loss", by which the run ends
      early; None trains all steps.
    patience: evaluations in a row without a better value, after which it ends.
    nonfinite: response to a step whose loss, gradient or update is not finite.
      "stop" saves the state before it and ends the run; "skip" discards the
      step's update; "rollback" restores the last checkpoint and skips all
      batches from there to the non-finite step.
    max_skipped_steps: how often a run may skip or roll back before it stops.
    profile: steps that are traced for TensorBoard, as "100:105", both included;
      below WORKDIR/profile.
    allow_cpu: lets a CPU train this config without --allow_cpu.
    report: writes WORKDIR/report.html, a page of the run, at its end, and gives
      its pictures to the loggers.
  """

  batch_size: Count
  steps: Count | None = None
  epochs: Positive | None = None
  examples: Examples | None = None
  accumulate: Literal["auto"] | Count = "auto"
  seed: Seed = 0
  log_every: Count = 50
  loggers: str | None = "tensorboard"
  layers_every: Count | None = None
  stop_by: str | None = None
  patience: Count = 5
  nonfinite: Literal["stop", "skip", "rollback"] = "stop"
  max_skipped_steps: Annotated[int, Interval("[0, 64]")] = 10
  profile: str | None = None
  allow_cpu: bool = False
  report: bool = True

  def __post_init__(self):
    if self.profile is not None:
      self._find_profiled()
    if self.layers_every is not None:
      raise_all(
        check_multiple(
          "train.layers_every",
          self.layers_every,
          self.log_every,
          "train.log_every",
        )
      )

  @property
  def profiled_steps(self) -> range | None:
    """The steps that are traced, counted from 1; None if none are."""
    return None if self.profile is None else self._find_profiled()

  def check_profile(self, steps: int) -> None:
    """Raises ConfigError if a run of so many steps would trace none of them."""
    if self.profile is not None and self._find_profiled()[0] > steps:
      raise ConfigError(
        f"train.profile={self.profile} begins after the run's last step, "
        f"{steps}: take steps from 1 to {steps}"
      )

  def _find_profiled(self) -> range:
    found = re.fullmatch(r"([1-9]\d{0,9}):([1-9]\d{0,9})", self.profile or "")
    if found is None or int(found[1]) > int(found[2]):
      raise ConfigError(
        f"train.profile={quote(self.profile)} must be FIRST:LAST, two steps "
        f"from 1 on in their order, as 100:105"
      )
    return range(int(found[1]), int(found[2]) + 1)
