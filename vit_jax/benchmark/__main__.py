# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast things are, and why.

  python -m vit_jax.benchmark input [--config=FILE] [--config.data.KEY=VALUE]

input: what reading, decoding, cropping, batching and moving an image to the
device cost, how many images per second the whole input gives when nobody keeps
it waiting, and which stage bounds it. Without --config the images are made up
(synthetic:imagenet2012).
"""

import json
import sys

from vit_jax.command_line import load_config, make_parser, reported, start
from vit_jax.config import ConfigError, nearest

# What is measured without a config.
DEFAULT = {
  "model": {"variant": "B/16"},
  "data": {"source": "synthetic:imagenet2012"},
  "optim": {"lr": 1e-3},
  "train": {"steps": 1, "batch_size": 256},
}


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.benchmark", __doc__)
  parser.add_argument("what", choices=["input"], help="what to measure")
  parser.add_argument(
    "--config",
    metavar="FILE[:KEY=VALUE,...]",
    help="a recipe, whose keys --config.SECTION.KEY=VALUE replaces",
  )
  parser.add_argument(
    "--batch", type=int, metavar="B", help="in place of the config's"
  )
  parser.add_argument(
    "--seconds", type=float, default=10.0, help="to measure for (10)"
  )
  parser.add_argument("--json", action="store_true", help="for programs")
  arguments, overrides = parser.parse_known_args(argv)
  with reported():
    for override in overrides:
      if not override.startswith("--config."):
        name = override.partition("=")[0]
        flags = ("--config", "--batch", "--seconds", "--json")
        raise ConfigError(f"{override!r} is no flag: {nearest(name, flags)}")
    config = load_config(arguments.config, overrides, DEFAULT)
    if arguments.batch is not None:
      config.setdefault("train", {})["batch_size"] = arguments.batch

    from vit_jax.benchmark import input as benchmark
    from vit_jax.data.sources import prepare_embedded
    from vit_jax.experiment import Experiment

    start()
    exp = Experiment(config)
    prepare_embedded(
      exp.data.source, exp.data.dir, lambda text: print(text, file=sys.stderr)
    )
    report = benchmark.measure(
      exp.data,
      exp.mesh,
      exp.info.channels,
      batch_size=exp.train.batch_size,
      seconds=arguments.seconds,
    )
  if arguments.json:
    print(report, file=sys.stderr)
    print(json.dumps(report.to_json()))
  else:
    print(report)


if __name__ == "__main__":
  main()
