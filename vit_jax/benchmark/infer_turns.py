# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Inference in turns with timm's, on one device."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vit_jax.benchmark import turns
from vit_jax.benchmark.infer import check_batch, make_named_model
from vit_jax.benchmark.peer import PeerModel, describe_model
from vit_jax.benchmark.report import (
  describe_machine,
  describe_schedule,
  format_machine,
  format_table,
)
from vit_jax.benchmark.step import explained
from vit_jax.benchmark.timing import Schedule, time_groups
from vit_jax.benchmark.turns import Comparison
from vit_jax.devices.detection import start_backend
from vit_jax.runtime.start import start


@dataclasses.dataclass(frozen=True)
class Task:
  """A forward pass in words that any library understands.

  Attributes:
    model: the model.
    batch_size: B.
    dtype: of activations.
  """

  model: PeerModel
  batch_size: int
  dtype: str


class Forward:
  """Our forward pass of a named model, on images that lie on the device.

  Attributes:
    facts: what is timed, as JSON.
  """

  def __init__(
    self,
    section: dict[str, Any],
    size: tuple[int, int],
    schedule: Schedule,
    batch: int | None,
    dtype: str | None,
  ):
    """Makes the model; arguments as of `compare`."""
    start()
    cpu = start_backend(keep=True) == "cpu"
    batch = batch or (8 if cpu else 128)
    dtype = dtype or ("float32" if cpu else "bfloat16")
    check_batch(batch, size)
    self._schedule, self._batch = schedule, batch
    self._model = make_named_model(section, size, dtype)
    variant, params = section["variant"], self._model.params
    task = describe_model(self._model.module, variant, size, 3, params)
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (batch, *size, 3)).astype(np.float32)
    self._images = jax.device_put(images)
    self.run(1)
    self.facts = {
      "model": variant,
      "parameters": task.parameters,
      "size": list(size),
      "batch_size": batch,
      "dtype": dtype,
      "machine": describe_machine(jax.devices()[:1]),
      "task": Task(task, batch, dtype),
    }

  def run(self, count: int) -> None:
    """Runs the model a number of times, and waits for the logits."""
    with explained(f"a batch of {self._batch:,}"):
      for _ in range(count):
        logits = self._model(self._images)
      jax.block_until_ready(logits)

  def time(self) -> list[float]:
    """Seconds a batch, for each group."""
    return time_groups(self.run, self._schedule)


def make_timm_forward(schedule: Schedule, facts: dict[str, Any]) -> Any:
  """Makes timm's forward pass of the task among our facts."""
  from vit_jax.benchmark.timm_step import TimmForward

  return TimmForward(facts["task"], schedule)


@dataclasses.dataclass(frozen=True)
class Report:
  """Inference with our model and timm's.

  Attributes:
    schedule: how often in each turn.
    turns: the comparison.
  """

  schedule: Schedule
  turns: Comparison

  def to_json(self) -> dict[str, Any]:
    """The measurements as JSON."""
    facts = self.turns.facts
    return {
      **facts,
      "schedule": dataclasses.asdict(self.schedule),
      "programs": {
        name: {
          "seconds": x.to_json(),
          "images_per_second": x.invert(facts["batch_size"]).to_json(),
        }
        for name, x in self.turns.seconds.items()
      },
      **self.turns.to_json(),
    }

  def __str__(self) -> str:
    facts, rows = self.turns.facts, []
    for name, seconds in self.turns.seconds.items():
      speed = seconds.invert(facts["batch_size"])
      cells = *seconds.times(1e3).format(",.2f"), *speed.format(",.0f")
      rows.append([name, *cells])
    size = " x ".join(map(str, facts["size"]))
    groups = describe_schedule(self.schedule, "batches")
    return "\n".join(
      [
        f"inference with {facts['model']}: {facts['parameters']:,} "
        f"parameters, {size} px, batch {facts['batch_size']:,}, "
        f"{facts['dtype']}",
        format_machine(facts["machine"]),
        f"{self.turns.rounds} turns of each, in each {groups}",
        "",
        *format_table(["", "ms a batch", "range", "images/s", "range"], rows),
        "",
        *self.turns.describe(),
      ]
    )


def compare(
  section: dict[str, Any],
  size: tuple[int, int],
  schedule: Schedule,
  say: Callable[[str], None],
  *,
  batch: int | None,
  dtype: str | None,
  rounds: int,
) -> Report:
  """Times inference with a named model and with timm's in turns.

  Args:
    section: the model section of a config.
    size: (H, W).
    schedule: how often in each turn.
    say: gets lines of progress.
    batch: B; None is what suits the device.
    dtype: of activations; None likewise.
    rounds: number of turns of each.
  """
  found = turns.compare(
    (Forward, (section, size, schedule, batch, dtype)),
    (make_timm_forward, (schedule,)),
    rounds,
    say,
  )
  return Report(schedule, found)
