# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Files of every kind, written by Pillow or OpenCV, come out right."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from vit_jax.data import formats, transforms

SMALL = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
# Smooth, so that a JPEG is near it, and without any symmetry.
IMAGE = cv2.resize(SMALL, (48, 32), interpolation=cv2.INTER_CUBIC)
RGB = Image.fromarray(IMAGE)
GREY = RGB.convert("L")
# Transparent at the left, opaque at the right.
ALPHA = Image.fromarray(np.tile(np.arange(0, 240, 5, dtype=np.uint8), (32, 1)))


def save(image, kind, **options):
  """The bytes of a file."""
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def with_alpha(image):
  image = image.copy()
  image.putalpha(ALPHA)
  return image


PALETTE = RGB.quantize(40)
LOSSLESS = {
  "png": (RGB, "PNG", {}),
  "png grey": (GREY, "PNG", {}),
  "png rgba": (with_alpha(RGB), "PNG", {}),
  "png grey alpha": (with_alpha(GREY), "PNG", {}),
  "png palette": (PALETTE, "PNG", {}),
  "png palette transparent": (PALETTE, "PNG", dict(transparency=3)),
  "png palette 4 bits": (RGB.quantize(9), "PNG", dict(bits=4)),
  "png grey transparent": (GREY, "PNG", dict(transparency=90)),
  "png 1 bit": (RGB.convert("1"), "PNG", {}),
  "webp": (RGB, "WEBP", dict(lossless=True)),
  "webp rgba": (with_alpha(RGB), "WEBP", dict(lossless=True, exact=True)),
  "gif": (PALETTE, "GIF", {}),
  "gif transparent": (PALETTE, "GIF", dict(transparency=3)),
  "bmp": (RGB, "BMP", {}),
  "bmp palette": (PALETTE, "BMP", {}),
  "tiff": (RGB, "TIFF", {}),
  "tiff grey": (GREY, "TIFF", {}),
  "tiff lzw": (RGB, "TIFF", dict(compression="tiff_lzw")),
  "tiff cmyk": (RGB.convert("CMYK"), "TIFF", {}),
  "ppm": (RGB, "PPM", {}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_files_that_lose_nothing(name):
  image, kind, options = LOSSLESS[name]
  data = save(image, kind, **options)
  colour = np.asarray(image.convert("RGB"))
  np.testing.assert_array_equal(transforms.decode(data, 3), colour, strict=True)
  grey = np.asarray(image.convert("RGB").convert("L"))[..., None]
  found = transforms.decode(data, 1)
  assert found.dtype == np.uint8
  # OpenCV weighs the colours with fewer bits than Pillow.
  np.testing.assert_allclose(found.astype(int), grey, atol=1)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("image", [RGB, GREY], ids=["colour", "grey"])
def test_jpeg(image, progressive):
  data = save(image, "JPEG", quality=95, progressive=progressive)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
  np.testing.assert_array_equal(transforms.decode(data, 3), expected)
  found = transforms.decode(data, 1).astype(int)
  expected = np.asarray(Image.open(io.BytesIO(data)).convert("L"))[..., None]
  # Chroma that reaches beyond the cube of RGB is cut off in one of the two.
  np.testing.assert_allclose(found, expected, atol=4)


def make_cmyk():
  """Inks (cyan, magenta, yellow, black), and the colours that they make."""
  inks = cv2.resize(
    np.random.default_rng(1).integers(0, 200, (4, 6, 4), np.uint8),
    (48, 32),
    interpolation=cv2.INTER_LINEAR,
  )
  paper = 255 - inks.astype(float)
  return inks, paper[..., :3] * paper[..., 3:] / 255


def without_adobe(data):
  """A JPEG without its APP14 segment."""
  start = data.index(b"\xff\xee")
  (length,) = struct.unpack(">H", data[start + 2 : start + 4])
  return data[:start] + data[start + 2 + length :]


@pytest.mark.parametrize("kind", ["inverted", "plain", "YCCK"])
def test_jpeg_of_four_inks(kind):
  inks, expected = make_cmyk()
  if kind == "YCCK":
    ycc = np.asarray(Image.fromarray(inks[..., :3]).convert("YCbCr"))
    inks = np.dstack([255 - ycc, inks[..., 3]])
  if kind == "plain":
    inks = 255 - inks  # Pillow inverts what it writes.
  options = dict(quality=100, subsampling=0)
  data = save(Image.fromarray(inks, "CMYK"), "JPEG", **options)
  if kind == "plain":
    data = without_adobe(data)
  if kind == "YCCK":
    place = data.index(b"Adobe") + 11  # Which transform of colours it has.
    assert data[place] == 0
    data = data[:place] + b"\x02" + data[place + 1 :]
  found = transforms.decode(data, 3).astype(float)
  # Rounded as a JPEG, and in YCCK as chroma before.
  np.testing.assert_allclose(found, expected, atol=6)
  grey = transforms.decode(data, 1)[..., 0].astype(float)
  np.testing.assert_allclose(
    grey,
    expected @ [0.299, 0.587, 0.114],
    atol=6,  # Likewise.
  )


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled(extension, channels):
  rng = np.random.default_rng(2)
  deep = rng.integers(0, 2**16, (9, 7, channels), np.uint16)
  deep[0, 0], deep[0, 1], deep[0, 2] = 65535, 0, 255  # 255 is one, not 0.
  written = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep
  data = cv2.imencode(extension, written)[1].tobytes()
  expected = np.rint(deep[..., :3] / 257.0)
  colour = np.broadcast_to(expected, (9, 7, 3))
  np.testing.assert_array_equal(transforms.decode(data, 3), colour)
  found = transforms.decode(data, 1)[..., 0].astype(float)
  # OpenCV weighs the colours with 14 bits, and we round after that.
  grey = colour @ [0.299, 0.587, 0.114]
  np.testing.assert_allclose(found, grey, atol=1.01)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stand_upright(kind, orientation, channels):
  exif = Image.Exif()
  exif[0x0112] = orientation
  options = {"JPEG": dict(quality=95), "WEBP": dict(lossless=True)}
  options = options.get(kind, {})
  plain = save(RGB, kind, **options)
  turned = save(RGB, kind, exif=exif, **options)
  # EXIF says where the first row and the first column belong.
  turn = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x.transpose(1, 0, 2)[:, ::-1],
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: x.transpose(1, 0, 2)[::-1],
  }[orientation]
  expected = turn(transforms.decode(plain, channels))
  found = transforms.decode(turned, channels)
  np.testing.assert_array_equal(found, expected)


def test_a_jpeg_of_several_pictures_gives_the_first():
  more = [ImageOps.invert(RGB)]
  data = save(RGB, "MPO", save_all=True, append_images=more, quality=95)
  expected = np.asarray(Image.open(io.BytesIO(data)))
  np.testing.assert_array_equal(transforms.decode(data, 3), expected)


def test_an_animation_gives_its_first_frame():
  frames = [PALETTE.convert("RGB"), ImageOps.invert(RGB)]
  for kind, options in (("GIF", {}), ("WEBP", dict(lossless=True))):
    data = save(
      frames[0], kind, save_all=True, append_images=frames[1:], **options
    )
    found = transforms.decode(data, 3).astype(int)
    np.testing.assert_array_equal(found, np.asarray(frames[0]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.98])
def test_a_truncated_file_is_refused(kind, share):
  large = RGB.resize((200, 150))
  data = save(large, kind)
  with pytest.raises(ValueError, match="truncated|not a readable image"):
    transforms.decode(data[: int(len(data) * share)], 3)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "HEIF", "JPEG2000"])
