# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Command-line options about weights: what a file leaves open, and more.

Nothing heavy is imported: a verb adds its options before it needs jax.
"""

import argparse
import contextlib
import re
from collections.abc import Iterator
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.config.command_line import positive
from vit_jax.config.recipe import parse_value

MAX_SIDE = 1 << 14  # Of an image, in pixels.

# Fields that no array shows -> choices, or None for a number.
FIELDS: dict[str, tuple[str, ...] | None] = {
  "gelu": ("exact", "tanh"),
  "layer_norm_eps": None,
  "group_norm_eps": None,
  "std_conv_eps": None,
  "std_conv_eps_in": ("std", "variance"),
}
DATA = ("data", "data_dir", "split", "batch_size", "max_unreadable")
HELP = {
  "gelu": "GELU",
  "layer_norm_eps": "epsilon of layer norms",
  "group_norm_eps": "epsilon of group norms",
  "std_conv_eps": "epsilon of standardised convolutions",
  "std_conv_eps_in": "what that is added to",
}


def add_fields(parser: argparse.ArgumentParser, whose: str) -> None:
  """Adds a flag for each field of a model that no array shows."""
  for name, choices in FIELDS.items():
    kind: dict[str, Any] = {"choices": choices}
    if choices is None:
      kind = {"type": float, "metavar": "EPS"}
    text = f"{HELP[name]} {whose}, if no file says it or says it wrongly"
    parser.add_argument(f"--{name}", help=text, **kind)


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that `read_options` makes arguments of `vit_jax.load` of."""
  add_fields(parser, "of the weights")
  parser.add_argument(
    "--size",
    metavar="H,W",
    help="image size, one number for squares; positions are resampled to it "
    "(default: the size that the weights were trained at)",
  )
  parser.add_argument(
    "--source_size",
    metavar="H,W",
    help="image size that the weights were trained at, if no file says it",
  )
  parser.add_argument(
    "--crop",
    metavar="SHARE",
    help="share of the shorter side that is cut from the middle, as 0.875, or "
    "whole (default: as recorded, or whole)",
  )
  parser.add_argument(
    "--classes",
    metavar="FILE",
    help="names of the classes: a name a line, or JSON, a list or an object of "
    "index and name",
  )


def add_data_options(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say which images weights are applied to."""
  parser.add_argument(
    "--data",
    metavar="SOURCE",
    help="images, as folder:photos or tfds:digits (default: those of the run)",
  )
  parser.add_argument(
    "--data_dir",
    metavar="DIR",
    help="directory of prepared sets (default: as of the run, or TFDS's)",
  )
  parser.add_argument(
    "--split",
    metavar="SPLIT",
    help="split of them, as test or train[:10%%] (default: that of the run's "
    "evaluation, or test)",
  )
  parser.add_argument(
    "--batch_size",
    type=positive,
    metavar="N",
    help="images at a time, over all devices; changes no result",
  )
  parser.add_argument(
    "--max_unreadable",
    type=float,
    default=0.001,
    metavar="SHARE",
    help="largest share of images that may be unreadable; they are black, and "
    "counted (default: 0.001)",
  )
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    help="dtype that the model computes in (default: that of the run, or "
    "float32)",
  )


def add_weights(parser: argparse.ArgumentParser) -> None:
  """Adds the flag of `vit_jax.load`'s `weights`."""
  parser.add_argument(
    "--weights",
    choices=("float32", "int8"),
    default="float32",
    help="int8 rounds the kernels of layers, for a quarter of the memory of "
    "predict and load",
  )


@contextlib.contextmanager
def renaming() -> Iterator[None]:
  """Turns a config's keys into the flags of `add_data_options` in errors."""
  try:
    yield
  except ConfigError as error:
    text = str(error)
    for key, flag in (("source", "data"), ("dir", "data_dir")):
      text = re.sub(rf"(--config\.)?\bdata\.{key}=", f"--{flag}=", text)
    name = r"(--config\.)?\bdata\.max_unreadable\b"
    text = re.sub(name, "--max_unreadable", text)
    raise type(error)(text) from error


def read_options(arguments: argparse.Namespace) -> dict[str, Any]:
  """The given flags of `add_options` as arguments of `vit_jax.load`.

  And those of `add_data_options` as arguments of `open_trained`.

  Raises:
    ConfigError: naming a flag that is wrong.
  """
  found: dict[str, Any] = {
    "size": parse_size("size", arguments.size),
    "source_size": parse_size("source_size", arguments.source_size),
    "crop": parse_value(arguments.crop) if arguments.crop else None,
    "classes": arguments.classes,
    **{name: getattr(arguments, name, None) for name in (*DATA, "dtype")},
    **{name: getattr(arguments, name) for name in FIELDS},
  }
  return {name: value for name, value in found.items() if value is not None}


def parse_size(name: str, text: str | None) -> tuple[int, int] | None:
  """Parses a flag of H,W or one side; raises ConfigError for others."""
  if text is None:
    return None
  value = parse_value(text)
  size = (value, value) if isinstance(value, int) else value
  fine = isinstance(size, tuple) and [type(x) for x in size] == [int, int]
  if not fine or not all(1 <= x <= MAX_SIDE for x in size):
    raise ConfigError(
      f"--{name}={text} must be H,W in pixels, 1 to {MAX_SIDE:,} each, e.g. "
      f"224,224"
    )
  return size
