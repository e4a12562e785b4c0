# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Saving in the background, and restoring the newest sound checkpoint."""

import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from etils import epath

from vit_jax.checkpoint.checksums import compute_checksums
from vit_jax.checkpoint.directory import (
  CheckpointOptions,
  choose_old,
  delete,
  list_steps,
  sweep,
  sync,
)
from vit_jax.checkpoint.metadata import (
  FORMAT,
  DamagedError,
  check_fit,
  compare,
  seal,
  to_tree,
)
from vit_jax.checkpoint.quiet_orbax import get_orbax
from vit_jax.checkpoint.reading import (
  align_operations,
  describe_renaming,
  load_required_metadata,
  load_state,
  verify,
)
from vit_jax.config import ConfigError, RunError
from vit_jax.hosts.coordination import Hosts
from vit_jax.train_state import TrainState

log = logging.getLogger(__name__)

UNKNOWN = "?"  # Result of a verification that was cut short.


class Checkpointer:
  """The checkpoints of a run; a context manager.

  Every host of the run calls the same methods in the same order. A checkpoint
  is written and then read back in the background.
  """

  def __init__(
    self,
    directory: epath.Path,
    options: CheckpointOptions,
    hosts: Hosts | None = None,
    metadata: Mapping[str, Any] | None = None,
    scores: Mapping[int, float] | None = None,
  ):
    """Opens or creates the directory and removes what a killed run left.

    Args:
      directory: where checkpoints are written.
      options: the checkpoint section of the config.
      hosts: hosts of the run; None is this one alone.
      metadata: config, data and versions, as JSON values, to store in every
        checkpoint.
      scores: step -> value of the metric `options.best`; the caller may add to
        it.

    Raises:
      ConfigError: if the directory cannot be used.
    """
    self._directory = directory
    self._options = options
    self._hosts = hosts or Hosts()
    self._metadata = metadata or {}
    self._scores = {} if scores is None else scores
    steps = []
    try:
      if self._hosts.index == 0:
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory)
        steps = list_steps(directory)
    except Exception as error:  # Clients of stores have errors of their own.
      raise ConfigError(f"{directory} cannot be used: {error}") from error
    # One host lists, because disks may show the others an older state.
    self._steps: list[int] = self._hosts.gather(steps)[0]
    self._held: int | None = None  # The step last saved or restored.
    self._trusted: set[int] = set()
    self._damaged: set[int] = set()
    self._hurry = threading.Event()
    self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._saving: concurrent.futures.Future | None = None
    self._verifying: concurrent.futures.Future | None = None

  def __enter__(self):
    return self

  def __exit__(self, *_: Any) -> None:
    self._hurry.set()
    self._thread.shutdown()

  def find_latest_step(self) -> int | None:
    """Finds the newest step whose checkpoint is not known to be damaged."""
    return max(set(self._steps) - self._damaged, default=None)

  def find_sound_step(self) -> int | None:
    """Finds the newest step whose checkpoint, read to its end, is sound.

    Call this before giving up a state that no checkpoint holds.
    """
    self.wait()
    while (step := self.find_latest_step()) is not None:
      with self._agreeing() as problems:
        verify(self._make_path(step), self._hosts.index, self._hosts.count)
      if not problems:
        return step
      self._distrust(step, problems[0])
    return None

  def _make_path(self, step: int) -> epath.Path:
    return self._directory / str(step)

  def _distrust(self, step: int, reason: str) -> None:
    """Marks a checkpoint as damaged; its step may then be saved again."""
    self._damaged.add(step)
    self._trusted.discard(step)
    if self._held == step:
      self._held = None
    log.warning("the checkpoint of step %d is damaged: %s", step, reason)

  def inspect(self, accept: Callable[[Mapping[str, Any]], None]) -> None:
    """Calls `accept` with the newest metadata, as `restore` will, and sooner.

    What cannot be read is left to `restore`, which has older ones.
    """
    if (step := self.find_latest_step()) is None:
      return
    metadata = None
    with self._agreeing() as problems:
      metadata = load_required_metadata(self._make_path(step))
    if not problems:
      accept(metadata)

  def restore(
    self,
    abstract_state: TrainState,
    accept: Callable[[Mapping[str, Any]], None] = lambda metadata: None,
  ) -> TrainState | None:
    """Restores the newest sound checkpoint; returns None if there is none.

    If one is damaged, all hosts take the one before it, with a warning.

    Args:
      abstract_state: shapes, dtypes and shardings of the state.
      accept: called with the metadata of a checkpoint before it is restored;
        raises ConfigError to refuse it.

    Raises:
      ConfigError: if all are damaged, or one holds other arrays.
    """
    reasons = []
    for step in reversed(self._steps):
      state, reason = self._try(step, abstract_state, accept)
      if state is not None:
        for text in reasons:
          log.warning("%s; going back to step %d", text, step)
        self._held = step
        self._trusted.add(step)
        return state
      self._damaged.add(step)
      self._trusted.discard(step)
      reasons.append(f"the checkpoint of step {step} is damaged: {reason}")
    if reasons:
      remedy = describe_renaming(self._directory, self._steps)
      remedy = remedy or "put a copy of a sound one there"
      raise ConfigError(
        f"no checkpoint in {self._directory} can be used:\n  "
        + "\n  ".join(reasons)
        + f"\n  {remedy}, or use another --workdir"
      )
    return None

  def _try(
    self, step: int, abstract_state: TrainState, accept: Callable
  ) -> tuple[TrainState | None, str | None]:
    """Restores one; returns its state, or None and what all hosts found wrong.

    The reason is the same on all hosts.
    """
    path = self._make_path(step)
    metadata = state = None
    with self._agreeing() as problems:
      metadata = load_required_metadata(path)
    if problems:
      return None, problems[0]
    accept(metadata)
    check_fit(abstract_state, metadata)
    with self._agreeing() as problems:
      state = load_state(path, abstract_state)
    if problems:
      return None, problems[0]
    # All hosts compute the sums together, so this comes after all could read.
    with self._agreeing() as problems:
      compare(compute_checksums(to_tree(state)), metadata["checksums"])
    return (None, problems[0]) if problems else (state, None)

  @contextlib.contextmanager
  def _agreeing(self) -> Iterator[list[str]]:
    """Collects the DamagedErrors of all hosts: yields them.

    The list is filled at the end, with DamagedError's message of each host.
    """
    problems, problem = [], None
    try:
      yield problems
    except DamagedError as error:
      problem = str(error)
    found = self._hosts.gather(problem)
    for index, text in enumerate(found):
      if text is not None:
        where = f" ({self._hosts.describe([index])})" if len(found) > 1 else ""
        problems.append(text + where)

  def is_due(self, step: int) -> bool:
    """Returns whether `options.every` asks for a checkpoint after a step."""
    every = self._options.every
    return every is not None and step % every == 0

  def save(self, step: int, state: TrainState, *, wait: bool = False) -> None:
    """Copies the state to the host, then writes it in the background.

    The state may be donated as soon as this returns.

    Args:
      step: number of the step; the one last saved or restored is not written
        again.
      state: state after that step.
      wait: return only when it is on disk.

    Raises:
      RunError: if this or the last checkpoint cannot be written.
    """
    if step != self._held:
      self.wait(hurry=wait)
      self._start(step, state)
    if wait and self._saving is not None:
      self._saving.result()

  def _start(self, step: int, state: TrainState) -> None:
    """Starts to write a checkpoint in the background."""
    self._trusted.discard(step)
    # A store has no directory before there is a checkpoint.
    lost = self._steps and not self._directory.exists()
    if self._hosts.index == 0 and lost:
      log.warning(
        "%s was deleted: step %d creates it again", self._directory, step
      )
    tree = to_tree(state)
    own = {"format": FORMAT, "step": step, "checksums": compute_checksums(tree)}
    ocp = get_orbax()
    context = ocp.Context()
    # Else Orbax waits ten minutes for a directory that it could not create.
    context.asynchronous.create_directories_asynchronously = False
    with self._explaining(step), context:
      # A damaged one, or one of a run that went further. Orbax would delete it
      # while the other hosts look whether it is there, and those that see it
      # wait for ever for those that do not.
      if self._hosts.index == 0 and self._make_path(step).exists():
        delete(self._directory, step)
      align_operations(self._hosts)  # No host passes before it is deleted.
      response = ocp.save_checkpointables_async(
        self._make_path(step),
        {"state": tree},
        custom_metadata=seal({**self._metadata, **own}),
      )
    self._held = step
    self._steps = sorted({*self._steps, step})
    self._damaged.discard(step)
    self._saving = self._thread.submit(self._finish, step, response)
    self._verifying = self._thread.submit(self._verify, step)

  def _finish(self, step: int, response: Any) -> None:
    """Waits until a checkpoint is on disk, then deletes old ones."""
    with self._explaining(step):
      response.result()
      if self._hosts.index == 0:
        sync(self._make_path(step))
    self._delete_old()

  def _verify(self, step: int) -> str | None:
    """Reads a checkpoint back; returns what is wrong, or None."""
    path, hosts = self._make_path(step), self._hosts
    try:
      verify(path, hosts.index, hosts.count, self._hurry.is_set)
    except DamagedError as error:
      return str(error)
    return UNKNOWN if self._hurry.is_set() else None

  @contextlib.contextmanager
  def _explaining(self, step: int) -> Iterator[None]:
    """Wraps a write: its errors become a RunError that says what is left."""
    try:
      yield
    except jax.errors.JaxRuntimeError:  # Of a device, or of another host.
      raise
    except Exception as error:
      if self._hosts.index == 0:
        self._sweep_patiently()
      last = [other for other in self._steps if other != step]
      left = f"the newest is step {last[-1]}" if last else "there is no other"
      raise RunError(
        f"the checkpoint of step {step} cannot be written to "
        f"{self._directory}: {error.__cause__ or error}\n"
        f"  {left}; once there is room on the disk, and permission to write, "
        f"the same command continues from there"
      ) from error

  def _sweep_patiently(self) -> None:
    """Removes a half-written checkpoint, whose threads may still be writing.

    What cannot be removed now is removed at the next start.
    """
    for _ in range(5):
      with contextlib.suppress(Exception):  # The disk may be gone.
        sweep(self._directory)
      time.sleep(0.2)

  def check(self) -> None:
    """Raises the error of the save in the background, if it has failed."""
    if self._saving is not None and self._saving.done():
      self._saving.result()

  def wait(self, hurry: bool = False) -> None:
    """Waits until the last checkpoint is on disk and was read back.

    Args:
      hurry: stop reading it back.

    Raises:
      RunError: if it could not be written.
    """
    if self._saving is None:
      return
    saving, self._saving = self._saving, None
    saving.result()
    if hurry:
      self._hurry.set()
    found = self._hosts.gather(self._verifying.result())
    self._hurry.clear()
    problems = [x for x in found if x not in (None, UNKNOWN)]
    if problems:
      self._distrust(self._held, problems[0])
    elif UNKNOWN not in found:
      self._trusted.add(self._held)

  def finish(self) -> None:
    """Makes sure that the last checkpoint is sound, then deletes old ones.

    Raises:
      RunError: if it could not be written, or differs when it is read back.
    """
    last = self._held
    self.wait()
    if last in self._damaged:
      raise RunError(
        f"the last checkpoint, of step {last} in {self._directory}, differs "
        f"from what was written: check that disk; the same command continues "
        f"from the checkpoint before"
      )
    self._delete_old()

  def _delete_old(self) -> None:
    """Deletes checkpoints that `options` does not keep."""
    old = choose_old(
      self._steps, self._options, self._scores, self._trusted, self._damaged
    )
    self._steps = [step for step in self._steps if step not in old]
    if self._hosts.index != 0:
      return
    for step in old:
      try:
        delete(self._directory, step)
      except Exception as error:
        log.warning(
          "the old checkpoint of step %d cannot be deleted: %s", step, error
        )
