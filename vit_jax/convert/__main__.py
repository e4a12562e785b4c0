# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Converts weights from one format to another.

  python -m vit_jax.convert ViT-B_16.npz b16             to a run of ours
  python -m vit_jax.convert runs/b16 b16.safetensors     to timm
  python -m vit_jax.convert runs/b16 b16.npz             to the authors' format
  python -m vit_jax.convert runs/b16 b16 --to=hugging_face

SRC is a .npz or .safetensors file, a directory with model.safetensors, a run of
ours (of which the last checkpoint is read), or RUN/checkpoints/STEP; of a run
with optim.ema the average is taken, which is what it evaluates. What it is
shows in its arrays; what they leave open is read from the manifest or the
config.json beside it, or said with a flag. DST is a file or, for ours and for
the formats of PyTorch, a directory. Beside a file FILE.json is written, with
what its arrays leave open.
"""

import argparse
import json
import math
import os
import sys
from typing import Any

from etils import epath

from vit_jax.accelerators import start_backend
from vit_jax.command_line import make_parser, parse_value, reported
from vit_jax.config import ConfigError, get
from vit_jax.convert import files
from vit_jax.convert.fields import get_kind
from vit_jax.convert.files import CheckpointError
from vit_jax.convert.formats import FORMATS
from vit_jax.convert.npz import PREFIXES
from vit_jax.convert.weights import OURS, Weights, is_run, load_weights
from vit_jax.convert.writing import check_target, save_weights

# Names of DST -> the format where --to names none; None depends on the model.
SUFFIXES = {".npz": None, ".safetensors": "timm", "": OURS}
NPZ = dict(vit="authors", mixer="mixer", resnet="bit")

MIB = 1 << 20


def choose_format(path: str, asked: str | None) -> str | None:
  """The format to write; None is that of .npz files, as suits the model.

  Raises:
    ConfigError: if neither --to nor the name of the file tells.
  """
  if asked is not None:
    return get({OURS: OURS} | {name: name for name in FORMATS}, asked, "format")
  suffix = epath.Path(path).suffix
  if suffix not in SUFFIXES:
    raise CheckpointError(
      f"{path}: a name in {suffix} does not tell the format: end it in .npz, "
      f"in .safetensors (timm), or without a dot (a directory, {OURS}), or say "
      f"--to=FORMAT, one of {', '.join([OURS, *FORMATS])}"
    )
  return SUFFIXES[suffix]


def follow_links(path: epath.Path) -> epath.Path:
  """The path without symbolic links, which epath keeps."""
  local = "://" not in os.fspath(path)
  return epath.Path(os.path.realpath(path)) if local else path


def check_apart(source: str, target: epath.Path) -> None:
  """Makes sure that nothing which is read would be written over.

  Raises:
    CheckpointError: if it would.
  """
  location = epath.Path(source).expanduser()
  read = [location] if is_run(location) else files.resolve(location)
  writes = follow_links(target)
  for path in map(follow_links, (location, *read)):
    # A run that is written is its whole directory.
    if path == writes or writes in path.parents:
      raise CheckpointError(f"{source} would be written over: name another DST")


def parse_size(text: str | None) -> tuple[int, int] | None:
  """--source_size; raises ConfigError for what is none."""
  if text is None:
    return None
  value = parse_value(text)
  size = (value, value) if isinstance(value, int) else value
  if not isinstance(size, tuple) or [type(x) for x in size] != [int, int]:
    raise ConfigError(f"--source_size={text} must be H,W in pixels, as 224,224")
  return size


def get_assumed(weights: Weights) -> dict[str, tuple[Any, str]]:
  """What arrays left open and logits depend on -> (value, who says so)."""
  origins = weights.origins
  names = ["gelu", "layer_norm_eps"]
  if any("conv" in path for path in weights.params):
    names += ["group_norm_eps", "std_conv_eps", "std_conv_eps_in"]
  names += [name for name in ("num_heads", "position") if name in origins]
  assumed = {
    name: (value, origins.get(name, "the default here"))
    for name, value in weights.all_fields.items()
    if name in (names if weights.form != OURS else origins)
  }
  if "size" in origins:
    assumed["px"] = ("{}x{}".format(*weights.size), origins["size"])
  return assumed


def describe_weights(weights: Weights) -> dict[str, Any]:
  """What was read, for programs."""
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
    "channels": weights.preprocess["channels"],
    "assumed": {
      name: {"value": value, "from": where}
      for name, (value, where) in get_assumed(weights).items()
    },
  }


def format_source(read: dict[str, Any]) -> str:
  """What was read, for people."""
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
  return "\n".join(lines)


def get_bytes(path: epath.Path) -> int:
  """The size of a file, or of all in a directory."""
  if not path.is_dir():
    return path.stat().length
  return sum(get_bytes(child) for child in path.iterdir())


def convert(arguments: argparse.Namespace) -> dict[str, Any]:
  """Reads, writes, and says what it did.

  Raises:
    ConfigError: for what can not be read or written; as much of it as can be
      told before anything is read or written.
  """
  form = choose_format(arguments.dst, arguments.to)
  size = parse_size(arguments.source_size)
  how = dict(
    prefix=arguments.prefix,
    bfloat16=arguments.dtype == "bfloat16",
    overwrite=arguments.overwrite,
  )
  source = epath.Path(arguments.src).expanduser()
  if not source.exists():
    raise CheckpointError(f"{source}: there is no such file or directory")
  check_apart(arguments.src, check_target(arguments.dst, form, **how))
  fields = ("num_heads", "gelu", "layer_norm_eps")
  overrides = {
    name: getattr(arguments, name)
    for name in fields
    if getattr(arguments, name) is not None
  }
  weights = load_weights(
    arguments.src, source_size=size, raw=arguments.raw, **overrides
  )
  read = describe_weights(weights)
  say = sys.stderr if arguments.json else sys.stdout
  print(format_source(read), file=say, flush=True)
  form = form or NPZ[get_kind(weights.variant)]
  written = save_weights(weights, arguments.dst, form, **how)
  sizes = {os.fspath(path): get_bytes(path) for path in written}
  for path, count in sizes.items():
    unit = f"{count / MIB:,.1f} MiB" if count >= MIB else f"{count:,} bytes"
    print(f"written  {path} ({form}, {unit})", file=say)
  files_written = [{"path": p, "bytes": n} for p, n in sizes.items()]
  return {"read": read, "written": {"format": form, "files": files_written}}


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.convert", __doc__)
  parser.add_argument("src", metavar="SRC", help="what to read")
  parser.add_argument("dst", metavar="DST", help="what to write")
  parser.add_argument(
    "--to",
    metavar="FORMAT",
    help=f"{', '.join([OURS, *FORMATS])}; as DST is named: .npz is authors, "
    f"bit or mixer, .safetensors timm, a name without a dot {OURS}",
  )
  parser.add_argument(
    "--source_size", metavar="H,W", help="px that SRC's positions are of"
  )
  parser.add_argument(
    "--num_heads", type=int, metavar="K", help="heads of SRC's attention"
  )
  parser.add_argument(
    "--gelu", choices=("exact", "tanh"), help="that SRC was trained with"
  )
  parser.add_argument(
    "--layer_norm_eps", type=float, metavar="EPS", help="likewise"
  )
  parser.add_argument(
    "--raw",
    action="store_true",
    help="a run's parameters themselves, not their average (optim.ema)",
  )
  parser.add_argument(
    "--prefix",
    default="",
    help=f"before names in a .npz: {', '.join(filter(None, PREFIXES))}",
  )
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="of the arrays in DST",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace DST if it is there"
  )
  parser.add_argument(
    "--json", action="store_true", help="for programs: the last line is JSON"
  )
  arguments = parser.parse_args(argv)
  with reported():
    start_backend()
    done = convert(arguments)
  if arguments.json:
    print(json.dumps(done))


if __name__ == "__main__":
  main()
