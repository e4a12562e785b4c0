# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Measures how fast a recipe is on this machine, and why.

  python -m vit_jax.benchmark train [--against=timm] [--loop] [--trace=DIR]
  python -m vit_jax.benchmark infer [--against=timm] [--weights=RUN]
  python -m vit_jax.benchmark input
  python -m vit_jax.benchmark startup
  python -m vit_jax.benchmark checkpoint --workdir=DIR
  python -m vit_jax.benchmark compile [--topology=v5e:2x2]

train: the training step on data that lie on the device, and with --loop the
whole loop with its input; --against=timm takes turns with timm's step on one
device; --trace keeps a profile and prints what costs most.

infer: images a second by batch size and dtype, and the latency of one image.

input: the time to read, decode, crop, order, batch and transfer an image to the
device; the images per second of the whole input pipeline when the device takes
batches at once; and the stage that bounds it. Without --config it draws 1,000
JPEGs that cost what photographs of 500x375 cost (--config.data.source=
photographs draws them for a recipe). --against=tf_data has tf.data do the same
work, in turns (pip install 'vit_jax[tf]').

startup: whole processes from their start to the first finished step.

checkpoint: the time that a save blocks training, until the checkpoint is on the
disk, until it is read back, and that restoring takes, beside the time to write
a plain file of the same size. DIR, local or gs://, must not exist; it is
removed at the end.

compile: the compiler's time and the step's memory, by how far the blocks are
unrolled.

`VERB --help` has the flags of each. All of them take --config=FILE, with
--config.SECTION.KEY=VALUE; without it the model is B/16 (startup: Ti/16) and
the images are random (synthetic:imagenet2012). docs/performance.md has
examples.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from vit_jax.benchmark import flags
from vit_jax.benchmark.timing import Schedule
from vit_jax.config import INTERRUPTED, ConfigError
from vit_jax.config.command_line import make_parser, parse, reported
from vit_jax.config.errors import Preempted, quote
from vit_jax.config.recipe import load_config
from vit_jax.devices.detection import prepare_memory

# The source of `input` without --config, which it draws, and their number.
DRAWN, COUNT = "photographs", 1000
# The config without --config; what it leaves open becomes what suits a machine.
DEFAULT: dict[str, Any] = {
  "model": {"variant": "B/16"},
  "data": {"source": "synthetic:imagenet2012"},
  "optim": {"lr": 1e-3},
  "train": {"steps": 100_000},  # The program of a run that lasts.
}
# The same of verbs whose default is another.
DEFAULTS: dict[str, dict[str, Any]] = {
  "input": {
    "data": {"source": DRAWN},
    "train": {"steps": 1, "batch_size": 256},
  },
  "checkpoint": {"train": {"steps": 1, "batch_size": 256}},
  "startup": {
    "model": {"variant": "Ti/16"},
    "train": {"steps": 1, "batch_size": 16},
  },
}


def main(argv: list[str] | None = None) -> None:
  """The command line: python -m vit_jax.benchmark VERB [FLAGS]."""
  argv = sys.argv[1:] if argv is None else argv
  if not argv or argv[0] not in VERBS:
    parser = make_parser("benchmark", __doc__)
    parser.add_argument("verb", choices=list(VERBS), help="see above")
    parser.parse_args(argv)
  verb = VERBS[argv[0]]
  parser = make_parser(f"benchmark {argv[0]}", verb.__doc__ or "")
  flags.add_config_flags(parser)
  flags.FLAGS[argv[0]](parser)
  with reported():
    arguments, overrides = parse(parser, argv[1:])
    default = DEFAULT | DEFAULTS.get(argv[0], {})
    config = load_config(arguments.config, overrides, default)
    for name in DEFAULT:
      if not isinstance(config.setdefault(name, {}), dict):
        value = quote(config[name])
        raise ConfigError(f"{name}={value} must be a section of keys")
    for name, section, key in (
      ("model", "model", "variant"),
      ("size", "data", "size"),
      ("batch", "train", "batch_size"),
    ):
      value = getattr(arguments, name)
      if value is not None:
        config.setdefault(section, {})[key] = value
    try:
      report = verb(config, arguments)
    except Preempted:
      sys.exit(INTERRUPTED)
  if arguments.json:
    print(report, file=sys.stderr)
    print(json.dumps(report.to_json()))
  else:
    print(report)


def say(text: str) -> None:
  """Prints a line of progress."""
  print(text, file=sys.stderr, flush=True)


def check_rounds(arguments: argparse.Namespace) -> None:
  """Raises ConfigError for turns without a peer to take them with."""
  if arguments.rounds is not None:
    raise ConfigError("--rounds has no effect without --against: add it")


def measure_train(config: dict, arguments: argparse.Namespace) -> Any:
  """Times the training step of a recipe on data that lie on the device.

  Without --config: B/16 with Adam, 1,000 classes, a batch that suits the
  device, and float32 on a CPU.
  """
  prepare_memory()  # As a run does.
  from vit_jax.benchmark import train
  from vit_jax.benchmark.timm_step import check_installed

  is_recipe = arguments.config is not None
  schedule = Schedule(arguments.warmup, arguments.steps, arguments.repeats)
  if arguments.against is None:
    check_rounds(arguments)
    return train.measure(
      config,
      schedule,
      is_recipe=is_recipe,
      trace=arguments.trace,
      loop=arguments.loop,
    )
  for name in ("trace", "loop"):
    if getattr(arguments, name):
      raise ConfigError(f"--{name} is of our step alone: leave out --against")
  check_installed()  # Before anything is compiled.
  return train.compare(
    config, schedule, say, is_recipe=is_recipe, rounds=arguments.rounds or 3
  )


