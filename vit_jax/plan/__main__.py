# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Plans a run: does it fit into the memory of TPUs, and how fast can it be?

  python -m vit_jax.plan --config=FILE --topology=v5e:16x16 [--slices=2]
  python -m vit_jax.plan --config=FILE --topology=v5e:16x16 --sweep

Compiles the training step for TPUs (v4, v5e, v5p, v6e) that need not be there,
and prints the memory it needs per chip, the bytes it moves and a lower bound of
its time. Needs libtpu, but no TPU, no network and no data. --sweep tries
meshes, remat policies and micro-batches, and prints the flags of the fastest
combination that fits.
"""

import json
import sys

from vit_jax.config import ConfigError
from vit_jax.config.command_line import CONFIG, make_parser, parse, reported
from vit_jax.config.recipe import load_config

BUDGET = 600.0  # Seconds.


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("plan", __doc__)
  parser.add_argument(
    "--config",
    metavar=CONFIG,
    help="recipe; --config.SECTION.KEY=VALUE replaces a key",
  )
  parser.add_argument(
    "--topology",
    metavar="KIND:SHAPE",
    help="TPUs of a slice, as v5e:16x16 or v5p:4x4x8",
  )
  parser.add_argument(
    "--slices", type=int, default=1, metavar="N", help="number of slices (1)"
  )
  parser.add_argument(
    "--sweep", action="store_true", help="find the fastest mesh that fits"
  )
  parser.add_argument(
    "--budget",
    type=float,
    metavar="SECONDS",
    help=f"time that a sweep may compile for ({BUDGET:g})",
  )
  parser.add_argument(
    "--batch_sizes",
    metavar="B,B",
    help="batch sizes that a sweep tries (the config's)",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")

  with reported():
    arguments, overrides = parse(parser, argv, required=("config", "topology"))

    def say(text):
      stream = sys.stderr if arguments.json else sys.stdout
      print(text, file=stream, flush=True)

    if arguments.budget is not None and not arguments.budget > 0:
      raise ConfigError(
        f"--budget={arguments.budget:g} must be a number of seconds above 0"
      )
    for name in ("budget", "batch_sizes"):
      if getattr(arguments, name) is not None and not arguments.sweep:
        raise ConfigError(f"--{name} has no effect without --sweep: add it")

    import jax

    from vit_jax.devices.topology import make_topology
    from vit_jax.sections import resolve

    # A program compiled for chips that are not there cannot be read back.
    jax.config.update("jax_enable_compilation_cache", False)
    topology = make_topology(arguments.topology, arguments.slices)
    config = resolve(load_config(arguments.config, overrides))
    if arguments.sweep:
      from vit_jax.plan.sweep import sweep

      found = sweep(
        config,
        topology,
        [f"--config={arguments.config}", *overrides],
        say,
        budget=arguments.budget or BUDGET,
        batch_sizes=arguments.batch_sizes,
      )
      say(f"\n{found}")
    else:
      from vit_jax.experiment import Experiment
      from vit_jax.metrics.progress import Progress
      from vit_jax.plan.estimate import check_size, make_plan
      from vit_jax.plan.report import format_plan

      exp = Experiment(config, topology.devices)
      check_size(exp, topology)
      progress = Progress()
      progress.rewrite(
        f"{config['model']['variant']}: compiling the training step for "
        f"{topology.name}, which can take minutes"
      )
      try:
        found = make_plan(exp, topology)
      finally:
        progress.clear()
      say(format_plan(found))
      for choice in exp.choices:
        say(str(choice))
  if arguments.json:
    print(json.dumps(found.to_json()))


if __name__ == "__main__":
  main()