def test_what_a_truncated_file_was_is_said(kind):
  """Also where so little is left that Pillow does not open it."""
  assert kind in formats.find_formats()
  data = save(RGB.resize((200, 150)), kind)
  for share in (0.05, 0.5, 0.98):
    with pytest.raises(ValueError, match=f"truncated or broken {kind}"):
      transforms.decode(data[: int(len(data) * share)], 3)


def test_libpng_says_nothing_of_a_truncated_png(capfd):
  """It would name no file, in the middle of what a command prints."""
  data = save(RGB.resize((200, 150)), "PNG")
  for cut in (1, 5, 12, 13, len(data) // 2):
    with pytest.raises(ValueError, match="ends before its last chunk"):
      transforms.decode(data[:-cut], 3)
  transforms.decode(data + b"what others append", 3)
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_refused(progressive):
  data = save(RGB, "JPEG", progressive=progressive)
  transforms.decode(data + b"what cameras append", 3)
  for cut in (1, 2, 20):
    with pytest.raises(ValueError, match=r"truncated or broken JPEG \(\d+ byt"):
      transforms.decode(data[:-cut], 3)


def make_bomb(width, height):
  """A PNG that claims to be of any size."""
  header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  chunks = b""
  for name, content in (
    (b"IHDR", header),
    (b"IDAT", zlib.compress(bytes(1000))),
    (b"IEND", b""),
  ):
    crc = zlib.crc32(name + content)
    chunks += struct.pack(">I", len(content)) + name + content
    chunks += struct.pack(">I", crc)
  return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("limited", [True, False], ids=["by Pillow", "by us"])
def test_a_bomb_is_refused_before_it_is_unpacked(limited, monkeypatch):
  if not limited:  # As programs that read large images set it.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
  tracemalloc.start()
  for size in ((60_000, 60_000), (2**31 - 1, 1), (13_378, 13_378)):
    with pytest.raises(ValueError, match="too large"):
      transforms.decode(make_bomb(*size), 3)
  assert tracemalloc.get_traced_memory()[1] < 10_000_000
  tracemalloc.stop()


def test_a_jpeg_bomb_is_refused():
  data = bytearray(save(RGB, "JPEG"))
  place = data.index(b"\xff\xc0") + 5
  data[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
  with pytest.raises(ValueError, match="too large"):
    transforms.decode(bytes(data), 3)


def test_numbers_of_no_known_meaning_are_refused():
  image = Image.fromarray(np.ones((4, 4), np.float32))
  with pytest.raises(ValueError, match="floating-point"):
    transforms.decode(save(image, "TIFF"), 3)
