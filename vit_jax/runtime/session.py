# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that a run holds, opened in the order that matters."""

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from vit_jax.checkpoint import Checkpointer
from vit_jax.config.frozen import FrozenDict
from vit_jax.devices.detection import start_backend
from vit_jax.hosts.coordination import Hosts, Timeouts
from vit_jax.hosts.preemption import Preemption
from vit_jax.hosts.watchdog import STARTING, Watchdog
from vit_jax.metrics.progress import Progress
from vit_jax.metrics.rows import read_scores
from vit_jax.runtime import preflight
from vit_jax.runtime.compilation_cache import timed_compilation, use_cache
from vit_jax.runtime.lock import WorkdirLock
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
  ):
    """Starts nothing yet; arguments are those of `train`."""
    self._config, self._name, self._extend = config, workdir, extend
    self._preemption = preemption or Preemption()
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
      preflight.check_hosts(config, self._extend, self._hosts)
      use_cache(start_backend())
      self._preemption.keep_signals()
      self._first = jax.process_index() == 0
      self._progress = Progress(enabled=self._first)
      self.say = self._progress.say
      self._watchdog.mark("reading the data set", STARTING)
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
      ConfigError: if the workdir cannot be used, another run holds it, or the
        objective's teacher does not exist.
    """
    self.exp, enter = exp, self._stack.enter_context
    objective = exp.recorded_config["objective"]
    digest = objective.get("teacher_sha256")
    self._hosts.compare({"objective.teacher_sha256": digest})
    self.frozen = exp.load_frozen()
    seconds = self._config["hosts"]["heartbeat_timeout"]
    self._workdir = open_workdir(self._name, self._hosts, seconds)
    preflight.describe(exp, self.say)
    self._metadata = {
      "config": exp.recorded_config,
      "data": self._data,
      "versions": collect_versions(),
    }
    # Step -> metric that chooses the best checkpoints; host 0 reads for all.
    best = exp.checkpoint.best
    rows = read_scores(self._workdir, best) if self._first else {}
    self._scores = dict(self._hosts.gather(list(rows.items()))[0])
    self._stack.callback(self._progress.end)
    if self._first:  # Other hosts' warnings go to standard error as they are.
      enter(self._progress.show_warnings())
    # First the lock: opening checkpoints removes half-written ones, which may
    # be another run's.
    self._watchdog.mark("waiting for another run in the workdir", STARTING)
    self._lock = enter(WorkdirLock(self._workdir, self._hosts, self.say))
    self._watchdog.mark("restoring or initialising the state", STARTING)
    directory = self._workdir / "checkpoints"
    self._checkpointer = enter(
      Checkpointer(
        directory, exp.checkpoint, self._hosts, self._metadata, self._scores
      )
    )
    self._stack.push(self._watchdog.fail)  # Before anything is closed.

  def restore(self) -> TrainState | None:
    """Restores the newest sound checkpoint; None if there is none.

    Raises:
      ConfigError: if it is of another config or other data, or all are damaged.
    """
    accept = functools.partial(
      check_metadata, now=self._metadata, extend=self._extend
    )
    return self._checkpointer.restore(self.exp.abstract_state, accept)

  def compare(self, facts: Mapping[str, Any]) -> None:
    """Raises ConfigError, on every host, if the hosts' facts differ."""
    self._hosts.compare(facts)

  @contextlib.contextmanager
  def compiling(self) -> Iterator[None]:
    """Wraps the compilation of the training step; reports its time."""
    self._watchdog.mark("compiling the training step", STARTING)
    self.say("compiling the training step")
    with timed_compilation() as found:
      yield
    self._compile_seconds = found.seconds
    note = ", from the compilation cache" if found.cached else ""
    self.say(f"compiled in {found.seconds:.1f} s{note}")
