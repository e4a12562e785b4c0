# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The fast way to the pixels of a JPEG: only the rows that a crop needs.

libjpeg-turbo, with its exact inverse transform and smooth chroma, so the pixels
are those of OpenCV and Pillow. Whatever is unusual about a file, `parse` or
`Jpeg.decode` leaves to OpenCV and Pillow, which decide whether it is readable.
"""

import dataclasses
import functools
import re
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import simplejpeg

# Top, left, height and width, in pixels.
Box = tuple[int, int, int, int]

ORIENTATION = 0x0112  # The tag in EXIF.
SHORT = 3  # The type of 16-bit numbers there.

# Markers of a JPEG, after a byte 0xff.
SCAN, APP1 = 0xDA, 0xE1
FRAMES = (0xC0, 0xC1, 0xC2)  # Baseline, extended and progressive.
PROGRESSIVE = 0xC2

# Decoding ends with this if, and only if, all rows that were asked for are
# sound and nothing but their image's own data follow until its end.
ROWS_ARE_LEFT = re.compile(r"\d+ extraneous bytes before marker 0xd9")

# Rows below a crop that its pixels may depend on: chroma is smoothed over the
# nearest two of its own rows.
MARGIN = 2

KEEP = 1 << 25  # Bytes of a buffer that a thread keeps.


class Turn(NamedTuple):
  """How the stored image becomes upright: first transposed, then mirrored."""

  transpose: bool
  rows: bool
  columns: bool


# By the value of the tag.
TURNS = {
  1: Turn(False, False, False),
  2: Turn(False, False, True),
  3: Turn(False, True, True),
  4: Turn(False, True, False),
  5: Turn(True, False, False),
  6: Turn(True, False, True),
  7: Turn(True, True, True),
  8: Turn(True, True, False),
}


class _Buffers(threading.local):
  """Memory that a thread decodes to again and again."""

  def __init__(self):
    self._kept = np.empty(0, np.uint8)

  def get(self, size: int) -> np.ndarray:
    """Returns `size` bytes, which hold until the next call in this thread."""
    if size > KEEP:
      return np.empty(size, np.uint8)
    if len(self._kept) < size:
      self._kept = np.empty(size, np.uint8)
    return self._kept[:size]


BUFFERS = _Buffers()


@dataclasses.dataclass(frozen=True)
class Jpeg:
  """A JPEG whose header is read.

  Attributes:
    data: the file.
    height: height of the stored image.
    width: its width.
    turn: how it becomes upright.
    block: number of rows that are coded together.
    place: where the file has the height; None if all rows are needed.
  """

  data: bytes
  height: int
  width: int
  turn: Turn
  block: int
  place: int | None

  @property
  def shape(self) -> tuple[int, int]:
    """(H, W) of the upright image."""
    if self.turn.transpose:
      return self.width, self.height
    return self.height, self.width

  def decode(
    self, channels: int, box: Box | None = None, *, copy: bool = True
  ) -> np.ndarray:
    """Decodes a box of the upright image to uint8 [h w c].

    Args:
      channels: 1 for grey, 3 for colour (c).
      box: the box; None is the whole image.
      copy: False may return memory that this thread's next call overwrites.

    Raises:
      ValueError: if the file may be damaged, or is of an unusual kind.
    """
    top, left, h, w = self._find_stored(box or (0, 0, *self.shape))
    get = BUFFERS.get
    if copy:
      get = functools.partial(np.empty, dtype=np.uint8)
    image = self._decode_rows(channels, top + h, get)
    image = image[top : top + h, left : left + w]
    if self.turn.transpose:
      image = image.transpose(1, 0, 2)
    image = image[:: -1 if self.turn.rows else 1]
    image = image[:, :: -1 if self.turn.columns else 1]
    # OpenCV reads rows with gaps between them, but none that are mirrored.
    plain = not copy and self.turn == TURNS[1]
    return image if plain else np.ascontiguousarray(image)

  def _find_stored(self, box: Box) -> Box:
    """Finds where the stored image has a box of the upright one."""
    (height, width), (top, left, h, w) = self.shape, box
    if self.turn.rows:
      top = height - top - h
    if self.turn.columns:
      left = width - left - w
    return (left, top, w, h) if self.turn.transpose else (top, left, h, w)

  def _decode_rows(
    self, channels: int, bottom: int, get: Callable[[int], np.ndarray]
  ) -> np.ndarray:
    """Decodes the stored image, down to a row or further: [h W c]."""
    data: bytes | bytearray = self.data
    rows = self.height
    needed = -(-(bottom + MARGIN) // self.block) * self.block
    if self.place is not None and needed < rows:
      # The decoder stops where the header says that the image ends.
      rows, place, data = needed, self.place, bytearray(data)
      data[place : place + 2] = rows.to_bytes(2, "big")
    buffer = get(rows * self.width * channels)
    kind = "GRAY" if channels == 1 else "RGB"
    try:
      simplejpeg.decode_jpeg(data, kind, buffer=buffer, strict=True)
    except ValueError as error:
      if rows == self.height or not ROWS_ARE_LEFT.search(str(error)):
        raise
    return buffer.reshape(rows, self.width, channels)


def parse(data: bytes) -> Jpeg | None:
  """Reads the header of a JPEG; None if it is none, or an unusual one."""
  if data[:2] != b"\xff\xd8":
    return None
  exif, start = [], 2
  while start + 4 <= len(data) and data[start] == 0xFF:
    marker = data[start + 1]
    size = int.from_bytes(data[start + 2 : start + 4], "big")
    if marker in FRAMES:
      bits, height, width, colours = (
        int.from_bytes(data[start + a : start + b], "big")
        for a, b in ((4, 5), (5, 7), (7, 9), (9, 10))
      )
      turn = find_turn(exif)
      if bits != 8 or colours not in (1, 3) or not height * width or not turn:
        return None
      sampling = data[start + 11 : start + 10 + 3 * colours : 3]
      block = 8 * max((x & 15 for x in sampling), default=0)
      place = None if marker == PROGRESSIVE or not block else start + 5
      return Jpeg(data, height, width, turn, block, place)
    # Others of 0xc0 to 0xcf are tables, or frames of rare kinds.
    if marker == SCAN or size < 2 or marker not in (0xC4, *range(0xDB, 0xFF)):
      return None
    if marker == APP1 and data[start + 4 : start + 10] == b"Exif\0\0":
      exif.append(data[start + 10 : start + 2 + size])
    start += 2 + size
  return None


def find_turn(exif: list[bytes]) -> Turn | None:
  """Finds the orientation in EXIF; None if it is not clear.

  Args:
    exif: what each such segment of the file holds.
  """
  if not exif:
    return TURNS[1]
  if len(exif) > 1 or exif[0][:4] not in (b"II*\0", b"MM\0*"):
    return None
  (block,) = exif
  order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"

  def read(place: int, size: int) -> int:
    return int.from_bytes(block[place : place + size], order)

  start, found = read(4, 4), []
  count = read(start, 2)
  if start < 8 or start + 2 + 12 * count > len(block):
    return None
  for entry in range(start + 2, start + 2 + 12 * count, 12):
    if read(entry, 2) == ORIENTATION:
      found.append((read(entry + 2, 2), read(entry + 4, 4), read(entry + 8, 2)))
  if not found:
    return TURNS[1]
  kind, length, value = found[0]
  if len(found) > 1 or kind != SHORT or length != 1:
    return None
  return TURNS.get(value)
