# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Image files to pixels on the host: uint8 [H W c], or a box of it."""

import io
import math

import cv2
import numpy as np
from PIL import Image, ImageOps

from vit_jax.data import formats, jpeg

# We decode in many threads; OpenCV's own would compete with them.
cv2.setNumThreads(0)

# What it cannot read is reported by us, with the name of the file.
if hasattr(cv2, "setLogLevel"):  # Until OpenCV 4.
  cv2.setLogLevel(0)
else:
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Largest image file: about MAX_PIXELS of 16-bit RGB without compression.
MAX_BYTES = 1 << 30

# Largest image: Pillow's limit. Decoding takes 6 bytes a pixel of JPEG and PNG,
# up to 20 of other formats: 1 to 3.5 GB at the limit.
MAX_PIXELS = 178_956_970

ROWS = 256  # Rows of 16 bits that are scaled to 8 at a time.


class Picture:
  """An encoded image, of which a part can be decoded.

  Both of its methods raise ValueError as `decode` does.
  """

  def __init__(self, data: bytes, channels: int):
    """Decodes nothing yet.

    Args:
      data: as of `decode`.
      channels: 1 for grey, 3 for colour (c).
    """
    self._data, self._channels = data, channels
    self._image: np.ndarray | None = None
    self._jpeg = jpeg.parse(data)
    if self._jpeg and math.prod(self._jpeg.shape) > MAX_PIXELS:
      self._jpeg = None  # `decode` says so.

  @property
  def shape(self) -> tuple[int, int]:
    """(H, W) of the upright image."""
    return self._jpeg.shape if self._jpeg else self._decode().shape[:2]

  def cut(
    self, box: jpeg.Box | None = None, *, copy: bool = True
  ) -> np.ndarray:
    """Decodes a box of the upright image, or all of it, to uint8 [h w c].

    The same as the box of `decode`. Of a JPEG, rows below it are not decoded;
    that none are missing is checked all the same.

    Args:
      box: top, left, height and width.
      copy: False may return memory that this thread's next call overwrites.
    """
    if self._jpeg:
      shape = self._jpeg.shape
      try:
        return self._jpeg.decode(self._channels, box, copy=copy)
      except ValueError:
        self._jpeg = None
      if self._decode().shape[:2] != shape:
        raise ValueError("not a readable image: it has two sizes")
    image = self._decode()
    if box is None:
      return image
    top, left, h, w = box
    return image[top : top + h, left : left + w]

  def _decode(self) -> np.ndarray:
    if self._image is None:
      self._image = _decode_any(self._data, self._channels)
    return self._image


class Pixels:
  """An image that is decoded, with the methods of a `Picture`."""

  def __init__(self, image: np.ndarray):
    """Keeps uint8 [H W c]."""
    self._image = image
    self.shape = image.shape[:2]

  def cut(
    self, box: jpeg.Box | None = None, *, copy: bool = True
  ) -> np.ndarray:
    """Returns a box of the image, or all of it, as a view."""
    del copy
    if box is None:
      return self._image
    top, left, h, w = box
    return self._image[top : top + h, left : left + w]


def decode(data: bytes, channels: int) -> np.ndarray:
  """Decodes an image to uint8 [H W c], upright, with colours in RGB order.

  Grey and colour are converted to one another as needed. Transparency is
  dropped, which uncovers the colours beneath it. 16 bits are scaled to 8. The
  first frame of an animation is used, and the orientation in EXIF is applied.
  CMYK is converted without a colour profile; that of a JPEG is inverted if, and
  only if, it has Adobe's marker.

  Args:
    data: a file of any of the formats of `formats`.
    channels: 1 for grey, 3 for colour (c).

  Raises:
    ValueError: if it is not an image, truncated or damaged, or larger than
      MAX_PIXELS (before memory is allocated).
  """
  return Picture(data, channels).cut()


