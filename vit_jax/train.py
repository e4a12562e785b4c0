# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Training: set-up, the loop, and the end, in the order in which they happen.

`runtime.run.Run` is what keeps a run alive meanwhile.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from vit_jax.config.errors import Preempted
from vit_jax.convert.inherit import check_source, inherit
from vit_jax.data.workers import check_worker
from vit_jax.experiment import Experiment
from vit_jax.hosts.preemption import Preemption
from vit_jax.runtime.callbacks import Callback
from vit_jax.runtime.preflight import check_platform
from vit_jax.runtime.result import Result
from vit_jax.runtime.run import Run
from vit_jax.sections import resolve
from vit_jax.storage.paths import expand, locate
from vit_jax.train_state import compute_digest
from vit_jax.train_step import trace

log = logging.getLogger(__name__)


def train(
  config: Mapping[str, Any] | ConfigDict,
  workdir: str | os.PathLike,
  *,
  allow_cpu: bool = False,
  extend: bool = False,
  preemption: Preemption | None = None,
  callbacks: Sequence[Callback | Any] = (),
) -> Result:
  """Trains a config from its last checkpoint, or from the start, to its end.

  One of several hosts ends its process on an error, with the message and the
  exit status of the command, so that no other waits for it.

  Args:
    config: sections of keys, also as a ConfigDict; see `sections.SECTIONS`.
    workdir: directory of the run, local or gs://.
    allow_cpu: train on a CPU what is meant for an accelerator.
    extend: continue a run whose length was another.
    preemption: watches the signals of a process that only trains; None
      leaves signals to the caller until there is something to save.
    callbacks: told of rows, evaluations and saves; they may end the run. On
      several hosts all have some, or none has.

  Returns:
    Content of result.json: accuracy, correct, total and loss of the first
    evaluation that has them; steps; the numbers of parameters and of training
    images; the step at which this call began, its seconds, and those of them in
    which the step was compiled; the sha256 of the parameters.

  Raises:
    ConfigError: for a bad config or missing data, before anything is compiled;
      for data or a workdir lost later, with what is saved.
    Preempted: after SIGTERM, Ctrl-C or a preemption notice, once the state is
      saved.
    RunError: if a checkpoint cannot be written, or after a non-finite step,
      once the state before it is saved.
  """
  check_worker()
  workdir = os.fspath(workdir)
  config = resolve(inherit(config, workdir))
  check_source(config, workdir)
  with Run(
    config,
    workdir,
    extend=extend,
    preemption=preemption,
    callbacks=callbacks,
  ) as run:
    # Bad configs and missing data end here, in seconds; nothing is compiled.
    check_platform(allow_cpu or config["train"]["allow_cpu"])
    exp = Experiment(config)
    run.open(exp)
    given = None if run.resumes else load_init(exp, run)
    run.start_compiling(trace(exp.train_step, exp.mesh, *exp.abstract_inputs))
    state = run.restore()
    if not run.begin(exp.make_state(given) if state is None else state):
      return Result(run.result, workdir)
    # Here, and not above: the step is being compiled.
    from vit_jax.examination import TrainingImages

    if run.step < run.steps:
      while (train_step := run.finish_compiling()) is None:  # It did not fit.
        run.start_compiling(
          trace(exp.train_step, exp.mesh, *exp.abstract_inputs)
        )

    with TrainingImages(exp, run, workdir) as images, run.stepping():
      run.evaluate_due()  # Left over by a run that stopped after a checkpoint.
      while run.step < run.steps:
        batch = run.next_batch()
        with jax.transfer_guard("disallow"):
          state, metrics = train_step(run.state, batch, *run.frozen)
        run.advance(state, metrics)  # Rows are written one log interval late.
        run.check()  # Before a save: a non-finite step must not become final.
        if run.is_save_due():
          run.save()  # Before an evaluation, which may fail.
        run.evaluate_due()
      values = run.evaluate(exp.evaluators)
    result = run.finish(values)
    if config["train"]["report"] and show(run, exp, workdir):
      images.finish()
      write_report(run, workdir)
    return Result(result, workdir)


def show(run: Run, exp: Experiment, workdir: str) -> bool:
  """Shows what a run has learned; a failure is a line, and costs nothing else.

  Every process takes part.

  Returns:
    False if the run, which is done, was asked to end.
  """
  from vit_jax.examination import draw, examine

  run.say("examining what the run has learned, and drawing report.html")
  examined = False
  try:
    mark = run.make_mark("examining what the run has learned")
    examined = examine(exp, run.state, locate(workdir), mark)
  except Preempted:
    return False
  except Exception as error:  # Any: the page can do without.
    log.warning(
      "%s/evaluation is not written: %s; python -m vit_jax.evaluate %s "
      "--out=DIR has the same figures",
      *(workdir, str(error) or repr(error), workdir),
    )
  try:
    run.show_layers()
    if examined and run.takes_images:
      draw(run, locate(workdir))
  except Exception as error:  # Any, likewise.
    log.warning(
      "the loggers lack figures of the end: %s", str(error) or repr(error)
    )
  return True


def write_report(run: Run, workdir: str) -> None:
  """Writes the page of a run; a failure is a line, and costs nothing else."""
  if jax.process_index() > 0:
    return
  try:
    from vit_jax.plots.report import save_report

    run.say(f"report: {expand(save_report([workdir]))}")
  except Exception as error:  # Any: the run is done and saved.
    run.say(
      f"report.html is not written: {str(error) or repr(error)}; "
      f"python -m vit_jax.report {workdir} tries again"
    )


def load_init(exp: Experiment, run: Run) -> Any:
  """Loads the weights of `config.init`, if it has any, for `make_state`."""
  given, report = exp.load_init()
  if report is not None:
    run.say(str(report))
    if jax.process_count() > 1:  # One path may be another file on each host.
      run.compare({"digest of the initial weights": compute_digest(given)})
  return given
