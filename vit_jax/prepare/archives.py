# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reads members of tar files one at a time, in place; nothing is unpacked.

So no name in a tar becomes a path, and its links and devices are ignored.
"""

import os
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from vit_jax.data.info import DataError
from vit_jax.data.transforms import MAX_BYTES

MAX_HEADERS = 1 << 20  # Bytes per member; most have 512, long names 2 KB.


class _Headers:
  """A file from which at most MAX_HEADERS bytes are read per member.

  A header may announce a name of any length.
  """

  def __init__(self, file: BinaryIO):
    self.seek, self.tell = file.seek, file.tell
    self._file, self.left = file, MAX_HEADERS

  def read(self, size: int) -> bytes:
    self.left -= size
    if self.left < 0:
      raise tarfile.ReadError(f"a header exceeds {MAX_HEADERS:,} bytes")
    return self._file.read(size)


def iterate(
  file: BinaryIO, stop: int | None = None
) -> Iterator[tarfile.TarInfo]:
  """Yields the members of the tar that begins at the file's position.

  Args:
    file: a file on a disk. Offsets of members count from its beginning.
    stop: where the tar ends; None is the end of the file.

  Raises:
    TarError: if it is not a tar, or a member is cut off or stored sparsely.
  """
  headers = _Headers(file)
  stop = os.fstat(file.fileno()).st_size if stop is None else stop
  try:
    tar = tarfile.open(fileobj=headers, mode="r:")
    while (member := tar.next()) is not None:
      if member.issparse():
        raise tarfile.ReadError(
          f"{member.name} is a sparse file: pack it without --sparse"
        )
      if member.size < 0:  # The loop would never end.
        raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
      if member.isreg() and member.offset_data + member.size > stop:
        raise tarfile.ReadError(f"the tar ends within {member.name}")
      yield member
      tar.members.clear()  # tarfile would keep all of them.
      headers.left = MAX_HEADERS
  except (tarfile.TarError, OSError):
    raise
  except Exception as error:  # Untrusted bytes can cause any.
    raise tarfile.ReadError(f"a header is damaged: {error!r}") from error


def _open_member(file: BinaryIO, offset: int) -> tarfile.TarInfo:
  """Reads the header at `offset`, and moves the file to the member's bytes.

  Raises:
    DataError: if there is no header.
  """
  file.seek(offset)
  try:
    member = next(iterate(file))
  except (tarfile.TarError, StopIteration) as error:
    raise DataError(
      f"{file.name} changed while it was read: {error}"
    ) from error
  file.seek(member.offset_data)
  return member


def read_member_name(path: str, offset: int) -> str:
  """Reads the name of the member whose header is at `offset`.

  Raises:
    DataError: if there is no header.
  """
  with open(path, "rb") as file:
    return _open_member(file, offset).name


def read_member(path: str, offset: int) -> tuple[str, bytes]:
  """Reads the name and the bytes of the member whose header is at `offset`.

  Raises:
    DataError: if there is no header, or the member is cut off.
    ValueError: if the member is larger than an image may be.
  """
  with open(path, "rb") as file:
    member = _open_member(file, offset)
    if member.size > MAX_BYTES:
      raise ValueError(
        f"{member.size:,} bytes exceed the limit of an image, {MAX_BYTES:,}"
      )
    data = file.read(member.size)
  if len(data) < member.size:
    raise DataError(f"{path} changed while it was read: the file ends early")
  return member.name, data
