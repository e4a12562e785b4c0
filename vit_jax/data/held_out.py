# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Images of a folder that are held out for testing, where it has no split.

A tenth of each class, at least one, and never its only image. Which ones is
decided by a hash of CLASS/FILE, so it is the same on every machine, however its
disk writes accents. Images that are added to a class may move others of that
class; a run that resumes then says so.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from etils import epath

from vit_jax.data.folder_names import normalize
from vit_jax.data.info import DatasetInfo
from vit_jax.storage.files import replacing

# How it is chosen, as part of the fingerprint.
RULE = "a tenth of each class"

FILE = "held_out.txt"  # In the directory of a run, or of a prepared set.


def hash_name(name: str) -> int:
  """Hashes CLASS/FILE to a number below 2^64."""
  known = os.fsencode(normalize(name))
  digest = hashlib.blake2b(known, digest_size=8).digest()
  return int.from_bytes(digest, "big")


def count_held_out(images: int) -> int:
  """Counts how many of a class's images are held out."""
  return max(1, (images + 5) // 10) if images > 1 else 0


def choose_held_out(classes: Mapping[str, Iterable[str]]) -> set[str]:
  """Chooses the images that are held out.

  Args:
    classes: class -> CLASS/FILE of its images.
  """
  chosen: set[str] = set()
  for names in classes.values():
    ordered = sorted(names, key=lambda name: (hash_name(name), name))
    chosen.update(ordered[: count_held_out(len(ordered))])
  return chosen


def list_held_out(info: DatasetInfo) -> Iterator[str]:
  """Lists the paths of the images that are held out, of all parts."""
  yield from info.held_out
  for part in info.parts:
    yield from list_held_out(part)


def write_held_out(workdir: epath.Path, info: DatasetInfo) -> None:
  """Writes which images a run holds out, if any."""
  write_paths(workdir, list(list_held_out(info)))


def write_paths(directory: epath.Path, paths: Sequence[str]) -> None:
  """Writes the paths of the images that are held out, if any, one a line.

  A line break in a name is written as backslash and n.
  """
  if paths:
    lines = "".join(path.replace("\n", "\\n") + "\n" for path in paths)
    with replacing(directory / FILE) as target:
      target.write_bytes(lines.encode("utf-8", "surrogateescape"))
