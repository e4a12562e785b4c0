# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a data set as ArrayRecord; an interrupted command can be continued.

  python -m vit_jax.prepare cifar10                        any set of TFDS
  python -m vit_jax.prepare imagenet2012 --manual_dir=DIR  the archives, or
  python -m vit_jax.prepare imagenet21k --manual_dir=DIR   folders of classes
  python -m vit_jax.prepare folder:DIR                     a folder a class
  python -m vit_jax.prepare manifest:FILE                  a list: .jsonl, .csv

A line of such a list is {"image": "a.jpg", "labels": ["cat", "sofa"], "split":
"train"}, or a.jpg,cat|sofa,train below image,labels,split; an image may be a
member of an archive, as photos.tar#a.jpg.

The set appears under --data_dir only when it is complete.
"""

import argparse
import sys

from etils import epath

from vit_jax.config import INTERRUPTED, ConfigError
from vit_jax.config.command_line import make_parser, reported
from vit_jax.data import sources, tfds_builders
from vit_jax.prepare.dataset import MAX_UNREADABLE, prepare_dataset


def describe(directory: epath.Path, data_dir: str | None) -> str:
  """Describes a prepared set, and the flags to train on it."""
  name = directory.parent.relative_to(sources.resolve_data_dir(data_dir))
  splits = tfds_builders.open_builder(directory).info.splits
  counts = ", ".join(f"{x.name} {x.num_examples:,}" for x in splits.values())
  size = sum(x.num_bytes for x in splits.values())
  flags = f"--config.data.source=tfds:{name}"
  if data_dir:
    flags += f" --config.data.dir={data_dir}"
  return (
    f"ready: {directory}\n  {counts}; {size:,} bytes\n  use it with: {flags}"
  )


def check_arguments(arguments: argparse.Namespace) -> None:
  """Raises ConfigError for flags that do not apply to the kind of set."""
  kind, _, path = arguments.set.partition(":")
  errors = []
  if kind in ("folder", "manifest") and not path:
    errors.append(f"{arguments.set!r} lacks a path: {kind}:PATH")
  if arguments.name and kind not in ("folder", "manifest"):
    errors.append("--name is only for folder:DIR and manifest:FILE")
  if arguments.root and kind != "manifest":
    errors.append("--root is only for manifest:FILE")
  if arguments.manual_dir and kind in ("folder", "manifest"):
    errors.append("--manual_dir is only for sets with a name, as imagenet2012")
  if not 0 <= arguments.max_unreadable <= 1:
    errors.append(
      f"--max_unreadable={arguments.max_unreadable} is not between 0 and 1"
    )
  if errors:
    raise ConfigError("\n".join(errors))


def main(argv: list[str] | None = None) -> None:
  """Runs the command."""
  parser = make_parser("prepare", __doc__)
  parser.add_argument(
    "set", metavar="SET", help="a name, or folder:DIR, or manifest:FILE"
  )
  parser.add_argument(
    "--data_dir",
    help="where prepared sets are stored (~/tensorflow_datasets)",
  )
  parser.add_argument(
    "--manual_dir", help="where the files that you downloaded are"
  )
  parser.add_argument(
    "--name", help="name of the set made of a folder or an image list"
  )
  parser.add_argument(
    "--root",
    help="directory that the paths of an image list are relative to (its own)",
  )
  parser.add_argument(
    "--no_verify",
    action="store_true",
    help="do not decode every image of ImageNet, a folder or an image list",
  )
  parser.add_argument(
    "--max_unreadable",
    type=float,
    default=MAX_UNREADABLE,
    metavar="SHARE",
    help=f"share of unreadable images to leave out at most ({MAX_UNREADABLE})",
  )
  arguments = parser.parse_args(argv)
  with reported():
    check_arguments(arguments)
    try:
      directory = prepare_dataset(
        arguments.set,
        arguments.data_dir,
        arguments.manual_dir,
        new_name=arguments.name,
        root=arguments.root,
        verify=not arguments.no_verify,
        max_unreadable=arguments.max_unreadable,
      )
    except KeyboardInterrupt:
      print(
        "interrupted: run the same command again to continue", file=sys.stderr
      )
      sys.exit(INTERRUPTED)
    except OSError as error:  # While reading; it names the file.
      raise ConfigError(str(error)) from error
    print(describe(directory, arguments.data_dir))


if __name__ == "__main__":
  main()
