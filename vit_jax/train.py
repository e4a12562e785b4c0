# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loop: the only file that knows the order of things."""

import contextlib
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils

import vit_jax
from vit_jax.checkpoint import Checkpointer
from vit_jax.config import ConfigError
from vit_jax.data import pipeline, sources
from vit_jax.experiment import Experiment, resolve
from vit_jax.metrics import (
  MetricWriter,
  Progress,
  TrainLog,
  format_duration,
  read_json,
  write_json,
  write_text,
)
from vit_jax.preemption import Preempted, Preemption
from vit_jax.sharding import get_indivisible
from vit_jax.train_state import TrainState, get_digest

Say = Callable[[str], None]


def train(
  config: Mapping[str, Any], workdir: str, *, allow_cpu: bool = False
) -> dict[str, Any]:
  """Trains a config from its last checkpoint, or from the start, to its end.

  Args:
    config: sections of keys; see `experiment.SECTIONS`.
    workdir: of the run, local or gs://.
    allow_cpu: train on a CPU what is meant for an accelerator.

  Returns:
    What result.json holds: accuracy, correct, total and loss of the first
    evaluation; steps, seconds, and the digest of the parameters.

  Raises:
    ConfigError: for a bad config or missing data, before anything is compiled.
    Preempted: after SIGTERM or Ctrl-C, once the state is saved.
  """
  began = time.monotonic()
  first = jax.process_index() == 0
  progress = Progress(enabled=first)
  say = progress.say
  # Missing data end the run here: in seconds, with nothing made or compiled.
  config = resolve(config)
  prepare_data(config["data"], say)
  check_platform(allow_cpu or config["train"]["allow_cpu"])
  exp = Experiment(config)
  workdir = open_workdir(workdir)
  result_path = workdir / "result.json"
  describe(exp, say)

  with contextlib.ExitStack() as stack:
    preemption = stack.enter_context(Preemption())
    checkpointer = stack.enter_context(
      Checkpointer(workdir / "checkpoints", exp.checkpoint)
    )
    # Restore, or start: either way every array is made where it belongs.
    state = checkpointer.restore(exp.abstract_state)
    if state is None:
      state = exp.make_state()
    start = int(jax.device_get(state.step))
    if start > exp.steps:
      raise ConfigError(
        f"{workdir} holds a run of {start} steps, more than the {exp.steps} "
        f"asked for: use another --workdir"
      )
    if start == exp.steps and result_path.exists():
      say(f"finished at step {start} already, see {result_path}")
      return read_json(result_path)
    if start:
      say(f"resuming after step {start}")
    if first:
      write_records(exp, workdir)

    if start < exp.steps:
      say("compiling the training step")
      tick = time.monotonic()
      train_step = exp.lower_train_step().compile()
      say(f"compiled in {time.monotonic() - tick:.1f} s")

    writer = MetricWriter(workdir, start, enabled=first)
    stack.callback(writer.close)
    log = TrainLog(
      writer,
      progress,
      exp.schedule,
      start_step=start,
      steps=exp.steps,
      batch_size=exp.train.batch_size,
      log_every=exp.train.log_every,
    )
    batches = pipeline.make_train_batches(
      exp.data,
      exp.mesh,
      exp.info.channels,
      batch_size=exp.train.batch_size,
      seed=exp.train.seed,
      start_step=start,
    )
    # Step, log, save, evaluate. Rows are on disk before the checkpoint that
    # makes them final, and the checkpoint before an evaluation that may fail.
    for step in range(start + 1, exp.steps + 1):
      batch = next(batches)
      with jax.transfer_guard("disallow"):
        state, step_metrics = train_step(state, batch)
      log.add(step, step_metrics)
      last = step == exp.steps
      asked = preemption.is_asked(step) and not last
      if last or asked or checkpointer.is_due(step):
        log.flush(step)
        checkpointer.save(step, state, wait=asked)
        log.restart_clock()
      if asked:
        raise Preempted(
          f"{preemption.name}: saved step {step} in {workdir}; the same "
          f"command goes on from there"
        )
      due = [] if last else exp.get_due_evaluations(step)
      if due:
        log.flush(step)
        values = evaluate(exp, state, due, step, writer)
        say_values(f"step {step}", values, say)
        log.restart_clock()

    values = evaluate(exp, state, exp.evaluators, exp.steps, writer)
    checkpointer.wait()

  result = values[next(iter(values))] if values else {}
  result |= {
    "steps": exp.steps,
    "seconds": round(time.monotonic() - began, 1),
    "params_sha256": get_digest(state.params),
  }
  if first:
    write_json(result_path, result)
  say_values(f"done in {format_duration(result['seconds'])}", values, say)
  say(f"checkpoint: {workdir / 'checkpoints' / str(exp.steps)}")
  return result


