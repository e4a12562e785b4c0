# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Converts weights from one format to another.

  python -m vit_jax.convert ViT-B_16.npz b16           to a run
  python -m vit_jax.convert runs/b16 b16.safetensors   to timm
  python -m vit_jax.convert runs/b16 b16.npz           to the authors' format
  python -m vit_jax.convert runs/b16 b16 --to=hugging_face

SRC is a .npz or .safetensors file, a directory with model.safetensors or with
several files and their index, a run (its last checkpoint), or
RUN/checkpoints/STEP. Of a run with optim.ema the averaged parameters are read,
as in its evaluation. The model is inferred from the names and shapes of the
arrays; what they do not determine comes from a flag or from the manifest or
config.json beside SRC. DST is a file or, for runs and PyTorch formats, a
directory. Beside a file, FILE.json records the rest.
"""

import argparse
import json
import math
import os
import re
import sys
from typing import Any

from etils import epath

from vit_jax.config import get
from vit_jax.config.command_line import make_parser, reported
from vit_jax.config.weight_options import add_fields, parse_size
from vit_jax.convert import files
from vit_jax.convert.fields import get_kind
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import FORMATS
from vit_jax.convert.infer import ASSUMED
from vit_jax.convert.npz import PREFIXES
from vit_jax.convert.published import describe_download
from vit_jax.convert.segmentation import describe_left
from vit_jax.convert.storing import SHARDS
from vit_jax.convert.timm import STEM
from vit_jax.convert.weights import OURS, Weights, is_run, load_weights
from vit_jax.convert.writing import NPZ, check_target, save_weights
from vit_jax.devices.detection import start_backend
from vit_jax.storage.paths import is_local, locate

# Suffix of DST -> the format without --to; None depends on the model.
SUFFIXES = {".npz": None, ".safetensors": "timm", "": OURS}

MIB = 1 << 20


def choose_format(path: str, asked: str | None) -> str | None:
  """Chooses the format to write; None is the .npz format of the model.

  Args:
    path: DST.
    asked: --to, or None.

  Raises:
    ConfigError: if neither determines the format.
  """
  if asked is not None:
    return get({OURS: OURS} | {name: name for name in FORMATS}, asked, "format")
  suffix = locate(path).suffix
  if suffix not in SUFFIXES:
    raise CheckpointError(
      f"{path}: suffix {suffix} does not determine the format; use .npz, "
      f".safetensors (timm) or none (a directory, {OURS}), or --to=FORMAT, one "
      f"of {', '.join([OURS, *FORMATS])}"
    )
  return SUFFIXES[suffix]


def parse_bytes(text: str | None) -> int | None:
  """Parses --shard_size, as 5GB; raises ConfigError for anything else."""
  if text is None:
    return None
  found = re.fullmatch(r"(\d{1,18})([KMGT]?)B?", text.strip(), re.IGNORECASE)
  if not found or not int(found[1]):
    raise CheckpointError(
      f"--shard_size={text} must be a number of bytes, as 5GB, 500MB or 1000000"
    )
  return int(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ")


def follow_links(path: epath.Path) -> epath.Path:
  """Resolves symbolic links, which epath keeps."""
  return epath.Path(os.path.realpath(path)) if is_local(path) else path


def check_apart(source: str, target: epath.Path) -> None:
  """Raises CheckpointError if writing `target` would overwrite the source."""
  location = locate(source)
  read = [location] if is_run(location) else files.resolve(location)
  writes = follow_links(target)
  for path in map(follow_links, (location, *read)):
    # A run is written to a whole directory, and what a directory of PyTorch
    # gets replaces several files too.
    several = writes.name == files.WHOLE and SHARDS.fullmatch(path.name)
    replaced = several and path.parent == writes.parent
    if path == writes or writes in path.parents or replaced:
      raise CheckpointError(f"{source} would be overwritten; name another DST")


def collect_assumed(weights: Weights) -> dict[str, tuple[Any, str]]:
  """Collects settings that arrays do not determine: name -> (value, origin)."""
  origins = weights.origins
  names = {*ASSUMED, "num_heads", "position"}
  if weights.all_fields.get("stem", ()) is None:
    names -= set(STEM)
  if weights.form == OURS:
    names |= origins.keys()
  assumed = {
    name: (value, origins[name])
    for name, value in weights.all_fields.items()
    if name in names and name in origins
  }
  if "size" in origins:
    assumed["px"] = ("{}x{}".format(*weights.size), origins["size"])
  return assumed


def describe_weights(weights: Weights) -> dict[str, Any]:
  """Describes the weights that were read, for --json."""
  height, width = weights.size
  return {
    "path": weights.source,
    "format": weights.form,
    "model": weights.variant,
    "fields": weights.all_fields,
    "parameters": sum(math.prod(x.shape) for x in weights.params.values()),
    "num_classes": weights.num_classes,
    "height": height,
    "width": width,
    "channels": weights.preprocess.channels,
    "prefix": weights.describe_prefix(),
    "assumed": {
      name: {"value": value, "from": where}
      for name, (value, where) in collect_assumed(weights).items()
    },
  }


def format_source(read: dict[str, Any]) -> str:
  """Formats the description of `describe_weights` as text."""
  classes = read["num_classes"]
  lines = [
    f"read     {read['path']}",
    f"         {read['format']}: {read['model']}, {read['parameters']:,} "
    f"parameters, {f'{classes:,} classes' if classes else 'no head'}, "
    f"{read['height']}x{read['width']} px",
  ]
  lines += [
    f"         {name}={entry['value']} ({entry['from']})"
    for name, entry in read["assumed"].items()
  ]
  if read["prefix"]:
    lines.append(f"         {read['prefix']}")
  return "\n".join(lines)


def count_bytes(path: epath.Path) -> int:
  """Bytes of a file, or of all files in a directory."""
  if not path.is_dir():
    return path.stat().length
  return sum(count_bytes(child) for child in path.iterdir())


def convert(arguments: argparse.Namespace) -> dict[str, Any]:
  """Converts SRC to DST; returns what was read and written, for --json.

  Raises:
    ConfigError: if SRC cannot be read or DST cannot be written; before reading
      or writing anything where possible.
  """
  form = choose_format(arguments.dst, arguments.to)
  size = parse_size("source_size", arguments.source_size)
  how = dict(
    prefix=arguments.prefix,
    bfloat16=arguments.dtype == "bfloat16",
    overwrite=arguments.overwrite,
    shard_size=parse_bytes(arguments.shard_size),
  )
  source = locate(arguments.src)
  if not source.exists():
    raise CheckpointError(
      f"{source} does not exist: give the path of a run, or of weights"
      f"{describe_download(arguments.src)}"
    )
  check_apart(arguments.src, check_target(arguments.dst, form, **how))
  overrides = {
    name: getattr(arguments, name)
    for name in ("num_heads", *ASSUMED)
    if getattr(arguments, name) is not None
  }
  weights = load_weights(
    arguments.src, source_size=size, raw=arguments.raw, **overrides
  )
  read = describe_weights(weights)
  say = sys.stderr if arguments.json else sys.stdout
  print(format_source(read), file=say, flush=True)
  if (left := describe_left(arguments.src)) is not None:
    print(f"note     {left}", file=say, flush=True)
  form = form or NPZ[get_kind(weights.variant)]
  written = save_weights(
    weights,
    arguments.dst,
    form,
    **how,
    say=lambda line: print(f"note     {line}", file=say),
  )
  sizes = {os.fspath(path): count_bytes(path) for path in written}
  for path, count in sizes.items():
    unit = f"{count / MIB:,.1f} MiB" if count >= MIB else f"{count:,} bytes"
    print(f"written  {path} ({form}, {unit})", file=say)
  files_written = [{"path": p, "bytes": n} for p, n in sizes.items()]
  return {"read": read, "written": {"format": form, "files": files_written}}


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("convert", __doc__)
  parser.add_argument("src", metavar="SRC", help="weights to read")
  parser.add_argument("dst", metavar="DST", help="file or directory to write")
  parser.add_argument(
    "--to",
    metavar="FORMAT",
    help=f"{', '.join([OURS, *FORMATS])} (default, by DST: .npz is authors, "
    f"bit or mixer, .safetensors is timm, a name without a dot is {OURS})",
  )
  parser.add_argument(
    "--source_size", metavar="H,W", help="image size that SRC was trained at"
  )
  parser.add_argument(
    "--num_heads", type=int, metavar="K", help="attention heads of SRC"
  )
  add_fields(parser, "of SRC")
  parser.add_argument(
    "--raw",
    action="store_true",
    help="read a run's parameters, not their average (optim.ema)",
  )
  parser.add_argument(
    "--prefix",
    default="",
    help=f"prefix of names in a .npz: {', '.join(filter(None, PREFIXES))}",
  )
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="type of the arrays in DST (default: float32)",
  )
  parser.add_argument(
    "--shard_size",
    metavar="SIZE",
    help="of a directory of hugging_face: the largest bytes of arrays in one "
    "file, as 5GB or 500MB; more are written to several, with an index "
    "(default: 50GB)",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace DST if it exists"
  )
  parser.add_argument(
    "--json", action="store_true", help="print a last line of JSON"
  )
  arguments = parser.parse_args(argv)
  with reported():
    start_backend()
    done = convert(arguments)
  if arguments.json:
    print(json.dumps(done))


if __name__ == "__main__":
  main()
