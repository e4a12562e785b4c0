# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A run as `train` sees it: one object that keeps it alive.

`Run` stands between the training loop and signals, lost hosts, other runs in
the workdir, damaged checkpoints, lost data, full disks and non-finite values.
"""

import collections
import contextlib
import datetime
import functools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from vit_jax.config import ConfigError
from vit_jax.config.errors import NonFiniteError, Preempted, counted
from vit_jax.data.held_out import write_held_out
from vit_jax.hosts.watchdog import STARTING
from vit_jax.metrics.progress import format_duration
from vit_jax.runtime.early_stopping import describe_end
from vit_jax.runtime.logged import LoggedSession
from vit_jax.runtime.lost_files import describe_edits, restore_files
from vit_jax.runtime.nonfinite import recover
from vit_jax.runtime.profile import StepProfile
from vit_jax.runtime.resume import load_result
from vit_jax.runtime.workdir import find_command, write_config, writing
from vit_jax.storage.files import write_json
from vit_jax.train_state import TrainState, compute_digest

SLOW = 0.25  # Seconds between two steps from which the device is well ahead.


class Run(LoggedSession):
  """A run on one of its hosts; all hosts call the same, in the same order.

  Attributes:
    state: TrainState after `step` steps, from `begin` on.
    step: number of steps done, likewise.
    steps: number of steps after which the run ends, likewise.
    result: content of result.json, once the run has ended.
  """

  result: dict[str, Any] | None = None
  _batches: Any = None  # Iterator of batches that can be closed.

  def begin(self, state: TrainState) -> bool:
    """Takes the state to continue from; returns whether any work is left.

    Raises:
      ConfigError: if the run is longer than the config asks for.
    """
    exp, workdir = self.exp, self._workdir
    self.state, self.step = state, int(jax.device_get(state.step))
    self._start = start = self.step
    self.steps = self.find_last_step(start)
    self._ahead: collections.deque[Any] = collections.deque()
    self._advanced = time.monotonic()
    if start > exp.steps:
      raise ConfigError(
        f"{workdir} holds a run of {counted(start, 'step')}, more than "
        f"the {exp.steps} asked for: use another --workdir"
      )
    self.result = load_result(workdir, self._config, start)
    if start == self.steps and self.result is not None:
      self.say(f"already finished at step {start}: {workdir / 'result.json'}")
      if "accuracy" in self.result:
        self._say_values("result", {self._find_main(): self.result})
      if self._first:
        config, manifest = exp.recorded_config, exp.make_manifest()
        for line in restore_files(
          workdir, config, manifest, self._record, start
        ):
          self.say(line)
      return False
    if start:
      self.say(f"resuming after step {start}")
    if self._first:
      if edits := describe_edits(workdir, exp.recorded_config):
        self.say(edits)
      write_config(workdir, exp.recorded_config, exp.make_manifest())
      write_held_out(workdir, exp.info)
    self._open_log(start)
    self._profile = StepProfile(
      exp.train.profiled_steps, workdir, flush=self._flush_log, say=self.say
    )
    self._stack.callback(self._profile.close)
    self._stack.callback(self._close_batches)
    if start < self.steps:  # While the step is compiled.
      with self._saving_on_error(f"reading the batch of step {start + 1}"):
        self._batches = exp.make_batches(start)
    return True

  @contextlib.contextmanager
  def stepping(self) -> Iterator[None]:
    """Wraps the loop: a run that is asked to end there saves its progress.

    Raises:
      Preempted: after SIGTERM, Ctrl-C or a preemption notice, once saved.
    """
    self._watchdog.mark("waiting until all hosts can begin", STARTING)
    save = functools.partial(self.save, wait=True)
    with self._preemption.running(save):
      self._log.restart_clock()
      yield

  def next_batch(self) -> dict[str, jax.Array]:
    """Reads the batch of the next step.

    Raises:
      ConfigError: if data are lost; the steps done so far are saved.
    """
    if self._profile.begin(self.step + 1):
      self._log.restart_clock()
    if self._batches is None:
      self._batches = self.exp.make_batches(self.step)
    doing = f"reading the batch of step {self.step + 1}"
    self._watchdog.mark(doing)
    with self._saving_on_error(doing), self._log.waiting_for_data():
      batch = next(self._batches)
    self._watchdog.mark(f"step {self.step + 1}")
    return batch

  def advance(self, state: TrainState, metrics: Mapping[str, Any]) -> None:
    """Takes the results of a step, which the device may still compute.

    Raises:
      RunError: if the last checkpoint could not be written.
    """
    self.state, self.step = state, self.step + 1
    self._starting.over = True
    metrics, look = self._layers.take(self.step, state.params, metrics)
    self._log.add(self.step, metrics, look)
    self._checkpointer.check()
    # Their batches are in the device's memory, and a run that is asked to end
    # trains all of them: where steps are slow, one waits while one is trained.
    slow = time.monotonic() - self._advanced > SLOW
    self._ahead.append(metrics)
    while len(self._ahead) > (1 if slow else 2):
      jax.block_until_ready(self._ahead.popleft())
    self._advanced = time.monotonic()

  def check(self) -> None:
    """Ends the run if it was asked to; handles non-finite values.

    After a rollback `state` and `step` are those to continue from.

    Raises:
      Preempted: if it was asked to end.
      NonFiniteError: if values were not finite and train.nonfinite stops it.
    """
    if self._profile.end(self.step):
      self._log.restart_clock()
    self._preemption.poll()
    self._handle_nonfinite()
    answer = self._callbacks.take_answer()
    if answer is not None and any(self._hosts.gather(answer)):
      if self.step < self.steps:
        self.say(f"a callback ends the run after step {self.step}")
      self.steps = self.step

  def is_save_due(self) -> bool:
    """Returns whether a checkpoint is due after this step."""
    last = self.step == self.steps
    return last or self._checkpointer.is_due(self.step)

  def save(self, wait: bool = False) -> str:
    """Saves the state in the background; describes what is saved and where.

    Args:
      wait: return only when it is on disk.
    """
    self._flush_log()
    self._check_workdir()
    self._watchdog.mark(f"saving step {self.step}")
    self._checkpointer.save(self.step, self.state, wait=wait)
    path = self._workdir / "checkpoints" / str(self.step)
    self._callbacks.call("on_save", self.step, str(path))
    self._log.restart_clock()
    return f"step {self.step} in {self._workdir}"

  def evaluate_due(self) -> None:
    """Runs the evaluations that are due after this step and have no row yet.

    Those of the last step are left to `train`, which runs all of them there.
    Where train.stop_by ends the run by them, this step becomes the last.
    """
    if not self.exp.list_due_evaluations(self.step):
      return
    self._flush_log()
    due = self.exp.list_due_evaluations(self.step)
    due = [x for x in due if not self._writer.has_row(self.step, f"{x}/")]
    if due and 0 < self.step < self.steps:
      self._say_values(f"step {self.step}", self.evaluate(due))
      self.steps = self.find_last_step(self.step)
      if self.step == self.steps:
        self.say(
          describe_end(
            self._stop_scores, self.exp.train.stop_by, self.exp.steps
          )
        )
        self.save()
    self._log.restart_clock()

  def evaluate(self, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Runs evaluations by name and writes their rows.

    Returns:
      Evaluation -> metric -> value.
    """
    found = {}
    for name in names:
      doing = f"evaluating {name} at step {self.step}"
      mark = self.make_mark(doing)
      mark()
      self._progress.show_doing(doing)
      with self._saving_on_error(doing):
        values = dict(self.exp.evaluators[name].run(self.state, mark))
      found[name] = values
      row = {f"{name}/{key}": x for key, x in values.items()}
      best = self.exp.checkpoint.best
      if best in row:
        self._scores[self.step] = row[best]
      if (stop_by := self.exp.train.stop_by) in row:
        self._stop_scores[self.step] = float(row[stop_by])
      # A run that ended without its result evaluates its last step again.
      if not self._writer.has_row(self.step, f"{name}/"):
        self._writer.write(self.step, row)
        self._writer.flush()
      self._callbacks.call("on_evaluation", self.step, name, values)
    return found

  def finish(self, values: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    """Waits for the last checkpoint and writes result.json.

    Args:
      values: from `evaluate`, at the last step.

    Returns:
      Content of result.json, as `train` describes it.
    """
    self._watchdog.mark(f"saving step {self.step}")
    self._checkpointer.finish()
    self._writer.complete()  # metrics.jsonl is before result.json is.
    self.result = dict(values[self._find_main()]) if values else {}
    self.result |= {
      "steps": self.step,
      "parameters": sum(x.size for x in jax.tree.leaves(self.state.params)),
      "train_images": self.exp.info.count(self.exp.data.train),
      "start_step": self._start,
      "seconds": round(time.monotonic() - self._began, 1),
      "compile_seconds": round(self._compile_seconds, 1),
      "params_sha256": compute_digest(self.state.params),
      "choices": self._metadata["choices"],
      "finished": datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds"),
    }
    if command := find_command():
      self.result["command"] = command
    if self._first:
      kept = f"step {self.step} is saved, and the same command ends the run"
      with writing(self._workdir, kept):
        write_json(self._workdir / "result.json", self.result)
    duration = format_duration(self.result["seconds"])
    self._say_values(f"done in {duration}", values)
    self.say(f"checkpoint: {self._workdir / 'checkpoints' / str(self.step)}")
    return self.result

  def _close_batches(self) -> None:
    """Ends the threads and processes that read ahead."""
    if self._batches is not None:
      self._batches.close()
    self._batches = None

  def _flush_log(self) -> None:
    """Waits for the rows of all steps so far; handles non-finite values."""
    self._log.flush(self.step, end=self.step == self.steps)
    self._handle_nonfinite()
    self._note_progress()

  def _handle_nonfinite(self) -> None:
    """Recovers from a non-finite step that the log has read of."""
    bad = self._log.bad
    if bad is None:
      return
    self._check_workdir()
    self._writer.flush()
    self._note_progress()
    self._watchdog.mark(f"recovering from the non-finite step {bad.step}")
    self.state, report = recover(
      self.state,
      bad,
      self._checkpointer,
      self.exp.abstract_state,
      workdir=self._workdir,
      nonfinite=self.exp.train.nonfinite,
      max_skipped_steps=self.exp.train.max_skipped_steps,
    )
    self.say(report)
    self.step = bad.step
    self._close_batches()
    self._log.restart(self.step)

  def _check_workdir(self) -> None:
    """Makes sure that the workdir exists, and is still this run's."""
    if not self._lock.check():
      self.say(f"{self._workdir} or its lock was deleted: it is created again")
      exp = self.exp
      write_config(self._workdir, exp.recorded_config, exp.make_manifest())
      self._lock.renew()

  @contextlib.contextmanager
  def _saving_on_error(self, doing: str) -> Iterator[None]:
    """Wraps what reads data: an error there costs no finished step.

    Args:
      doing: what is being done, for messages.

    Raises:
      Preempted: if the run was asked to end.
      ConfigError: as inside, with what is saved; other errors get a note.
    """
    try:
      yield
    except Preempted:
      raise
    except Exception as error:
      kept = "its last checkpoint is kept"
      if self._hosts.count == 1:
        # Whatever ended a worker process may have asked the run to end, too.
        self._preemption.poll()
        kept = self._save_progress()
      kept = f"this was {doing}; {kept}"
      again = "the same command continues from there"
      if isinstance(error, ConfigError):
        mended = f"once that is mended, {again}"
        raise type(error)(f"{error}\n  {kept}: {mended}") from error
      error.add_note(f"{kept}: {again}")
      raise

  def _save_progress(self) -> str:
    """Saves the steps done since the start; describes what is kept."""
    if self.step == self._start:
      return f"nothing was done since step {self.step}"
    try:
      self.save(wait=True)
    except NonFiniteError:
      raise  # It says what is kept.
    except Exception as error:
      return f"step {self.step} could not be saved ({error}), earlier ones are"
    return f"step {self.step} is saved in {self._workdir}"
