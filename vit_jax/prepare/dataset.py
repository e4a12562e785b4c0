# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Prepares a data set of any kind: of TFDS, ImageNet, a folder, an image list.

TFDS writes its own sets; `writing` writes all others.
"""

import contextlib
import io
import logging
import os
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable

import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.data import folder, sources
from vit_jax.data.catalogue import get_instructions
from vit_jax.data.held_out import list_held_out
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import image_list, imagenet, listing, writing
from vit_jax.storage.paths import check_directory, check_text, expand, locate

MAX_UNREADABLE = 0.001
ARCHIVES = ("imagenet2012", "imagenet21k")  # Sets that are read from those.

SECONDS_TO_CONNECT = 10


def prepare_dataset(
  name: str,
  data_dir: str | None = None,
  manual_dir: str | None = None,
  *,
  new_name: str | None = None,
  root: str | None = None,
  verify: bool = True,
  max_unreadable: float = MAX_UNREADABLE,
  progress: Progress | None = None,
) -> epath.Path:
  """Prepares one set and returns its directory.

  Args:
    name: name of a set, or folder:DIR, or manifest:FILE.
    data_dir: where prepared sets are stored.
    manual_dir: where manually downloaded files are.
    new_name: name of the set made of a folder or an image list.
    root: directory that the paths of an image list are relative to.
    verify: whether to decode every image once.
    max_unreadable: largest share of images that may be left out.
    progress: where progress is shown.

  Raises:
    ConfigError: if there is no such set, its files are missing or wrong, or a
      package that its builder needs is not installed.
  """
  progress = progress or Progress()
  kind, _, path = name.partition(":")
  if kind in ("folder", "manifest", *ARCHIVES):
    writing.check_on_disk(data_dir)
  if data_dir is not None:
    check_directory(locate(data_dir), f"--data_dir={data_dir}")
    check_text(expand(data_dir), f"--data_dir={data_dir}")
  if kind in ("folder", "manifest") and path:
    path = os.fspath(locate(path))
    set_name = new_name or make_name(path)
    if not re.fullmatch(r"[a-z]\w{0,99}", set_name, re.ASCII):
      raise DataError(
        f"invalid name of a set: {set_name!r}: use up to 100 lower-case "
        f"letters, digits and _, as in --name=photos"
      )
    if kind == "folder":
      source = load_folder(path, set_name, progress)
    else:
      source = image_list.load_image_list(path, set_name, root, progress)
  else:
    if not re.match(r"[A-Za-z]", name):
      raise DataError(
        f"{name!r} is no name of a set: write one as cifar10, or folder:DIR, "
        f"or manifest:FILE"
      )
    ready = sources.find_directory(name, data_dir)
    if ready is not None:
      return ready
    load = {
      "imagenet2012": imagenet.load_imagenet2012,
      "imagenet21k": imagenet.load_imagenet21k,
    }.get(name)
    if manual_dir is not None:
      manual_dir = os.fspath(locate(manual_dir))
    if load is None:
      return prepare_with_tfds(name, data_dir, manual_dir)
    if manual_dir is None:
      raise DataError(
        f"{name} cannot be downloaded without an account: "
        f"{get_instructions(name)}"
      )
    source = load(manual_dir, progress)
  return writing.write(
    source,
    data_dir,
    verify=verify,
    max_unreadable=max_unreadable,
    progress=progress,
  )


def make_name(path: str) -> str:
  """Makes the name of a set from that of its folder or image list."""
  stem = pathlib.Path(path).absolute().stem.lower()
  return re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_")


def load_folder(path: str, name: str, progress: Progress) -> listing.Source:
  """Lists a folder of classes, by the rules of data.source=folder:DIR."""
  found = folder.load_folder(path)
  root = os.fspath(folder.parse_name(path)[0])
  progress.say(found.describe())
  return listing.Source(
    name,
    f"images of the folder {pathlib.Path(path).absolute().name}",
    found.info.class_names,
    1,
    {
      split: listing.Files(root, examples.items)
      for split, examples in found.splits.items()
    },
    found.bad,
    list(list_held_out(found.info)),
  )


def prepare_with_tfds(
  name: str, data_dir: str | None, manual_dir: str | None
) -> epath.Path:
  """Lets TFDS download and write a set.

  Raises:
    ConfigError: as `prepare_dataset`.
  """
  logging.getLogger("urllib3").setLevel(logging.ERROR)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  download = tfds.download.DownloadConfig(
    manual_dir=manual_dir, try_download_gcs=False
  )
  try:
    builder = sources.make_builder(name, data_dir)
    check_network(name, builder.url_infos, sources.resolve_data_dir(data_dir))
    with contextlib.redirect_stdout(io.StringIO()):  # It repeats our output.
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
    # TFDS raises these for missing manual files, among other things.
    raise ConfigError(f"{name} cannot be prepared: {error}") from error
  return epath.Path(builder.data_dir)


def check_network(
  name: str, urls: Iterable[str] | None, data_dir: epath.Path
) -> None:
  """Tries each host of a set once, where TFDS would retry for minutes.

  Args:
    name: name of the set.
    urls: URLs of its files, if TFDS knows them.
    data_dir: where earlier downloads would be.

  Raises:
    ConfigError: if no host answers, and nothing was downloaded before.
  """
  downloads = data_dir / "downloads" / name.partition("/")[0]
  if any(downloads.glob("*.INFO")):  # TFDS writes one for each complete file.
    return
  hosts = {urllib.parse.urlsplit(url)[:2] for url in urls or ()}
  fault = None
  for scheme, host in sorted(hosts):
    if not scheme.startswith("http"):
      return
    request = urllib.request.Request(f"{scheme}://{host}/", method="HEAD")
    try:
      urllib.request.urlopen(request, timeout=SECONDS_TO_CONNECT).close()
      return
    except urllib.error.HTTPError:
      return  # It answers.
    except OSError as error:
      fault = f"cannot reach {host}: {getattr(error, 'reason', error)}"
  if fault:
    raise ConfigError(
      f"{name} cannot be downloaded: {fault}\n"
      f"  without a network, prepare it on a machine that has one, and copy "
      f"its directory to {data_dir}"
    )
