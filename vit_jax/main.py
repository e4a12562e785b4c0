# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a config; the same command starts a run and resumes it.

Exit status: 0 done, 1 error, 2 bad config or missing data, 42 asked to end
(SIGTERM, Ctrl-C, a preemption notice) with nothing lost, 43 stuck or another
host lost or missing, 130 stopped by a second Ctrl-C.
"""

import gc
import sys

from vit_jax.config import INTERRUPTED, PREEMPTED, command_line, recipe
from vit_jax.config.errors import Preempted
from vit_jax.devices.detection import prepare_memory
from vit_jax.hosts.preemption import Preemption


def main(
  argv: list[str] | None = None, preemption: Preemption | None = None
) -> None:
  """Reads the flags and the config, joins the other hosts, and trains.

  Args:
    argv: arguments; None is those of the process.
    preemption: watches the signals of this process; None leaves them to a
      caller that has more to do.
  """
  parser = command_line.make_parser("main", __doc__)
  parser.add_argument(
    "--config",
    metavar=command_line.CONFIG,
    help="recipe: a name, as digits, or a file, with arguments of its own, as "
    "vit_l16:epochs=30; --config.SECTION.KEY=VALUE overrides a key, as "
    "--config.train.steps=10",
  )
  parser.add_argument(
    "--workdir", metavar="DIR", help="directory of the run, local or gs://"
  )
  parser.add_argument(
    "--allow_cpu",
    action="store_true",
    help="train on a CPU what is meant for an accelerator",
  )
  parser.add_argument(
    "--extend",
    action="store_true",
    help="continue a run of another length, under this one's learning rate",
  )
  with command_line.reported():
    arguments, overrides = command_line.parse(
      parser, argv, required=("config", "workdir")
    )
    config = recipe.load_config(arguments.config, overrides)
    # Imported late, so that a wrong flag is reported at once.
    from vit_jax.convert.inherit import inherit
    from vit_jax.hosts.coordination import Timeouts
    from vit_jax.runtime.start import start
    from vit_jax.sections import resolve
    from vit_jax.train import train

    config = resolve(inherit(config, arguments.workdir))
    start(Timeouts(**config["hosts"]))
    try:
      train(
        config,
        arguments.workdir,
        allow_cpu=arguments.allow_cpu,
        extend=arguments.extend,
        preemption=preemption,
      )
    except Preempted as error:
      print(error, file=sys.stderr)
      sys.exit(PREEMPTED)
    except KeyboardInterrupt:
      sys.exit(INTERRUPTED)


if __name__ == "__main__":
  # What is imported and traced stays: looking for garbage among it, every 700
  # objects by default, takes a fifth of the time of both.
  gc.set_threshold(100_000)
  prepare_memory()
  main(preemption=Preemption(program=True))
