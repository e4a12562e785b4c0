# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Paths on disks and object stores, and settings of the stores' clients."""

import contextlib
import functools
import itertools
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator

import fsspec.config
import fsspec.core
from etils import epath

from vit_jax.config.errors import ConfigError, counted, quote, shorten

log = logging.getLogger(__name__)

# For the first answer of a store, until it is said, and until it is given up.
# Before it, a verb imports for a few seconds: in all it is said within ten.
SAY_SECONDS, GIVE_UP_SECONDS = 3.0, 120.0
MAX_NAME, MAX_PATH = 255, 4095  # Of Linux, in bytes.

# The client of Cloud Storage would cache the listing of a directory, and miss
# what other hosts, and Orbax, write there.
fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
# It also logs, with a traceback, every error that it raises.
logging.getLogger("gcsfs").setLevel(logging.CRITICAL)


def is_local(path: os.PathLike | str) -> bool:
  """Returns whether a path is on a disk: files can grow and be renamed."""
  return "://" not in os.fspath(path)


def locate(path: os.PathLike | str) -> epath.Path:
  """Returns the path that a user gave, with ~ expanded.

  The first path in a bucket waits until its store answers.

  Raises:
    ConfigError: for an address that is not read, the ~ of an unknown user, a
      name that no disk can hold, and a store that does not answer; with what to
      do.
  """
  text = os.fspath(path)
  shown = shorten(text)
  if not is_local(text):
    scheme = text.partition("://")[0]
    if scheme == "file":
      raise ConfigError(f"{shown}: give the path on the disk, without file://")
    if scheme != "gs":
      raise ConfigError(
        f"{shown}: addresses of {shorten(scheme)}:// are not read: download it "
        f"first, to a disk or to gs://, and give that path"
      )
    if not text.split("/")[2]:
      raise ConfigError(f"{shown} names no bucket: give gs://BUCKET/DIR")
    check_answers("/".join(text.split("/")[:3]))
    return epath.Path(path)
  # As pathlib has it, which makes one slash of two.
  if found := re.match(r"(gs|s3|hf|file|https?):/", text):
    raise ConfigError(
      f"{shown}: an address begins with {found[0]}/; a directory of that name "
      f"is ./{shown}"
    )
  longest = max(map(len, text.encode(errors="surrogateescape").split(b"/")))
  if longest > MAX_NAME or len(text) > MAX_PATH:
    raise ConfigError(
      f"{shown}: a name on a disk has at most {MAX_NAME} bytes, a path "
      f"{MAX_PATH}"
    )
  if "\0" in text:
    raise ConfigError(f"{quote(text)}: no path has a null character")
  if not text.startswith("~"):
    return epath.Path(path)
  user, _, rest = text.partition("/")
  home = os.path.expanduser(user)  # epath would keep ~unknown as a name.
  if home == user:
    raise ConfigError(
      f"{shown}: there is no user {user[1:]!r}, whose home {user} would be; a "
      f"directory of that name is ./{shown}"
    )
  return epath.Path(home) / rest


@functools.cache
def check_answers(bucket: str) -> None:
  """Asks a store for a bucket; its clients would wait for many minutes.

  Any answer will do, an error too, which is explained where it matters.

  Args:
    bucket: as gs://NAME; asked for once a process.

  Raises:
    ConfigError: if there is no answer after GIVE_UP_SECONDS.
  """

  def run() -> None:
    with contextlib.suppress(Exception):
      ask(bucket)

  # A daemon: what never answers must not keep this process from its end.
  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  thread.join(SAY_SECONDS)
  if thread.is_alive():
    log.warning(
      "%s does not answer yet: waiting for up to %g s", bucket, GIVE_UP_SECONDS
    )
    thread.join(GIVE_UP_SECONDS - SAY_SECONDS)
  if thread.is_alive():
    raise ConfigError(
      f"{bucket} has not answered for {GIVE_UP_SECONDS:g} s: look whether the "
      f"network and the bucket are there"
    )


def ask(bucket: str) -> None:
  """Sends a request to a store and waits for its answer."""
  (epath.Path(bucket) / "any").exists()


def check_directory(path: epath.Path, given: str) -> None:
  """Checks that a directory is there or can be made, before it is needed.

  What is made is removed again, and a store is not asked.

  Args:
    path: from `locate`.
    given: how the user gave it, as --workdir=DIR; begins the message.

  Raises:
    ConfigError: naming what is in its way.
  """
  if not is_local(path):
    return
  there = os.path.abspath(path)
  while not os.path.lexists(there):
    there = os.path.dirname(there)
  if not os.path.isdir(there):
    raise ConfigError(
      f"{shorten(given)}: {shorten(there)} is not a directory: give the path "
      f"of one, or of a new one"
    )
  try:  # Permissions say less: root has all, in /proc too.
    os.rmdir(tempfile.mkdtemp(prefix=".vit_jax_", dir=there))
  except OSError as error:
    raise ConfigError(
      f"{shorten(given)}: nothing can be written to {shorten(there)} "
      f"({error.strerror}): give another directory"
    ) from error


def refuse_existing(paths: Iterable[epath.Path], overwrite: bool) -> None:
  """Raises ConfigError for files at --out, unless they may be replaced."""
  there = [] if overwrite else [path for path in paths if path.exists()]
  if there:
    raise ConfigError(
      f"{there[0]} exists: name another --out, or replace it (--overwrite)"
    )


@contextlib.contextmanager
def written(out: os.PathLike | str | None) -> Iterator[None]:
  """Turns errors of what is written to --out into a ConfigError."""
  try:
    yield
  except OSError as error:
    raise ConfigError(f"--out={out} cannot be written: {error}") from error


def check_text(path: epath.Path, given: str) -> None:
  """Checks that a path is text: neither Orbax nor ArrayRecord takes others.

  Args:
    path: absolute, from `expand`.
    given: how the user gave it, as --workdir=DIR; begins the message.

  Raises:
    ConfigError: if its bytes are not UTF-8.
  """
  try:
    os.fspath(path).encode()
  except UnicodeEncodeError as error:
    shown = given.encode(errors="surrogateescape")
    raise ConfigError(
      f"{shown.decode(errors='backslashreplace')}: nothing can be saved below "
      f"a path that is not UTF-8: choose another name"
    ) from error


def describe_runs(directory: epath.Path) -> str | None:
  """Says which runs are below a directory that is none; None if none are.

  Those of a study are up to three directories deep.
  """
  level = [directory] if directory.is_dir() else []
  for _ in range(3):
    inside = (x for outer in level for x in outer.iterdir() if x.is_dir())
    level = sorted(itertools.islice(inside, 1000))
    runs = [x for x in level if (x / "checkpoints").is_dir()]
    if runs:
      count = counted(len(runs), "run")
      return f"holds {count}, and is none itself: give one, as {runs[0]}"
  return None


def expand(path: os.PathLike | str) -> epath.Path:
  """Returns the absolute path of `locate`; store paths as they are."""
  path = locate(path)
  return path.resolve() if is_local(path) else path


def compute_size(directory: os.PathLike | str) -> int:
  """Sums the bytes of all files below a directory; links are not followed."""
  files, place = fsspec.core.url_to_fs(os.fspath(directory))
  return files.du(place)
