# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images in archives, in archives of archives, and in folders."""

import io
import os
import re
import tarfile

import pytest

from tests.support import fakes
from vit_jax.data import transforms
from vit_jax.data.info import DataError
from vit_jax.metrics.progress import Progress
from vit_jax.prepare import archives, image_list, listing

# A name that takes more than one header, and what is no image.
LONG = "x" * 150 + ".JPEG"
FILES = {
  "in/a.jpg": b"first",
  f"in/{LONG}": b"second",
  "in/._a.jpg": b"hidden",
  "readme.txt": b"text",
  "b.png": b"",
}
EXPECTED = [("a.jpg", b"first"), (LONG, b"second"), ("b.png", b"")]


def read_all(group):
  return [group.read(i) for i in range(len(group.tally.keys))]


def test_an_archive_and_an_archive_in_it(tmp_path):
  inner = fakes.make_tar(FILES)
  path = tmp_path / "x.tar"
  path.write_bytes(inner)
  archive = listing.list_archive(str(path))
  assert read_all(archive) == EXPECTED
  assert archive.locate(1) == f"{path}#in/{LONG}"
  assert archive.tally.num_bytes == 11
  # The same, 1,536 bytes into another file: behind a file and two headers.
  outer = fakes.make_tar({"y": b"1", "x.tar": inner, "z.tar": inner})
  path.write_bytes(outer)
  start, stop = 1536, 1536 + len(inner)
  nested = listing.list_archive(str(path), start, stop)
  assert read_all(nested) == EXPECTED
  assert (nested.tally.keys == archive.tally.keys).all()
  assert nested.tally.digest == archive.tally.digest
  assert (nested.offsets - archive.offsets == start).all()


def test_a_folder_is_listed_as_an_archive_of_sorted_names(tmp_path):
  for name in ("b.jpg", "a.JPG", ".c.jpg", "d.txt"):
    (tmp_path / name).write_bytes(name.encode())
  folder = listing.list_directory(str(tmp_path))
  assert read_all(folder) == [("a.JPG", b"a.JPG"), ("b.jpg", b"b.jpg")]
  files = {"a.JPG": b"a.JPG", "b.jpg": b"b.jpg"}
  (tmp_path / "x.tar").write_bytes(fakes.make_tar(files))
  archive = listing.list_archive(str(tmp_path / "x.tar"))
  assert folder.tally.digest == archive.tally.digest


def test_an_archive_that_changes_is_noticed(tmp_path):
  path = tmp_path / "x.tar"
  path.write_bytes(fakes.make_tar(FILES))
  archive = listing.list_archive(str(path))
  path.write_bytes(path.read_bytes()[:514])
  with pytest.raises(DataError, match="x.tar changed .* ends within"):
    archive.read(0)
  path.write_bytes(b"x" * 5000)
  with pytest.raises(DataError, match="x.tar changed while it was read"):
    archive.read(1)


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_how_far_it_is():
  stream = Terminal()
  meter = listing.Meter(Progress(stream=stream), 2000, "images", done=1000)
  meter._seconds_between = 0.0
  meter.add(500)
  line = r"\r\x1b\[2K1,500/2,000 images  75%  [\d,]+/s  \d+s left"
  assert re.fullmatch(line, stream.getvalue())
  stream = io.StringIO()  # Where nobody looks, a line every half a minute.
  meter = listing.Meter(Progress(stream=stream), 10, "images")
  meter.add(5)
  assert stream.getvalue() == ""
  meter._seconds_between = 0.0
  meter.add(5)
  assert re.fullmatch(
    r"10/10 images 100%  [\d,]+/s  0s left\n", (stream.getvalue())
  )


def make_header(size, kind=tarfile.REGTYPE):
  member = tarfile.TarInfo("a.jpg")
  member.size, member.type = size, kind
  return member.tobuf(tarfile.GNU_FORMAT)


def test_members_that_lie_about_their_size(tmp_path):
  path = tmp_path / "x.tar"
  path.write_bytes(make_header(1 << 40) + bytes(1024))
  cut = "ends within a.jpg"
  with pytest.raises(DataError, match=f"{path} .*{cut}"):
    listing.list_archive(str(path))
  path.write_bytes(make_header(1 << 70) + bytes(1024))  # Of no 64 bits.
  with pytest.raises(tarfile.ReadError, match=cut):
    image_list.list_members(str(path), "x")
  size = transforms.MAX_BYTES + 1
  path.write_bytes(make_header(size))
  os.truncate(path, size + 1024)
  with pytest.raises(ValueError, match="1,073,741,825 bytes .*1,073,741,824"):
    archives.read_member(str(path), 0)
  path.write_bytes(make_header(8 << 30, tarfile.GNUTYPE_LONGNAME) + bytes(1024))
  with pytest.raises(DataError, match="x.tar .*1,048,576 bytes"):
    listing.list_archive(str(path))


def test_links_and_devices_in_an_archive_are_no_images(tmp_path):
  path = tmp_path / "x.tar"
  with tarfile.open(path, "w") as archive:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
      member = tarfile.TarInfo("../../a.jpg")
      member.type, member.linkname = kind, "/etc/passwd"
      archive.addfile(member)
  assert len(listing.list_archive(str(path)).offsets) == 0
  assert len(image_list.list_members(str(path), "x")[0]) == 0
