# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The property that all readers of untrusted files have.

For any bytes, the result keeps the bounds or is one clear error, and no other
file is opened.
"""

import os
import pathlib
import sys
import sysconfig
import threading

from etils import epath

from tests.fuzz.readers import Reader

# Directories of Python and its packages, which import lazily.
OWN = (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))
OWN += tuple(path for path in sys.path if path.endswith("site-packages"))
OWN += (str(pathlib.Path(__file__).parent.parent.parent), "/proc/", "/dev/null")
TOUCHES = ("open", "os.listdir", "os.scandir", "os.remove", "os.mkdir")
NEVER = ("os.system", "subprocess.Popen", "os.exec", "pickle.find_class")
NEVER += ("socket.connect",)

_watched: list[tuple[str, str]] | None = None
_reading: int | None = None  # The thread; others of a test do as they like.


def _watch(event, arguments):
  if _watched is None or threading.get_ident() != _reading:
    return
  if event in NEVER:
    _watched.append((event, str(arguments[:1])))
  if event in TOUCHES and isinstance(arguments[0], str | bytes | os.PathLike):
    path = os.path.abspath(os.fsdecode(arguments[0]))
    if not path.startswith(OWN):
      _watched.append((event, path))


sys.addaudithook(_watch)


def place(reader: Reader, root: pathlib.Path) -> epath.Path:
  """A directory below `root` where files of a reader can be read."""
  directory = epath.Path(root) / "small" / "1.0.0"  # As a prepared set's.
  directory.mkdir(parents=True, exist_ok=True)
  reader.prepare(directory)
  return directory


def check(reader: Reader, data: bytes, directory: epath.Path) -> bool:
  """Reads bytes as a file; says whether they were taken.

  Raises:
    Exception: for any but the reader's own error.
    AssertionError: if something else was opened, or the error names no cause.
  """
  global _watched, _reading
  (directory / reader.file).write_bytes(data)
  _watched, _reading = [], threading.get_ident()
  try:
    reader.read(directory)
    taken = True
  except reader.error as error:
    assert str(error)
    taken = False
  finally:
    touched, _watched = _watched, None
  outside = [
    x for x in touched if not x[1].startswith(str(directory.parents[1]))
  ]
  assert not outside, outside
  return taken
