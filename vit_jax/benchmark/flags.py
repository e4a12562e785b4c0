# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The flags of each verb of benchmark."""

import argparse
from collections.abc import Callable

from vit_jax.benchmark.timing import Schedule
from vit_jax.config.command_line import CONFIG, duration, positive

DTYPES = ("bfloat16", "float32")


def add_config_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say what is measured."""
  parser.add_argument(
    "--config",
    metavar=CONFIG,
    help="recipe; --config.SECTION.KEY=VALUE replaces a key",
  )
  parser.add_argument(
    "--model",
    metavar="NAME",
    help="short for --config.model.variant (B/16; startup: Ti/16)",
  )
  parser.add_argument(
    "--size",
    type=positive,
    metavar="PIXELS",
    help="short for --config.data.size (224)",
  )
  parser.add_argument(
    "--batch",
    type=positive,
    metavar="B",
    help="short for --config.train.batch_size",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")


def add_schedule_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say how often."""
  plan = Schedule()
  parser.add_argument(
    "--warmup",
    type=positive,
    default=plan.warmup,
    metavar="N",
    help=f"steps that are not timed ({plan.warmup})",
  )
  parser.add_argument(
    "--steps",
    type=positive,
    metavar="N",
    help="steps of a group, which is timed as one (about a second's worth)",
  )
  parser.add_argument(
    "--repeats",
    type=positive,
    default=plan.repeats,
    metavar="N",
    help=f"number of groups ({plan.repeats})",
  )


def add_against_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of a comparison."""
  parser.add_argument(
    "--against",
    choices=["timm"],
    help="take turns with timm: torch.compile, autocast, fused Adam",
  )
  parser.add_argument(
    "--rounds",
    type=positive,
    metavar="N",
    help="turns of each with --against (3)",
  )


def add_train_flags(parser: argparse.ArgumentParser) -> None:
  add_schedule_flags(parser)
  add_against_flags(parser)
  parser.add_argument(
    "--loop",
    action="store_true",
    help="time the whole loop of a run too, with its input",
  )
  parser.add_argument(
    "--trace",
    metavar="DIR",
    help="keep a profile of a few steps there, and print what costs most",
  )


def add_input_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--seconds",
    type=duration,
    default=10.0,
    metavar="S",
    help="time that the whole input is measured for (10)",
  )
  parser.add_argument(
    "--against", choices=["tf_data"], help="take turns with tf.data"
  )


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    help="new directory to save to, removed at the end; has to be given",
  )
  parser.add_argument(
    "--repeats",
    type=positive,
    default=3,
    metavar="N",
    help="times that the state is saved and restored (3)",
  )


def add_compile_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--topology",
    metavar="KIND:SHAPE",
    help="TPUs that need not be there, as v5e:2x2",
  )
  parser.add_argument(
    "--repeats",
    type=positive,
    default=1,
    metavar="N",
    help="compilations of each program (1)",
  )


def numbers(text: str) -> list[int]:
  """Parses numbers of at least 1, with commas between them, for argparse."""
  return [positive(part) for part in text.split(",")]


def names(text: str) -> list[str]:
  """Parses dtypes, with commas between them, for argparse."""
  found = text.split(",")
  for name in found:
    if name not in DTYPES:
      raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(DTYPES)}")
  return found


def add_infer_flags(parser: argparse.ArgumentParser) -> None:
  add_schedule_flags(parser)
  add_against_flags(parser)
  parser.add_argument(
    "--weights", metavar="RUN", help="directory of a run, or weights"
  )
  parser.add_argument(
    "--batches",
    type=numbers,
    metavar="B,B",
    help="batch sizes (1,8,32,128)",
  )
  parser.add_argument(
    "--dtypes",
    type=names,
    metavar="D,D",
    help=f"dtypes of activations ({','.join(DTYPES)})",
  )


def add_startup_flags(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--repeats",
    type=positive,
    default=3,
    metavar="N",
    help="processes of each kind (3)",
  )


FLAGS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
  "train": add_train_flags,
  "input": add_input_flags,
  "checkpoint": add_checkpoint_flags,
  "compile": add_compile_flags,
  "infer": add_infer_flags,
  "startup": add_startup_flags,
}
