# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Lists models or published checkpoints, or downloads a checkpoint.

  python -m vit_jax.models                      all models
  python -m vit_jax.models B/16 R50x1           the named models
  python -m vit_jax.models --checkpoints        all published checkpoints
  python -m vit_jax.models --checkpoints B/16   those of the named models
  python -m vit_jax.models --checkpoints --download=augreg-b16-i21k --to=DIR

For models it lists the number of parameters with 1,000 classes, GFLOPs of the
forward pass of one 224 px image (a multiply-add counts two), and tokens of the
encoder (including the class token). For checkpoints, px is the side of the
images that each was trained on last. Only --download uses the network.
"""

import dataclasses
import json
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp

from vit_jax import models
from vit_jax.config import INTERRUPTED, ConfigError, nearest, raise_all
from vit_jax.config.command_line import make_parser, reported
from vit_jax.convert.download import download
from vit_jax.convert.published import FILES, PublishedFile
from vit_jax.devices.detection import start_backend
from vit_jax.models.flops import count_flops

SIZE, CLASSES = 224, 1000

HEADER = f"{'model':12}{'parameters':>16}{'GFLOPs':>10}{'tokens':>8}"
MIB = 1 << 20


def make(name: str) -> Any:
  """Makes a model to describe.

  Raises:
    ConfigError: for an unknown name, or a patch size that does not divide 224.
  """
  model = models.make_model(CLASSES, variant=name)
  if model.find_errors(SIZE, SIZE):
    raise ConfigError(
      f"{name}: its patches do not divide the {SIZE} px at which models are "
      f"listed: take a patch size that does, as 14, 16 or 32"
    )
  return model


def describe(name: str) -> dict[str, Any]:
  """Describes a model, from shapes alone.

  Raises:
    ConfigError: as `make`.
  """
  model = make(name)
  image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  leaves = jax.tree.leaves(variables)
  tokens = None
  if isinstance(model, models.ViT):
    embed = jax.eval_shape(
      lambda v, x: model.apply(v, x, method="embed"), variables, image
    )
    tokens = embed.shape[1]
  elif isinstance(model, models.MlpMixer):
    tokens = (SIZE // model.patch_size) ** 2
  return {
    "name": name,
    "parameters": sum(math.prod(leaf.shape) for leaf in leaves),
    "gflops": round(count_flops(model.apply, variables, image) / 1e9, 2),
    "tokens": tokens,
  }


def format_row(row: dict[str, Any]) -> str:
  """Formats a model as a line of the table below HEADER."""
  tokens = "-" if row["tokens"] is None else row["tokens"]
  return (
    f"{row['name']:12}{row['parameters']:>16,}{row['gflops']:>10,.1f}"
    f"{tokens:>8}"
  )


def find_checkpoints(variants: list[str]) -> list[PublishedFile]:
  """Finds the published checkpoints of some models; of all if none is named.

  Raises:
    ConfigError: for a model that has none; names the nearest that has one.
  """
  rows = list(FILES.values())
  known = {row.variant for row in rows}
  raise_all(
    [
      f"no published checkpoint of {variant!r}; {nearest(variant, known)}"
      for variant in variants
      if variant not in known
    ]
  )
  return [row for row in rows if row.variant in (variants or known)]


def format_checkpoints(rows: list[PublishedFile]) -> str:
  """Formats checkpoints as a table, grouped by source."""
  columns = ("name", "format", "variant", "resolution", "classes", "trained_on")
  titles = ("name", "format", "model", "px", "classes", "trained on")
  cells = [titles]
  for row in rows:
    classes = "-" if row.classes is None else f"{row.classes:,}"
    values = dataclasses.asdict(row) | {"classes": classes}
    cells.append([str(values[column]) for column in columns])
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  signs = "<<<>><"  # Numbers are aligned to the right.
  titles, *lines = (
    "  ".join(map("{:{}{}}".format, line, signs, widths)).rstrip()
    for line in cells
  )
  groups: dict[str, list[str]] = {}
  for row, line in zip(rows, lines, strict=True):
    groups.setdefault(row.source, []).append(line)
  parts = ("\n".join([source, *group]) for source, group in groups.items())
  return "\n\n".join([titles, *parts])


def fetch(name: str, directory: str) -> None:
  """Downloads a checkpoint, showing progress if standard error is a terminal.

  Raises:
    ConfigError: as `download`.
  """

  def show(line):
    if sys.stderr.isatty():
      print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)

  def say(text):
    show("")
    print(text, flush=True)

  def progress(done, size):
    share = f" of {size / MIB:,.1f} MiB, {done / size:.0%}" if size else " MiB"
    show(f"{done / MIB:,.1f}{share}")

  try:
    download(name, directory, say, progress)
  except KeyboardInterrupt:
    show("")
    print("interrupted: the partial file is removed", file=sys.stderr)
    sys.exit(INTERRUPTED)
  finally:
    show("")  # Clears the line for what is printed next.


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("models", __doc__)
  parser.add_argument(
    "names",
    nargs="*",
    metavar="NAME",
    help="models to list, e.g. B/16 (default: all)",
  )
  parser.add_argument(
    "--checkpoints", action="store_true", help="list published checkpoints"
  )
  parser.add_argument(
    "--download", metavar="NAME", help="download this checkpoint"
  )
  parser.add_argument(
    "--to", metavar="DIR", help="directory for --download (default: .)"
  )
  parser.add_argument(
    "--json",
    action="store_true",
    help="print JSON, with the url of each checkpoint",
  )
  arguments = parser.parse_args(argv)
  with reported():
    if arguments.download is not None:
      if arguments.names or arguments.json:
        raise ConfigError("--download goes with --checkpoints and --to only")
      fetch(arguments.download, arguments.to or ".")
      return
    if arguments.to:
      raise ConfigError("--to=DIR needs --download=NAME")
    if arguments.checkpoints:
      found = find_checkpoints(arguments.names)
      rows = [dataclasses.asdict(row) for row in found]
      print(json.dumps(rows) if arguments.json else format_checkpoints(found))
      return
    start_backend()
    names = arguments.names or models.NAMES
    for name in names:
      make(name)  # An error comes before the first line.
    rows = map(describe, names)  # All of them take half a minute.
    if arguments.json:
      print(json.dumps(list(rows)))
      return
    print(HEADER)
    for row in rows:
      print(format_row(row), flush=True)


if __name__ == "__main__":
  main()