def measure_input(config: dict, arguments: argparse.Namespace) -> Any:
  """Measures the input of a recipe, stage by stage and as a whole."""
  from vit_jax.benchmark import input as benchmark
  from vit_jax.benchmark import photographs
  from vit_jax.benchmark.report import Headed, describe_machine
  from vit_jax.benchmark.step import open_experiment
  from vit_jax.data.sources import prepare_embedded

  with tempfile.TemporaryDirectory() as directory:
    if config["data"].get("source") == DRAWN:
      say(f"drawing {COUNT:,} photographs")
      photographs.write(pathlib.Path(directory), COUNT)
      config["data"]["source"] = f"folder:{directory}"
    exp = open_experiment(config, is_recipe=True)
    prepare_embedded(exp.data.source, exp.data.dir, say)
    found = benchmark.measure(
      exp.data,
      exp.mesh,
      exp.info.channels,
      batch_size=exp.train.batch_size,
      seconds=arguments.seconds,
      against=arguments.against,
    )
  if directory in found.source:
    found = dataclasses.replace(found, source=DRAWN)
  return Headed(found, describe_machine(list(exp.mesh.devices.flat)))


def measure_checkpoint(config: dict, arguments: argparse.Namespace) -> Any:
  """Measures saving and restoring the state of a recipe."""
  from vit_jax.benchmark import checkpoint as benchmark
  from vit_jax.benchmark.step import open_experiment
  from vit_jax.storage.paths import check_directory, expand

  if arguments.workdir is None:
    raise ConfigError(
      "--workdir is missing: set a new directory to save to, which is removed "
      "at the end"
    )
  directory = expand(arguments.workdir)
  if directory.exists():
    raise ConfigError(
      f"--workdir={directory} exists, and the benchmark would remove it: set a "
      f"new directory"
    )
  check_directory(directory, f"--workdir={arguments.workdir}")
  exp = open_experiment(config, is_recipe=True)
  return benchmark.measure(exp, directory, arguments.repeats)


def measure_compile(config: dict, arguments: argparse.Namespace) -> Any:
  """Times the compilation of a recipe's step, as a loop and unrolled.

  For this device, or with --topology for TPUs that need not be there.
  """
  import jax

  from vit_jax.benchmark import compilation
  from vit_jax.devices.detection import start_backend
  from vit_jax.runtime.start import start

  if arguments.topology is not None:
    from vit_jax.devices.topology import make_topology

    devices = make_topology(arguments.topology).devices
  else:
    start()
    start_backend()
    devices = jax.devices()
  return compilation.measure(
    config,
    say,
    is_recipe=arguments.config is not None,
    repeats=arguments.repeats,
    devices=devices,
  )


def measure_infer(config: dict, arguments: argparse.Namespace) -> Any:
  """Measures inference: images a second by batch size, and latency.

  Of a model by its name with random weights, or of --weights that vit_jax.load
  reads.
  """
  from vit_jax.benchmark import infer, infer_turns
  from vit_jax.benchmark.timm_step import check_installed
  from vit_jax.devices.detection import start_backend
  from vit_jax.runtime.start import start
  from vit_jax.sections import resolve

  schedule = Schedule(arguments.warmup, arguments.steps, arguments.repeats)
  config["train"].setdefault("batch_size", 1)  # Inference has --batches.
  resolved = resolve(config)
  size = resolved["data"]["size"]
  size = (size, size) if isinstance(size, int) else size
  if arguments.against is not None:
    for name in ("weights", "batches"):
      if getattr(arguments, name) is not None:
        raise ConfigError(
          f"--{name} is of our model alone: leave out --against"
        )
    if arguments.dtypes is not None and len(arguments.dtypes) > 1:
      raise ConfigError("--against compares one dtype: set one in --dtypes")
    check_installed()  # Before anything is compiled.
    return infer_turns.compare(
      resolved["model"],
      size,
      schedule,
      say,
      batch=arguments.batch,
      dtype=arguments.dtypes[0] if arguments.dtypes else None,
      rounds=arguments.rounds or 3,
    )
  check_rounds(arguments)
  if arguments.batch is not None and arguments.batches is not None:
    raise ConfigError("--batch and --batches both say it: leave one out")
  if arguments.weights is not None:
    given = {
      name: getattr(arguments, name) is not None
      for name in ("config", "model", "size")
    }
    for name in ("model", "data"):
      given[f"config.{name}"] = config[name] != DEFAULT[name]
    for name in filter(given.get, given):
      raise ConfigError(
        f"--{name} has no effect on --weights, which bring their model and "
        f"its size: leave one out"
      )
  start()
  start_backend(keep=True)  # As the commands do.
  batches = arguments.batches or infer.BATCHES
  return infer.measure(
    resolved["model"],
    size,
    schedule,
    say,
    weights=arguments.weights,
    dtypes=arguments.dtypes or flags.DTYPES,
    batches=[arguments.batch] if arguments.batch else batches,
  )


def measure_startup(config: dict, arguments: argparse.Namespace) -> Any:
  """Times whole processes from their start to the first finished step.

  With an empty compilation cache and with a filled one. Without --config: Ti/16
  and a batch of 16.
  """
  from vit_jax.benchmark import startup

  return startup.measure(
    config,
    say,
    is_recipe=arguments.config is not None,
    repeats=arguments.repeats,
  )


VERBS: dict[str, Callable[[dict, argparse.Namespace], Any]] = {
  "train": measure_train,
  "input": measure_input,
  "checkpoint": measure_checkpoint,
  "compile": measure_compile,
  "infer": measure_infer,
  "startup": measure_startup,
}

if __name__ == "__main__":
  main()
