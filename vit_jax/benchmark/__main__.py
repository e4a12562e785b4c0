# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Measures how fast input and checkpoints are, and why.

  python -m vit_jax.benchmark input [--config=FILE] [--config.data.KEY=VALUE]
  python -m vit_jax.benchmark checkpoint [--config=FILE] --workdir=DIR

input: the time to read, decode, crop, order, batch and transfer an image to the
device; the images per second of the whole input pipeline when the device takes
batches at once; and the stage that bounds it.

checkpoint: the time that a save blocks training, until the checkpoint is on the
disk, until it is read back, and that restoring takes, beside the time to write
a plain file of the same size. DIR, local or gs://, must not exist; it is
removed at the end.

Without --config the model is B/16 and the images are random
(synthetic:imagenet2012).
"""

import argparse
import json
import sys
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.config.command_line import CONFIG, make_parser, parse, reported
from vit_jax.config.recipe import load_config
from vit_jax.devices.detection import start_backend
from vit_jax.runtime.start import start
from vit_jax.sections import resolve

# The config without --config.
DEFAULT = {
  "model": {"variant": "B/16"},
  "data": {"source": "synthetic:imagenet2012"},
  "optim": {"lr": 1e-3},
  "train": {"steps": 1, "batch_size": 256},
}


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("benchmark", __doc__)
  parser.add_argument("what", choices=list(MEASURES), help="see above")
  parser.add_argument(
    "--config",
    metavar=CONFIG,
    help="recipe; --config.SECTION.KEY=VALUE replaces a key",
  )
  parser.add_argument(
    "--batch", type=int, metavar="B", help="batch size (the config's)"
  )
  parser.add_argument(
    "--seconds",
    type=float,
    default=10.0,
    metavar="S",
    help="time that the whole input is measured for (10)",
  )
  parser.add_argument("--workdir", metavar="DIR", help="directory to save to")
  parser.add_argument("--json", action="store_true", help="print JSON")
  with reported():
    arguments, overrides = parse(parser, argv)
    config = load_config(arguments.config, overrides, DEFAULT)
    if arguments.batch is not None:
      config.setdefault("train", {})["batch_size"] = arguments.batch

    report = MEASURES[arguments.what](config, arguments)
  if arguments.json:
    print(report, file=sys.stderr)
    print(json.dumps(report.to_json()))
  else:
    print(report)


def measure_input(config: dict, arguments: argparse.Namespace) -> Any:
  """Runs the benchmark `input`."""
  from vit_jax.benchmark import input as benchmark
  from vit_jax.data.sources import prepare_embedded
  from vit_jax.experiment import Experiment

  start()
  start_backend()
  exp = Experiment(resolve(config))
  prepare_embedded(
    exp.data.source, exp.data.dir, lambda text: print(text, file=sys.stderr)
  )
  return benchmark.measure(
    exp.data,
    exp.mesh,
    exp.info.channels,
    batch_size=exp.train.batch_size,
    seconds=arguments.seconds,
  )


def measure_checkpoint(config: dict, arguments: argparse.Namespace) -> Any:
  """Runs the benchmark `checkpoint`."""
  from vit_jax.benchmark import checkpoint as benchmark
  from vit_jax.experiment import Experiment
  from vit_jax.storage.paths import expand

  if arguments.workdir is None:
    raise ConfigError("--workdir is missing: set a directory to save to")
  directory = expand(arguments.workdir)
  if directory.exists():
    raise ConfigError(
      f"--workdir={directory} exists, and the benchmark would remove it: set a "
      f"new directory"
    )
  start()
  start_backend()
  return benchmark.measure(Experiment(resolve(config)), directory)


MEASURES = {"input": measure_input, "checkpoint": measure_checkpoint}

if __name__ == "__main__":
  main()