def check_platform(allow_cpu: bool) -> None:
  """Refuses to train on a CPU by accident.

  Raises:
    ConfigError: if jax found no accelerator and nobody allowed a CPU.
  """
  if jax.default_backend() == "cpu" and not allow_cpu:
    raise ConfigError(
      "jax found no accelerator, and this config is not meant for a CPU\n"
      "  python -m vit_jax.doctor says why that may be; --allow_cpu trains "
      "all the same"
    )


def open_workdir(name: str) -> epath.Path:
  """Makes the directory of a run, local or on an object store.

  Raises:
    ConfigError: if it can not be written, with the reason.
  """
  path = epath.Path(name)
  if "://" not in name:
    path = path.expanduser().resolve()
  try:
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".probe_{jax.process_index()}"
    write_text(probe, "")
    probe.unlink()
  except (OSError, ImportError) as error:
    hint = ""
    if isinstance(error, ImportError):
      hint = "\n  gs:// needs: pip install 'vit_jax[gcs]'"
    raise ConfigError(
      f"--workdir={name} is of no use: {error}{hint}"
    ) from error
  return path


def prepare_data(section: Mapping[str, Any], say: Say) -> None:
  """Writes an embedded set, once for all processes, and opens the data.

  Raises:
    DataError: if the set is not there, with the command that prepares it.
  """
  source, data_dir = section["source"], section["dir"]
  if jax.process_index() == 0:
    sources.prepare_embedded(source, data_dir, say)
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("data are prepared")
  sources.open_source(source, section["train"], data_dir)


def evaluate(
  exp: Experiment,
  state: TrainState,
  names: Iterable[str],
  step: int,
  writer: MetricWriter,
) -> dict[str, dict[str, float]]:
  """Runs evaluations by name; returns name -> values and records them all."""
  found = {}
  for name in names:
    values = dict(exp.evaluators[name].run(state))
    found[name] = values
    writer.write(step, {f"{name}/{key}": x for key, x in values.items()})
  return found


def say_values(
  when: str, found: Mapping[str, Mapping[str, float]], say: Say
) -> None:
  """Says what evaluations found, and over how many examples."""
  lines = [
    f"{name} accuracy {values['accuracy']:.2%} ({values['correct']:,}/"
    f"{values['total']:,}), loss {values['loss']:.4f}"
    for name, values in found.items()
  ]
  say(": ".join(filter(None, (when, "; ".join(lines)))))


def describe(exp: Experiment, say: Say) -> None:
  """Says what is about to be trained, on what."""
  parameters = sum(x.size for x in jax.tree.leaves(exp.abstract_state.params))
  device = exp.mesh.devices.flat[0]
  axes = ", ".join(f"{axis} {size}" for axis, size in exp.mesh.shape.items())
  say(
    f"{exp.config['model']['variant']}, {parameters:,} parameters, on "
    f"{exp.mesh.size} x {device.device_kind} ({axes})"
  )
  say(
    f"{exp.data.source}: {exp.info.count(exp.data.train):,} images of "
    f"{exp.num_classes:,} classes at {exp.data.size} px, {exp.steps:,} steps "
    f"of {exp.train.batch_size:,}"
  )
  for path, shape in get_indivisible(exp.abstract_state.params).items():
    say(f"replicated, as the mesh does not divide it: {path} {shape}")


def write_records(exp: Experiment, workdir: epath.Path) -> None:
  """Puts beside the run what it takes to understand and to use it."""
  packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
  versions = {name: importlib.metadata.version(name) for name in packages}
  versions["vit_jax"] = vit_jax.__version__
  write_json(workdir / "config.json", exp.config | {"versions": versions})
  write_json(workdir / "manifest.json", exp.get_manifest())
