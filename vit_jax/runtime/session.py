# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that a run holds, opened in the order that matters."""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax

from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError, raise_all
from vit_jax.config.frozen import FrozenDict
from vit_jax.devices.detection import start_backend
from vit_jax.hosts.coordination import Hosts, Timeouts
from vit_jax.hosts.preemption import Preemption
from vit_jax.hosts.watchdog import STARTING, Watchdog
from vit_jax.metrics.loggers import find_errors as find_logger_errors
from vit_jax.metrics.notebook import make_progress
from vit_jax.metrics.rows import read_scores
from vit_jax.runtime import preflight
from vit_jax.runtime.apart import check_apart
from vit_jax.runtime.callbacks import Callback, Callbacks
from vit_jax.runtime.compilation_cache import (
  Compilation,
  timed_compilation,
  use_cache,
)
from vit_jax.runtime.early_stopping import find_end
from vit_jax.runtime.failed_start import FailedStart
from vit_jax.runtime.fitting import compile_lowered, take_fitting
from vit_jax.runtime.lock import WorkdirLock
from vit_jax.runtime.out_of_memory import explained
from vit_jax.runtime.record import Record
from vit_jax.runtime.resume import check_metadata
from vit_jax.runtime.workdir import collect_versions, open_workdir
from vit_jax.train_state import TrainState


