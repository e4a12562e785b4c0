# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training log: a row and a progress line every `log_every` steps."""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from vit_jax.metrics.collapse import CollapseDetector
from vit_jax.metrics.folding import compute, fold
from vit_jax.metrics.progress import Progress
from vit_jax.metrics.spikes import SpikeDetector
from vit_jax.metrics.writer import MetricWriter
from vit_jax.optim.nonfinite import NonFiniteStep, read_results


class TrainLog:
  """Folds the metrics of every `log_every` steps into a row and a line.

  A thread waits for the device's results, which are reported one interval late,
  so neither the step nor its dispatch ever waits for a number.

  A checkpoint between two rows takes `sums` along, so that a run that goes on
  from there writes the row of the whole interval.

  Attributes:
    bad: the non-finite step that stopped the run, once reported, or None.
    sums: metric -> (sum, count) over the steps since the last row, up to the
      last `flush`.
  """

  # What is worth a hint: the share of the time in which no batch was ready, and
  # the seconds that the rest of the run would lose by it.
  MAX_DATA_WAIT, MIN_LOST = 0.05, 60.0

  def __init__(
    self,
    writer: MetricWriter,
    progress: Progress,
    *,
    start_step: int,
    steps: int,
    batch_size: int,
    log_every: int,
    names: Sequence[str],
    peak_images_per_second: float | None = None,
    sums: Mapping[str, tuple[float, float]] | None = None,
    losses: Sequence[float] = (),
    show_look: Callable[[int, Any, float], None] | None = None,
    on_row: Callable[[int, Mapping[str, float]], None] | None = None,
    collapse: CollapseDetector | None = None,
  ):
    """Starts the clock.

    Args:
      writer: writes the rows.
      progress: shows the lines.
      start_step: number of steps done before.
      steps: length of the run.
      batch_size: global batch size B.
      log_every: number of steps between two rows.
      names: names of checked tensors, from `optim.nonfinite.list_tensors`.
      peak_images_per_second: speed at which the model FLOPs utilisation (MFU)
        is 1; None where the devices' peak is unknown.
      sums: those of the checkpoint that the run goes on from.
      losses: of the rows before.
      show_look: takes the step, what the device has computed of a look into the
        layers, and the mean learning rate of the row.
      on_row: takes the step and the values of a row that was written.
      collapse: looks at every row.
    """
    self._on_row = on_row
    self._show_look = show_look
    self._collapse = collapse
    self._peak = peak_images_per_second
    self._writer = writer
    self._progress = progress
    self._steps = steps
    self._batch_size = batch_size
    self._log_every = log_every
    self._names = names
    self._spikes = SpikeDetector()
    for loss in losses:
      self._spikes.add(loss)
    self.sums = dict(sums or {})
    self.bad: NonFiniteStep | None = None
    self._interval = []
    self._late = None
    self._waited = 0.0
    self._intervals = 0
    self._warned = False
    self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._step = start_step
    self._clock = time.monotonic()
    # Of the steps since the last row that this process has trained.
    self._timed, self._seconds, self._idle = 0, 0.0, 0.0

  @contextlib.contextmanager
  def waiting_for_data(self) -> Iterator[None]:
    """Wraps what waits for a batch, to measure that time."""
    began = time.monotonic()
    yield
    self._waited += time.monotonic() - began

  def add(
    self, step: int, step_metrics: Mapping[str, Any], look: Any = None
  ) -> None:
    """Takes the metrics of a step, which the device may still compute.

    Args:
      step: its number.
      step_metrics: (sum, count) pairs.
      look: arrays of the layers, of a step that ends an interval.
    """
    self._interval.append(step_metrics)
    if step % self._log_every == 0:
      self._close_interval(step, look)

  def flush(self, step: int, end: bool = False) -> None:
    """Waits for every step so far; `bad` and `sums` are then up to date.

    Args:
      step: number of steps done.
      end: no step follows, so those since the last row get one of their own.
    """
    if self._interval:
      self._close_interval(step)
    self._report()
    if end:
      self._write_row()
    self._writer.flush()

  def restart(self, step: int) -> None:
    """Continues after `step`, after a rollback; drops what came later."""
    self._interval, self._late, self.bad = [], None, None
    self._clear()
    self._step = step
    self.restart_clock()

  def restart_clock(self) -> None:
    """Leaves the time since the last report out of the speed."""
    self._clock = time.monotonic()
    self._waited = 0.0

  def _clear(self) -> None:
    self.sums = {}
    self._timed, self._seconds, self._idle = 0, 0.0, 0.0

  def _close_interval(self, step: int, look: Any = None) -> None:
    self._report()
    if self.bad:
      return
    interval, self._interval = self._interval, []
    waited, self._waited = self._waited, 0.0
    self._late = self._thread.submit(self._fetch, step, interval, waited, look)

  @staticmethod
  def _fetch(step, interval, waited, look):
    interval, look = jax.device_get((interval, look))
    return step, interval, waited, look, time.monotonic()

  def _report(self) -> None:
    if self._late is None:
      return
    step, results, waited, look, now = self._late.result()
    self._late = None
    good, skipped, self.bad = read_results(step, results, self._names)
    for bad in skipped:
      self._progress.say(f"{bad}: skipped ({bad.skipped} so far)")
    if self.bad:  # Later steps changed nothing.
      self._interval, step = [], self.bad.step - 1
    self.sums = fold([self.sums, *good])
    self._timed += step - self._step
    self._seconds += now - self._clock
    self._idle += waited
    self._step, self._clock = step, now
    rate, steps = self.sums.get("lr", (0.0, 0.0))
    if self.bad or step % self._log_every == 0:
      self._write_row()
    if look is not None and not self.bad and self._show_look is not None:
      self._show_look(step, look, rate / max(steps, 1))

  def _write_row(self) -> None:
    """Reports the steps since the last row, if any of them changed anything."""
    if not self.sums:
      return
    step, values, speed = self._step, compute([self.sums]), self._measure()
    self._clear()
    self._writer.write(step, values | speed)
    if self._on_row is not None:
      self._on_row(step, values | speed)
    self._report_spike(step, values)
    if self._collapse and (found := self._collapse.add(step, values)):
      self._progress.say(f"step {step}: {found}")
    if not speed:
      return
    rate, waited = speed["images_per_second"], speed["data_wait"]
    left = (self._steps - step) * self._batch_size / rate
    self._progress.show(
      step, self._steps, loss=values["loss"], seconds_left=left, **speed
    )
    self._intervals += 1
    # The first interval waits for the first batches.
    slow = waited > self.MAX_DATA_WAIT and waited * left >= self.MIN_LOST
    if slow and self._intervals > 1:
      self._warn(waited)

  def _measure(self) -> dict[str, float]:
    """Measures the steps since the last row that this process has trained."""
    if not self._timed:
      return {}
    speed = {
      "images_per_second": self._batch_size * self._timed / self._seconds,
      # The device may lag behind the host, by more than an interval at its
      # ends.
      "data_wait": min(1.0, self._idle / self._seconds),
    }
    if self._peak is not None:
      speed["mfu"] = speed["images_per_second"] / self._peak
    return speed

  def _report_spike(self, step: int, values: Mapping[str, float]) -> None:
    """Reports an interval whose loss is far above those before it."""
    level = self._spikes.add(values["loss"])
    if level is None:
      return
    shown = {key: values[key] for key in ("loss", "grad_norm", "update_norm")}
    row = {"step": float(step), "level": level, **shown}
    self._writer.write(step, {f"spike/{key}": x for key, x in row.items()})
    self._progress.say(
      f"step {step}: the loss jumped to {shown['loss']:.4f} from {level:.4f}: "
      f"gradient norm {shown['grad_norm']:.3g}, update norm "
      f"{shown['update_norm']:.3g}"
    )

  def _warn(self, data_wait: float) -> None:
    """Warns once that the input is slower than the device."""
    if self._warned:
      return
    self._warned = True
    self._progress.say(
      f"{data_wait:.0%} of the time no batch was ready: `python -m "
      f"vit_jax.benchmark input --config=...` finds the bottleneck of the "
      f"input; --config.data.workers=N reads in N processes"
    )