def _decode_any(data: bytes, channels: int) -> np.ndarray:
  """Decodes an image of any kind, as `decode`."""
  size = f"({len(data)} bytes)"
  try:
    # Reads the header only.
    image = Image.open(io.BytesIO(data), formats=formats.find_formats())
  except Image.DecompressionBombError as error:
    raise ValueError(f"the image is too large: {error}") from error
  except Exception as error:  # Untrusted bytes can cause any.
    start = data[:16]
    fault = formats.find_fault(start)
    if fault is None:
      fault = f"truncated or broken {formats.recognise(start)}"
    raise ValueError(f"not a readable image {size}: {fault}") from error
  if image.width * image.height > MAX_PIXELS:
    raise ValueError(
      f"the image is too large: {image.height} x {image.width} px exceed the "
      f"limit of {MAX_PIXELS:,} pixels"
    )
  if image.mode == "F":
    raise ValueError("not a readable image: its pixels are floating-point")
  fast = image.format in ("JPEG", "MPO", "PNG") and image.mode != "CMYK"
  try:
    # Pillow cannot convert more than 8 bits, nor OpenCV CMYK.
    deep = _is_deep(image)
    if fast or deep:
      if image.format == "PNG":
        data = formats.strip_png(data)
      decoded = _decode_opencv(data, channels, deep)
    else:
      decoded = _decode_pillow(image, channels)
  except Exception as error:
    raise ValueError(
      f"not a readable image: truncated or broken {image.format} {size}: "
      f"{error}"
    ) from error
  return decoded.reshape(*decoded.shape[:2], channels)


def _is_deep(image: Image.Image) -> bool:
  """Returns whether an image may have more than 8 bits a channel."""
  if image.format == "TIFF":
    return max(image.tag_v2.get(258, (1,))) > 8  # Bits per sample.
  return image.mode[0] in "IF"


def _decode_opencv(data: bytes, channels: int, deep: bool) -> np.ndarray:
  """Decodes to uint8 [H W] or [H W 3]; fast, and exact for 16 bits.

  OpenCV refuses a truncated file, which other libraries fill with grey.
  """
  flag = cv2.IMREAD_GRAYSCALE
  if channels == 3:
    # OpenCV cannot return deep TIFFs in RGB order.
    flag = cv2.IMREAD_COLOR if deep else cv2.IMREAD_COLOR_RGB
  image = cv2.imdecode(
    np.frombuffer(data, np.uint8), flag | cv2.IMREAD_ANYDEPTH
  )
  if image is None:
    raise ValueError("OpenCV cannot read it")
  if channels == 3 and deep:
    image = image[..., ::-1]
  if image.dtype == np.uint16:
    image = _scale(image)
  if image.dtype != np.uint8:
    raise ValueError(f"unknown range of {image.dtype} pixels")
  return image


def _scale(image: np.ndarray) -> np.ndarray:
  """Scales values of 16 bits to uint8."""
  scaled = np.empty(image.shape, np.uint8)
  for i in range(0, len(image), ROWS):  # A whole copy of 32 bits is large.
    rows = image[i : i + ROWS].astype(np.uint32)
    scaled[i : i + ROWS] = (rows + 128) // 257
  return scaled


def convert(image: Image.Image, channels: int) -> np.ndarray:
  """Converts an image of Pillow, of any mode, to uint8 [H W c] or [H W].

  As `decode` does with a file: upright, without transparency, 16 bits scaled.

  Raises:
    ValueError: if it is damaged, or its mode is none of colours or greys.
  """
  try:
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
      values = np.asarray(image)
      if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise ValueError("values of 32 bits; convert it to 8 or 16")
      return _scale(values)
    if image.mode == "F":
      raise ValueError("its pixels are floating-point")
    mode = "L" if channels == 1 else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))
  except Exception as error:  # Files that Pillow has not read yet can be any.
    raise ValueError(
      f"not a readable image of Pillow's mode {image.mode}: {error}"
    ) from error


def _decode_pillow(image: Image.Image, channels: int) -> np.ndarray:
  """Decodes formats that OpenCV cannot, to uint8 [H W] or [H W 3]."""
  # Pillow takes every CMYK JPEG for inverted, as Adobe's are.
  if image.format in ("JPEG", "MPO") and "adobe" not in image.info:
    image = image.point([255 - i for i in range(256)] * 4)
  ImageOps.exif_transpose(image, in_place=True)
  mode = "L" if channels == 1 else "RGB"
  if image.mode != mode:  # Pillow would copy it even if it is the same.
    image = image.convert(mode)
  return np.asarray(image)