class Session:
  """Hosts, signals, workdir, lock and checkpoints of a run; a context manager.

  Every host calls the same methods in the same order.

  Attributes:
    exp: the Experiment, from `open` on.
    frozen: inputs that the step never changes, likewise.
  """

  def __init__(
    self,
    config: FrozenDict,
    workdir: str,
    *,
    extend: bool = False,
    preemption: Preemption | None = None,
    callbacks: Sequence[Callback] = (),
  ):
    """Starts nothing yet; arguments are those of `train`."""
    self._callbacks = Callbacks(callbacks)
    self._config, self._name, self._extend = config, workdir, extend
    self._preemption = preemption or Preemption()
    self._compiling: futures.Future | None = None
    self._compile_seconds = 0.0

  def __enter__(self):
    """Watches signals and hosts, compares the hosts, and finds the data.

    Raises:
      ConfigError: for hosts that differ, or missing data.
    """
    self._began = time.monotonic()
    config = self._config
    self._hosts, timeouts = Hosts(), Timeouts(**config["hosts"])
    with contextlib.ExitStack() as stack:
      self._watchdog = stack.enter_context(Watchdog(self._hosts, timeouts))
      stack.enter_context(
        self._preemption.joined(self._hosts, timeouts.preemption_notice)
      )
      self._hosts.exchange_names()
      started = {
        "--extend": self._extend,
        "whether there are callbacks": bool(self._callbacks),
      }
      preflight.check_hosts(config, started, self._hosts)
      use_cache(start_backend())
      self._preemption.keep_signals()
      self._first = jax.process_index() == 0
      self._progress = make_progress(enabled=self._first)
      self.say = self._progress.say
      named = config["train"]["loggers"] if self._first else None
      raise_all(self._hosts.gather(find_logger_errors(named))[0])
      self._watchdog.mark("reading the data set", STARTING)
      check_apart(config, self._name)
      self._data = preflight.prepare_data(config, self._hosts, self.say)
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *error: Any) -> bool | None:
    return self._stack.__exit__(*error)

  def open(self, exp: Any) -> None:
    """Opens the workdir for this run alone.

    Args:
      exp: an `Experiment`.

    Raises:
      ConfigError: if the workdir cannot be used, another process holds it, its
        checkpoint is of another config or other data, or the objective's
        teacher does not exist.
    """
    self.exp, enter = exp, self._stack.enter_context
    enter(explained(exp))
    excess = self._hosts.gather(preflight.find_excess(exp, jax.process_count()))
    if any(excess):
      raise ConfigError(next(filter(None, excess)))
    objective = exp.recorded_config["objective"]
    digest = objective.get("teacher_sha256")
    self._hosts.compare(
      {"objective.teacher_sha256": digest}
      | {choice.key: choice.value for choice in exp.choices}
    )
    exp.choose_input(self._hosts.names.count(socket.gethostname()) or 1)
    self.frozen = exp.load_frozen()
    seconds = self._config["hosts"]["heartbeat_timeout"]
    self._starting = enter(FailedStart(self._name, self._first))
    self._workdir = open_workdir(self._name, self._hosts, seconds)
    preflight.describe(exp, self.say)
    self._metadata = {
      "config": exp.recorded_config,
      "data": self._data,
      "versions": collect_versions(),
      "choices": {choice.key: choice.value for choice in exp.choices},
    }
    # Step -> metrics that choose the best checkpoints and the end.
    self._scores = self._read_scores(exp.checkpoint.best)
    self._stop_scores = self._read_scores(exp.train.stop_by)
    self._stack.callback(self._progress.end)
    if self._first:  # Other hosts' warnings go to standard error as they are.
      enter(self._progress.show_warnings())
    # First the lock: opening checkpoints removes half-written ones, which may
    # be another run's.
    self._watchdog.mark("waiting for another run in the workdir", STARTING)
    self._lock = enter(WorkdirLock(self._workdir, self._hosts, self.say))
    self._stack.push(self._starting.clear)  # While the lock is held.
    self._watchdog.mark("restoring or initialising the state", STARTING)
    directory = self._workdir / "checkpoints"
    self._checkpointer = enter(
      Checkpointer(
        directory, exp.checkpoint, self._hosts, self._metadata, self._scores
      )
    )
    self._stack.push(self._watchdog.fail)  # Before anything is closed.
    self._record = Record({})
    self._checkpointer.inspect(self._accept)  # Before anything is compiled.

  def _read_scores(self, name: str | None) -> dict[int, float]:
    """Reads step -> value of a metric on host 0, for all hosts."""
    rows = read_scores(self._workdir, name) if self._first else {}
    return dict(self._hosts.gather(list(rows.items()))[0])

  def find_last_step(self, step: int) -> int:
    """Finds the step at which a run ends, by its evaluations up to `step`."""
    train = self.exp.train
    if train.stop_by is None:
      return self.exp.steps
    found = self._stop_scores.items()
    scores = {at: float(x) for at, x in found if at <= step}
    ended = find_end(scores, train.stop_by, train.patience) is not None
    return step if ended else self.exp.steps

  @property
  def resumes(self) -> bool:
    """Whether the workdir holds a checkpoint of this run."""
    return self._checkpointer.find_latest_step() is not None

  def restore(self) -> TrainState | None:
    """Restores the newest sound checkpoint; None if there is none.

    Raises:
      ConfigError: if it is of another config or other data, or all are damaged.
    """
    state = self._checkpointer.restore(self.exp.abstract_state, self._accept)
    for name, scores in self._list_watched():
      for step, value in self._record.scores.get(name, {}).items():
        scores.setdefault(step, value)
    return state

  def _accept(self, metadata: Mapping[str, Any]) -> None:
    """Takes the metadata of a checkpoint; refuses those of another run."""
    check_metadata(metadata, now=self._metadata, extend=self._extend)
    self._record = Record(metadata)

  def make_mark(self, doing: str) -> Callable[[], None]:
    """Makes what an evaluation calls after each batch, to show its progress.

    It raises Preempted where the run was asked to stop.
    """

    def mark() -> None:
      self._watchdog.mark(doing)
      self._preemption.poll()

    return mark

  def _list_watched(self) -> list[tuple[str, dict[int, float]]]:
    """Lists metrics that decide on the run, each with step -> value."""
    train, checkpoint = self.exp.train, self.exp.checkpoint
    pairs = (
      (checkpoint.best, self._scores),
      (train.stop_by, self._stop_scores),
    )
    return [(name, scores) for name, scores in pairs if name is not None]

  def compare(self, facts: Mapping[str, Any]) -> None:
    """Raises ConfigError, on every host, if the hosts' facts differ."""
    self._hosts.compare(facts)

  def start_compiling(self, traced: jax.stages.Traced) -> None:
    """Compiles the training step while the state is restored or initialised.

    A run with no steps left compiles nothing. On a GPU this waits for
    `finish_compiling`: its compiler times kernels on the device, which must
    have nothing else to do.

    Args:
      traced: the step, from `trace`.
    """
    self._traced = traced
    done = self._checkpointer.find_latest_step() or 0
    if done < self.find_last_step(done) and jax.default_backend() != "gpu":
      self._compiling = self._compile()

  def finish_compiling(self) -> jax.stages.Compiled | None:
    """Waits for the compiled training step; reports the time that it took.

    Returns:
      The step; None if it does not fit into memory, and `exp` has one now that
      takes less.
    """
    self._watchdog.mark("compiling the training step", STARTING)
    compiling = self._compiling or self._compile()
    self._compiling = None
    compiled = take_fitting(self.exp, lambda: compiling.result()[0])
    if compiled is None:
      changed = {choice.key: choice.value for choice in self.exp.choices}
      values = ", ".join(
        f"{key}={value}"
        for key, value in changed.items()
        if self._metadata["choices"][key] != value
      )
      self.say(f"the step does not fit into memory: now {values}")
      self._metadata["choices"] = changed
      return None
    _, found = compiling.result()
    self._compile_seconds = found.seconds
    note = ", from the compilation cache" if found.cached else ""
    self.say(f"compiled in {found.seconds:.1f} s{note}")
    return compiled

  def _compile(self) -> futures.Future:
    """Lowers the training step, and compiles it in a thread."""
    self.say("compiling the training step")
    began = time.monotonic()
    lowered = self._traced.lower()

    def run_compiler() -> tuple[jax.stages.Compiled, Compilation]:
      with timed_compilation() as found:
        compiled = compile_lowered(lowered, jax.default_backend())
      found.seconds = time.monotonic() - began
      return compiled, found

    # Only the compiler runs in the thread: it is what does not hold the GIL.
    pool = futures.ThreadPoolExecutor(1, thread_name_prefix="compile")
    future = pool.submit(run_compiler)
    pool.shutdown(wait=False)
    return future
