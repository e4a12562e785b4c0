# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Does it fit, and how fast can it be? Asked of the compiler, without a TPU.

  python -m vit_jax.plan --config=FILE --topology=v5e:16x16 [--slices=2]
  python -m vit_jax.plan --config=FILE --topology=v5e:16x16 --sweep

Compiles the very step that training runs, for TPUs that are only described
(v4, v5e, v5p, v6e), and says what it needs of a chip's memory, what it moves
and a time that no step can stay below. Needs libtpu, and no TPU, no network and
no data. --sweep tries meshes, remat policies and micro-batches, and says which
is the fastest that fits, as overrides to paste.
"""

import json
import sys

from vit_jax.command_line import load_config, make_parser, reported
from vit_jax.config import ConfigError, nearest

BUDGET = 600.0  # Seconds.


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.plan", __doc__)
  parser.add_argument(
    "--config",
    metavar="FILE[:KEY=VALUE,...]",
    help="a recipe, whose keys --config.SECTION.KEY=VALUE replaces",
  )
  parser.add_argument(
    "--topology", metavar="KIND:SHAPE", help="as v5e:16x16 or v5p:4x4x8"
  )
  parser.add_argument(
    "--slices", type=int, default=1, metavar="N", help="so many of these (1)"
  )
  parser.add_argument(
    "--sweep", action="store_true", help="look for the fastest that fits"
  )
  parser.add_argument(
    "--budget",
    type=float,
    metavar="SECONDS",
    help=f"of a sweep, to compile in ({BUDGET:g})",
  )
  parser.add_argument(
    "--batch_sizes",
    metavar="B,B",
    help="of a sweep, in place of the config's own",
  )
  parser.add_argument("--json", action="store_true", help="for programs")
  arguments, overrides = parser.parse_known_args(argv)

  def say(text):
    print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

  with reported():
    for override in overrides:
      if not override.startswith("--config."):
        name = override.partition("=")[0]
        flags = [x for a in parser._actions for x in a.option_strings]
        raise ConfigError(f"{override!r} is no flag: {nearest(name, flags)}")
    for name in ("config", "topology"):
      if not getattr(arguments, name):
        raise ConfigError(f"--{name} is missing")
    if arguments.budget is not None and not arguments.budget > 0:
      raise ConfigError(
        f"--budget={arguments.budget:g} must be seconds, above 0"
      )
    for name in ("budget", "batch_sizes"):
      if getattr(arguments, name) is not None and not arguments.sweep:
        raise ConfigError(f"--{name} is of a sweep: add --sweep")

    import jax

    from vit_jax.plan.topology import get_topology

    # What is compiled for chips that are not there can not be read back.
    jax.config.update("jax_enable_compilation_cache", False)
    topology = get_topology(arguments.topology, arguments.slices)
    config = load_config(arguments.config, overrides)
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
      from vit_jax.plan.estimate import make_plan
      from vit_jax.plan.report import format_plan

      found = make_plan(Experiment(config, topology.devices), topology)
      say(format_plan(found))
  if arguments.json:
    print(json.dumps(found.to_json()))


if __name__ == "__main__":
  main()
