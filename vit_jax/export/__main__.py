# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Exports a trained model for other programs, and compares it with ours.

  python -m vit_jax.export runs/b16 --to=onnx --out=served --with_preprocess
  python -m vit_jax.export runs/b16 --to=hugging_face --out=b16-hf

RUN is the directory of a run, or any weights that vit_jax.load reads.

  onnx         model.onnx                      onnxruntime, also in a browser
  stablehlo    model.stablehlo, params.npz     jax.export, without vit_jax
  saved_model  saved_model.pb, variables/      TensorFlow, TF Serving
  hugging_face timm npz                        weights, as of vit_jax.convert

The first three take batches of any size: float32 images as vit_jax.load's
preprocess makes them, or with --with_preprocess uint8 images of the model's
size. They return float32 logits. export.json beside them has the names of the
classes and all that a run's manifest.json has.

Before anything is at --out, what was written is run on real images, in its own
runtime, and compared with our own float32 logits: an error above the tolerance
ends with status 1. Nothing here needs an accelerator. See docs/export.md.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from etils import epath

import vit_jax
from vit_jax.config import ConfigError
from vit_jax.config.command_line import make_parser, reported
from vit_jax.config.weight_options import add_options, read_options
from vit_jax.devices.detection import start_backend
from vit_jax.storage.files import replacing_directory, write_json
from vit_jax.storage.paths import (
  check_directory,
  compute_size,
  expand,
  is_local,
)

RECORD = "export.json"
FORMATS = (
  *("onnx", "stablehlo", "saved_model"),
  *("hugging_face", "timm", "npz"),
)
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
MIB = 1 << 20


def check_out(name: str, overwrite: bool) -> epath.Path:
  """The directory to write.

  Raises:
    ConfigError: if it cannot be made, or holds what must not be lost.
  """
  if not is_local(name):
    raise ConfigError(
      f"--out={name}: the runtimes read from a disk: export there, then copy it"
    )
  path = expand(name)
  check_directory(path, f"--out={name}")
  there = {x.name for x in path.iterdir()} if path.exists() else set()
  if there and not overwrite:
    raise ConfigError(
      f"{name} exists: name another --out, or replace it (--overwrite)"
    )
  if there and RECORD not in there:
    raise ConfigError(
      f"{name} holds something else than an export ({sorted(there)[0]}), which "
      f"is not replaced: name another --out"
    )
  return path


@contextlib.contextmanager
def making(path: epath.Path) -> Iterator[epath.Path]:
  """`replacing_directory`, which explains a disk that takes nothing."""
  try:
    with replacing_directory(path) as directory:
      yield directory
  except OSError as error:
    raise ConfigError(f"{path} was not written: {error}") from error


def parse_platforms(text: str) -> list[str]:
  """Parses --platforms; raises ConfigError for an unknown one."""
  names = [name.strip() for name in text.split(",")]
  unknown = [name for name in names if name not in PLATFORMS]
  if unknown or not names:
    raise ConfigError(
      f"--platforms={text}: {unknown[0]!r} is none of {', '.join(PLATFORMS)}"
    )
  return list(dict.fromkeys(names))


def export(arguments: argparse.Namespace) -> dict[str, Any]:
  """Exports and compares; returns the content of export.json.

  Raises:
    ConfigError: for all that is wrong with the arguments.
    RunError: if the logits differ.
  """
  form, dtype = arguments.to, arguments.dtype
  is_program = form in FORMATS[:3]
  for flag, value in (
    ("with_preprocess", arguments.with_preprocess),
    ("platforms", arguments.platforms),
  ):
    if value and (not is_program or (flag, form) == ("platforms", "onnx")):
      raise ConfigError(f"--{flag} has no meaning with --to={form}")
  platforms = parse_platforms(arguments.platforms or "cpu,cuda,tpu")
  out = check_out(arguments.out, arguments.overwrite)
  options = read_options(arguments)
  options.pop("dtype", None)

  import jax

  jax.config.update("jax_platforms", "cpu")
  start_backend()
  from vit_jax.convert.load import load_as
  from vit_jax.convert.segmentation import describe_left
  from vit_jax.devices.host_memory import returning_memory
  from vit_jax.export import check, formats

  formats.check_installed(form)
  say = sys.stderr if arguments.json else sys.stdout
  clock = time.monotonic()

  def tell(head: str, line: str) -> None:
    print(f"{head:8} {line}", file=say, flush=True)

  weights = load_as(arguments.run, **options)
  tell("read", weights.describe())
  if (left := describe_left(arguments.run)) is not None:
    tell("note", left)
  pixels, which = check.read_images(arguments.images or (), weights.preprocess)
  record: dict[str, Any] = {"format": form, "dtype": dtype}
  # Buffers of the logits would stay beside the weights that are read back.
  with returning_memory(), making(out) as directory:
    wanted = formats.compute_wanted(weights, pixels)
    if is_program:
      function, names = formats.write_program(
        weights,
        form,
        directory,
        with_preprocess=arguments.with_preprocess,
        dtype=dtype,
        platforms=platforms,
      )
      record |= function.describe()
      if form != "onnx":
        record["platforms"] = platforms
      tell("exported", f"in {time.monotonic() - clock:.1f} s; comparing")
      found: Any = formats.compare_program(
        function, form, directory, pixels, wanted, which
      )
    else:
      names = formats.write_weights(
        weights, form, directory, dtype, lambda line: tell("note", line)
      )
      # The other program holds as much: ours are let go before.
      weights = dataclasses.replace(weights, params={})
      found = formats.compare_weights(
        weights, form, directory, dtype, pixels, wanted, which
      )
    record |= {
      "files": names,
      "manifest": weights.manifest,
      "source": arguments.run,
      "versions": {"vit_jax": vit_jax.__version__, "jax": jax.__version__},
      "comparison": None if isinstance(found, str) else vars(found),
    }
    write_json(directory / RECORD, record)
  tell("compared", found if isinstance(found, str) else check.describe(found))
  size = compute_size(out)
  tell("written", f"{arguments.out} ({form} {dtype}, {size / MIB:,.1f} MiB)")
  return record | {"out": os.fspath(out), "bytes": size}


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("export", __doc__)
  parser.add_argument(
    "run", metavar="RUN", help="directory of a run, or weights"
  )
  parser.add_argument(
    "--to", required=True, choices=FORMATS, help="format to write"
  )
  parser.add_argument(
    "--out", required=True, metavar="DIR", help="directory to write"
  )
  parser.add_argument(
    "--with_preprocess",
    action="store_true",
    help="the program takes uint8 images of the model's size",
  )
  parser.add_argument(
    "--dtype",
    choices=("float32", "bfloat16"),
    default="float32",
    help="of the weights, and of what stablehlo and saved_model compute in "
    "(default: float32)",
  )
  parser.add_argument(
    "--platforms",
    metavar="NAMES",
    help="of stablehlo and saved_model, of cpu, cuda, rocm and tpu (default: "
    "cpu,cuda,tpu)",
  )
  parser.add_argument(
    "--images",
    metavar="IMAGE",
    nargs="+",
    help="images and folders to compare logits on (default: scikit-learn's "
    "photographs, or digits for models of one channel)",
  )
  add_options(parser)
  parser.add_argument(
    "--overwrite", action="store_true", help="replace an export at --out"
  )
  parser.add_argument(
    "--json", action="store_true", help="print a last line of JSON"
  )
  arguments = parser.parse_args(argv)
  with reported():
    done = export(arguments)
  if arguments.json:
    print(json.dumps(done))


if __name__ == "__main__":
  main()
