# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A box of a JPEG has the pixels of the same box of the whole image."""

import io
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from vit_jax.data import jpeg, transforms

COARSE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
# With edges between blocks, so that smoothed chroma matters.
IMAGE = Image.fromarray(np.kron(COARSE, np.ones((5, 5, 1), np.uint8)))
BOXES = [
  *((0, 0, 150, 200), (0, 0, 5, 7), (145, 190, 5, 10), (20, 0, 12, 200)),
  *((13, 50, 17, 33), (13, 50, 18, 33), (13, 50, 19, 33), (13, 50, 20, 33)),
  (149, 0, 1, 1),
]


def save(image=IMAGE, orientation=None, **options):
  exif = Image.Exif()
  if orientation is not None:
    exif[jpeg.ORIENTATION] = orientation
  file = io.BytesIO()
  image.save(file, "JPEG", exif=exif, **({"quality": 90} | options))
  return file.getvalue()


def decode_opencv(data, channels):
  flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
  image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
  return image.reshape(*image.shape[:2], channels)


def check_boxes(data, channels, whole):
  height, width = whole.shape[:2]
  for top, left, h, w in BOXES:
    if top + h > height or left + w > width:
      continue
    for copy in (True, False):
      picture = transforms.Picture(data, channels)
      assert picture.shape == (height, width)
      found = picture.cut((top, left, h, w), copy=copy)
      expected = whole[top : top + h, left : left + w]
      np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
  "options",
  [
    *(dict(subsampling=x) for x in ("4:4:4", "4:2:2", "4:2:0")),
    *(dict(progressive=True), dict(restart_marker_rows=2), dict(optimize=True)),
  ],
  ids=str,
)
def test_boxes_of_every_kind_of_jpeg(options, channels):
  data = save(**options)
  check_boxes(data, channels, decode_opencv(data, channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_boxes_of_a_grey_jpeg(channels):
  data = save(IMAGE.convert("L"))
  check_boxes(data, channels, decode_opencv(data, channels))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_an_image_that_is_turned(orientation):
  data = save(orientation=orientation)
  whole = decode_opencv(data, 3)
  assert (whole.shape[0] > whole.shape[1]) == (orientation > 4)
  assert jpeg.parse(data).turn == jpeg.TURNS[orientation]
  check_boxes(data, 3, whole)


@pytest.mark.parametrize("extension", [".png", ".webp"])
def test_boxes_of_other_files(extension):
  array = np.asarray(IMAGE)
  options = [cv2.IMWRITE_WEBP_QUALITY, 101]  # Lossless.
  data = cv2.imencode(extension, array[..., ::-1], options)[1].tobytes()
  check_boxes(data, 3, array)
  whole = transforms.Pixels(array)
  np.testing.assert_array_equal(whole.cut((3, 4, 5, 6)), array[3:8, 4:10])
  np.testing.assert_array_equal(whole.cut(), array)


def test_rows_below_the_box_are_not_decoded(monkeypatch):
  sizes = []
  get = jpeg.BUFFERS.get

  def record(size):
    sizes.append(size)
    return get(size)

  monkeypatch.setattr(jpeg.BUFFERS, "get", record)
  for height in (30, 31):
    transforms.Picture(save(), 3).cut((0, 10, height, 20), copy=False)
  assert sizes == [32 * 200 * 3, 48 * 200 * 3]  # One row below is smoothed.


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("options", [{}, dict(progressive=True)], ids=str)
def test_a_truncated_file_is_refused_even_if_the_box_is_there(share, options):
  data = save(**options)
  data = data[: int(len(data) * share)]
  with pytest.raises(ValueError, match="truncated|not a readable image"):
    transforms.Picture(data, 3).cut((0, 0, 4, 4))


def test_a_file_that_opencv_mends_is_read_as_opencv_reads_it():
  data = bytearray(save())
  middle = len(data) // 2
  data[middle : middle + 8] = b"\x12\x34\x56\x78\x9a\xbc\xde\xf1"
  data = bytes(data)
  np.testing.assert_array_equal(
    transforms.decode(data, 3), decode_opencv(data, 3)
  )
  more = save() + b"more"
  np.testing.assert_array_equal(
    transforms.Picture(more, 3).cut((0, 0, 9, 9)),
    decode_opencv(more, 3)[:9, :9],
  )


def test_a_thread_does_not_overwrite_what_another_reads():
  one = transforms.Picture(save(), 3).cut((0, 0, 50, 50), copy=False)
  before = one.copy()
  other = save(IMAGE.transpose(Image.Transpose.ROTATE_180))
  thread = threading.Thread(
    target=lambda: transforms.Picture(other, 3).cut(copy=False)
  )
  thread.start()
  thread.join()
  np.testing.assert_array_equal(one, before)


@pytest.mark.parametrize(
  "exif",
  [
    b"",
    b"II*\0",
    b"XX*\0\x08\0\0\0\0\0",
    b"II*\0\x08\0\0\0\xff\xff",
    b"II*\0\xff\xff\xff\xff\0\0",
    # A number of 32 bits, and an orientation that does not exist.
    b"II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0",
    b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
  ],
)
def test_an_unclear_orientation_is_left_to_opencv(exif):
  assert jpeg.find_turn([exif]) is None
  plain = save()
  segment = b"Exif\0\0" + exif
  size = (len(segment) + 2).to_bytes(2, "big")
  data = plain[:2] + b"\xff\xe1" + size + segment + plain[2:]
  assert jpeg.parse(data) is None
  np.testing.assert_array_equal(
    transforms.decode(data, 3), decode_opencv(data, 3)
  )


def test_an_orientation_is_read_in_both_orders_of_bytes():
  little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
  big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"
  for exif in (little, big):
    assert jpeg.find_turn([exif]) == jpeg.TURNS[6]
  assert jpeg.find_turn([]) == jpeg.TURNS[1]
  assert jpeg.find_turn([little, big]) is None


@pytest.mark.parametrize(
  "data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\0" * 9]
)
def test_what_is_no_header_is_none(data):
  assert jpeg.parse(data) is None


def test_every_beginning_of_a_header_is_read_without_an_error():
  data = save(orientation=6)
  found = [jpeg.parse(data[:size]) for size in range(700)]
  assert found[-1] is not None and found[10] is None
