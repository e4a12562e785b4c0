# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The formats of images that are read: their names, suffixes and first bytes.

AVIF is read where Pillow was built with it, and HEIC, that of phones, with the
extra "heic". Pillow reads more formats, some of them by running other programs.
"""

import contextlib
import functools
import struct
import warnings

from PIL import Image, features

# Pillow's name -> suffixes.
ALWAYS = {
  "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"),
  "PNG": (".png", ".apng"),
  "WEBP": (".webp",),
  "GIF": (".gif",),
  "BMP": (".bmp", ".dib"),
  "TIFF": (".tif", ".tiff"),
  "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
  "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
}
AVIF, HEIC = (".avif", ".avifs"), (".heic", ".heif", ".hif")

# Suffixes of all formats that can be read, whether or not they are here.
SUFFIXES = (*(x for row in ALWAYS.values() for x in row), *AVIF, *HEIC)

# First bytes -> Pillow's name.
STARTS = {
  b"\xff\xd8\xff": "JPEG",
  b"\x89PNG\r\n\x1a\n": "PNG",
  b"GIF87a": "GIF",
  b"GIF89a": "GIF",
  b"BM": "BMP",
  **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
  **{b"P%d" % number: "PPM" for number in range(1, 7)},
  b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
  b"\xff\x4f\xff\x51": "JPEG2000",
}

# The kinds of a file of boxes, at its fifth byte, which AVIF and HEIC share.
BRANDS = {
  **dict.fromkeys((b"avif", b"avis"), "AVIF"),
  **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc"), "HEIF"),
  **dict.fromkeys((b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"), "HEIF"),
}

# Chunks of a PNG that pixels depend on, beside the necessary ones:
# transparency, which side is up, and animations.
KEPT = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")

REMEDY = {
  "AVIF": "AVIF needs Pillow 11.3 or later, as its wheels have it: "
  "pip install -U pillow",
  "HEIF": "HEIC needs: pip install 'vit_jax[heic]', or save it as JPEG",
}


@functools.cache
def find_formats() -> tuple[str, ...]:
  """Finds the formats that are read here, by Pillow's names."""
  # A large photograph is no attack, and one above the limit is refused.
  warnings.simplefilter("ignore", Image.DecompressionBombWarning)
  found = list(ALWAYS)
  if features.check("avif"):
    found.append("AVIF")
  with contextlib.suppress(ImportError):
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    found.append("HEIF")
  return tuple(found)


def recognise(start: bytes) -> str | None:
  """Recognises a format by a file's first 16 bytes; returns Pillow's name."""
  if start[4:8] == b"ftyp":
    return BRANDS.get(start[8:12])
  if start[:4] == b"RIFF":
    return "WEBP" if start[8:12] == b"WEBP" else None
  return next((x for key, x in STARTS.items() if start.startswith(key)), None)


def find_fault(start: bytes) -> str | None:
  """Finds why a file cannot be read, by its first bytes; None if it can be."""
  if not start:
    return "empty"
  name = recognise(start)
  if name is None:
    return "not an image"
  return None if name in find_formats() else REMEDY[name]


def strip_png(data: bytes) -> bytes:
  """Leaves out the chunks of a PNG that no pixel depends on.

  Of colour profiles that are slightly wrong, which many programs write, libpng
  would print a warning for each image. Nothing here applies a profile.

  Raises:
    ValueError: if its last chunk is missing, of which libpng would print, too,
      and no name of a file.
  """
  kept, place, kind = [data[:8]], 8, b""
  while kind != b"IEND" and place + 12 <= len(data):
    (length,) = struct.unpack_from(">I", data, place)
    kind, end = data[place + 4 : place + 8], place + 12 + length
    if kind[:1].isupper() or kind in KEPT:  # Capitals mark what is needed.
      kept.append(data[place:end])
    place = end
  if kind != b"IEND":
    raise ValueError("it ends before its last chunk")
  return b"".join([*kept, data[place:]])
