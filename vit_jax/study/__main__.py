# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Trains several runs and compares them.

  python -m vit_jax.study STUDY --config=FILE[:KEY=VALUE,...] --workdir=DIR
      [--seeds=0,1,2] [--config.SECTION.KEY=VALUE] [--allow_cpu] [--extend]

STUDY is one of
  seeds   one run per seed: mean, standard deviation and worst accuracy (of a
          segmentation mean IoU, of runs without labels the loss)
  sweep   one run for each combination of values in the recipe's get_sweep, on a
          part of the training images; then, with the best one and all training
          images, one run per seed
  vtab    the 19 tasks of VTAB-1k whose data are prepared, beside the paper's
          scores; `vtab --help` lists its flags, and --config may be left out
  scaling  power laws through what --of=DIR,DIR found, studies data_scale or
          compute; it trains nothing, and --config is left out

or a study of the ViT paper, with --scale=digits|laptop|card|pod for --config:
  position    position embeddings (table 8)
  pooling     class token or average pooling, by learning rate (figure 9)
  data_scale  ViT and ResNet by the number of training images (figures 3 and 4)
  compute     ViT, hybrid and ResNet by pre-training compute (figure 5)
  resolution  fine-tuning at higher sizes, positions interpolated or not (3.2)
  self_supervision    masked patch prediction by target and amount (B.1.2)
  attention_distance  how far heads look, over training (figure 7)
  shape       depth, widths and patches by compute (figure 8)
  optimizer   Adam or SGD for a ResNet (table 7)

or, with the same flags,
  without_labels  four objectives that read no labels against an encoder at
                  random: few-shot, and fine-tuned on few labels

The same command resumes a study that was interrupted, and leaves finished runs
alone. The table that it prints is in DIR/study.json too, of vtab in vtab.json,
vtab.md and vtab.png, and of the paper's studies in study.md and study.png.
Several machines may share a study of the paper: each takes runs that nobody
has. Exit status: 0, or that of the first run that fails; vtab and the paper's
go on with the other runs, and then end with 1.
"""

import sys
from collections.abc import Sequence
from typing import Any

from vit_jax.config import ConfigError, command_line, recipe
from vit_jax.runtime.workdir import check_letters
from vit_jax.sections import resolve
from vit_jax.storage.paths import check_directory, expand
from vit_jax.study import (
  attention_distance,
  compute,
  data_scale,
  optimizer,
  pooling,
  position,
  resolution,
  runs,
  scaling,
  seeds,
  self_supervision,
  shape,
  sweep,
  vtab,
  without_labels,
)
from vit_jax.study.earlier import check_workdir

# Flags of vit_jax.main that are passed on to every run.
MAIN_FLAGS = ("--allow_cpu", "--extend")

PAPER = (
  position,
  pooling,
  data_scale,
  compute,
  resolution,
  self_supervision,
  attention_distance,
  shape,
  optimizer,
)
STUDIES: dict[str, Any] = {
  "seeds": seeds,
  "sweep": sweep,
  "vtab": vtab,
  "scaling": scaling,
}
STUDIES |= {module.STUDY.name: module.STUDY for module in PAPER}
STUDIES["without_labels"] = without_labels.STUDY
COMMON = ("name", "config", "workdir", "seeds")


def parse_seeds(text: str) -> list[int]:
  """Parses seeds as "0,1,2"."""
  try:
    seeds = [int(seed) for seed in text.split(",")]
  except ValueError:
    seeds = []
  fine = all(0 <= seed < 2**32 for seed in seeds)
  if not seeds or not fine or len(set(seeds)) < len(seeds):
    raise ConfigError(
      f"--seeds={text} must be different whole numbers from 0 to {2**32 - 1}, "
      f"as 0,1,2"
    )
  return seeds


def find_name(argv: Sequence[str]) -> str:
  """Finds the study among arguments, as it decides which flags there are.

  A directory may have the name of one; the study stands first.
  """
  names = [x for x in argv if x in STUDIES]
  if len(set(names)) > 1 and argv[0] not in STUDIES:
    with command_line.reported():
      raise ConfigError(
        f"{' or '.join(names)}: name the study first, then flags, as: "
        f"{names[-1]} --workdir=DIR"
      )
  return names[0] if names else "seeds"


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = command_line.make_parser("study", __doc__)
  parser.add_argument(
    "name", choices=STUDIES, metavar="STUDY", help="see above"
  )
  parser.add_argument(
    "--config", metavar=command_line.CONFIG, help="recipe to train"
  )
  parser.add_argument("--workdir", metavar="DIR", help="directory of the runs")
  given = sys.argv[1:] if argv is None else argv
  study = STUDIES[name := find_name(given)]
  usual = ",".join(map(str, study.SEEDS)) or "none"
  parser.add_argument(
    "--seeds",
    metavar="S,S",
    help=f"seeds to train with: 0,1 is two runs, 2 is one, of seed 2 (default "
    f"of {name}: {usual})",
  )
  parser.set_defaults(config=getattr(study, "RECIPE", None))
  if hasattr(study, "add_flags"):
    study.add_flags(parser)
  with command_line.reported(), runs.ending():
    arguments, flags = command_line.parse(
      parser, given, required=("config", "workdir"), passed_on=MAIN_FLAGS
    )
    if any(flag.startswith("--config.train.seed=") for flag in flags):
      raise ConfigError("--config.train.seed is set by a study: use --seeds")
    chosen = study.SEEDS
    if arguments.seeds is not None:
      chosen = parse_seeds(arguments.seeds)
    overrides = [flag for flag in flags if flag.startswith("--config.")]
    config = recipe.load_config(arguments.config, overrides)
    if not config.get("evals"):
      raise ConfigError(
        f"--config={arguments.config} has no evaluation to compare runs by: "
        f"add one to its section evals"
      )
    if study is seeds:  # A sweep checks the configs of all its runs.
      resolve(config)
    workdir = expand(arguments.workdir)
    check_letters(workdir, arguments.workdir)
    check_directory(workdir, f"--workdir={arguments.workdir}")
    check_workdir(workdir, arguments.name)
    own = {k: x for k, x in vars(arguments).items() if k not in COMMON}
    summary = study.run(arguments.config, workdir, flags, chosen, **own)
    getattr(study, "save", runs.save)(summary, workdir)
    print(study.format_table(summary))
  if summary.get("failed"):
    sys.exit(1)


if __name__ == "__main__":
  main()
