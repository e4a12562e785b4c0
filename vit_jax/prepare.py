# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a data set as ArrayRecord: python -m vit_jax.prepare NAME

NAME is one of ours (digits, imagenet21k) or any set of TFDS (cifar10,
oxford_iiit_pet, ...). TFDS downloads what it may; what it may not is expected
in --manual_dir. The set appears under --data_dir only when it is complete.
"""

from vit_jax.command_line import make_parser, reported
from vit_jax.config import ConfigError


def prepare(name: str, data_dir: str | None, manual_dir: str | None) -> str:
  """Prepares one set and returns its directory.

  Raises:
    ConfigError: if nobody knows the set, or a package that its builder needs
      is missing.
  """
  import tensorflow_datasets as tfds

  from vit_jax.data import sources

  ready = sources.find_directory(name, data_dir)
  if ready is not None:
    return str(ready)
  download = tfds.download.DownloadConfig(manual_dir=manual_dir)
  try:
    builder = sources.get_builder(name, data_dir)
    builder.download_and_prepare(download_config=download)
  except ImportError as error:
    raise ConfigError(
      f"the builder of {name} needs a package that is not installed: {error}\n"
      f"  TFDS's own builders may need TensorFlow, to prepare a set only: "
      f"pip install 'vit_jax[tf]'"
    ) from error
  except ConfigError:
    raise
  except (AssertionError, ValueError, OSError) as error:
    # How TFDS says that manual files are missing, among other things.
    raise ConfigError(f"{name} can not be prepared: {error}") from error
  return str(builder.data_dir)


def main(argv: list[str] | None = None) -> None:
  """The command line."""
  parser = make_parser("vit_jax.prepare", __doc__)
  parser.add_argument("name", help="digits, imagenet21k, or any set of TFDS")
  parser.add_argument(
    "--data_dir", help="where prepared sets lie (~/tensorflow_datasets)"
  )
  parser.add_argument("--manual_dir", help="where files you downloaded lie")
  arguments = parser.parse_args(argv)
  with reported():
    ready = prepare(arguments.name, arguments.data_dir, arguments.manual_dir)
  print(f"ready: {ready}")


if __name__ == "__main__":
  main()
