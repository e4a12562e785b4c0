# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Append-only logs: a file on a disk, a series of parts on a store."""

import os
from collections.abc import Callable

from etils import epath

from vit_jax.storage.paths import is_local

# A chunk, or a function that makes it, in the thread that flushes.
Chunk = bytes | Callable[[], bytes]


class AppendLog:
  """Keeps chunks in memory until they are written, in order.

  A file on a disk is appended to. An object cannot be: the newest part is
  written whole until it is long enough, and never again.

  One thread may flush while another adds.

  Attributes:
    lost: number of chunks that were dropped, because too many were waiting or
      they could not be made.
  """

  PART_BYTES = 256 * 2**10
  MAX_CHUNKS = 50_000

  def __init__(self, get_path: Callable[[int], epath.Path], size: int = 0):
    """Writes nothing yet.

    Args:
      get_path: number of a part -> its path. On a disk there is part 0 only.
      size: bytes of a disk's file that stay; what follows them is dropped.
    """
    self.lost = 0
    self._get_path = get_path
    self._size = size
    self._number = 0
    self._chunks: list[Chunk] = []
    self._written = 0  # Chunks that the newest part already holds.

  @property
  def waiting(self) -> int:
    """Number of chunks that are not written."""
    return len(self._chunks) - self._written

  def add(self, chunk: Chunk) -> None:
    """Takes a chunk, or what the flush makes it with.

    It is dropped where too many wait.
    """
    if len(self._chunks) < self.MAX_CHUNKS:
      self._chunks.append(chunk)
    else:
      self.lost += 1

  def flush(self, durable: bool = False) -> None:
    """Writes what waits.

    Args:
      durable: make what was written so far survive a loss of power; an object
        always does.

    Raises:
      Exception: whatever the disk or the client of the store raises. What waits
        is kept, and the next flush leaves no trace of this one. And what a
        chunk raises that cannot be made; it alone is dropped.
    """
    path = self._get_path(self._number)
    if not self.waiting and not (durable and is_local(path)):
      return
    chunks = self._make_chunks()
    count, data = len(chunks), b"".join(chunks)
    if is_local(path):
      if not data and not path.exists():
        return
      path.parent.mkdir(parents=True, exist_ok=True)
      with path.open("ab") as file:
        # A full disk cut the last flush short, or the file was deleted.
        size = file.tell()
        self._size = min(size, self._size)
        if size > self._size:
          file.truncate(self._size)
        file.write(data)
        if durable:
          file.flush()
          os.fsync(file.fileno())
      self._size += len(data)
    else:
      path.write_bytes(data)
      self._written = count
      if len(data) < self.PART_BYTES:
        return
      self._number += 1
    del self._chunks[:count]
    self._written = 0

  def _make_chunks(self) -> list[bytes]:
    """Returns all chunks, once they are made."""
    made: list[bytes] = []
    for index, chunk in enumerate(self._chunks.copy()):
      if callable(chunk):
        try:
          chunk = chunk()
        except BaseException:
          del self._chunks[index]
          self.lost += 1
          raise
        self._chunks[index] = chunk
      made.append(chunk)
    return made
