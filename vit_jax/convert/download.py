# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Downloading a published weight file."""

import hashlib
import http.client
import os
import urllib.parse
import urllib.request
from collections.abc import Callable

from etils import epath

from vit_jax.config import ConfigError, get
from vit_jax.convert.published import FILES
from vit_jax.storage.paths import check_directory, is_local, locate

CHUNK = 1 << 20  # Bytes read at a time.
TIMEOUT = 60  # Seconds without a byte.


def download(
  name: str,
  directory: str | os.PathLike,
  say: Callable[[str], None] = print,
  progress: Callable[[int, int | None], None] = lambda done, size: None,
) -> epath.Path:
  """Downloads a file; leaves nothing behind if it fails.

  Args:
    name: key of FILES.
    directory: local directory, made if missing.
    say: called with the url and, in the end, size and SHA-256, for the user to
      compare; the expected digest is not known here.
    progress: called with the number of bytes received, and the total or None.

  Returns:
    Path of the file.

  Raises:
    ConfigError: for an unknown name, an existing file, or an incomplete
      download.
  """
  row = get(FILES, name, "published file")
  scheme = urllib.parse.urlsplit(row.url).scheme
  if scheme not in ("https", "http", "file"):
    raise ConfigError(f"{row.url} must begin with https:// or http://")
  if not is_local(directory):
    raise ConfigError(
      f"{directory} is not local; download to a local directory, then copy"
    )
  path = locate(directory) / row.filename
  check_directory(path.parent, f"--to={os.fspath(directory)}")
  if path.exists():
    raise ConfigError(f"{path} exists; remove it to download it again")
  say(f"fetching {row.url}")
  part = path.with_name(f".{path.name}.{os.getpid()}.part")
  digest, done = hashlib.sha256(), 0
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
      urllib.request.urlopen(row.url, timeout=TIMEOUT) as response,
      part.open("wb") as file,
    ):
      if urllib.parse.urlsplit(response.url).scheme != scheme:
        raise OSError(f"redirected to {response.url}")
      size = response.headers.get("Content-Length")
      size = int(size) if size else None
      while chunk := response.read(CHUNK):
        file.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        progress(done, size)
    if size is not None and done != size:
      raise OSError(f"received {done:,} of {size:,} bytes")
    part.replace(path)
  except (OSError, ValueError, http.client.HTTPException) as error:
    raise ConfigError(
      f"{row.url} cannot be fetched: {error}\n  try again, or copy the file "
      f"from a machine that can fetch it to {path}"
    ) from error
  finally:
    if part.exists():
      part.unlink()
  say(f"{path}: {done:,} bytes, sha256 {digest.hexdigest()}")
  return path
