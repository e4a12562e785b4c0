# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Names in a folder of photographs: splits, classes, and what systems leave."""

import re
import unicodedata

# Words of a folder's name -> split.
SPLITS = {
  **dict.fromkeys(("train", "training", "trainset"), "train"),
  **dict.fromkeys(("val", "valid", "validation", "valset"), "validation"),
  **dict.fromkeys(("dev", "devset"), "validation"),
  **dict.fromkeys(("test", "testing", "testset"), "test"),
}

# What macOS, Windows, NAS and version control put among photographs, in small
# letters. Names that begin with a dot are hidden, and theirs too.
SYSTEM = frozenset(
  (
    *("__macosx", "icon\r", "network trash folder", "temporary items"),
    *("thevolumesettingsfolder", "desktop db", "desktop df"),
    *("$recycle.bin", "recycler", "recycled", "system volume information"),
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@synoresource"),
    *("#recycle", "#snapshot", "$extend", "lost+found", "picasa.ini"),
    *("cvs", "_svn", "__pycache__"),
  )
)


def is_system(name: str) -> bool:
  """Returns whether a file or folder is hidden, or a system's own."""
  return name.startswith(".") or name.lower() in SYSTEM


def _split_words(name: str) -> list[str]:
  """Splits "photosTrain_2017" into photos and train."""
  spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
  return [x for x in re.split(r"[\W\d_]+", spaced.lower()) if x]


def find_split(name: str) -> str | None:
  """Finds the split that a folder is named after, as "Train_2017"; or None."""
  found = {SPLITS[word] for word in _split_words(name) if word in SPLITS}
  return found.pop() if len(found) == 1 else None


def remove_split(name: str) -> str:
  """Returns the other words of a folder's name: "cats" of "cats_train"."""
  return " ".join(x for x in _split_words(name) if x not in SPLITS)


def normalize(name: str) -> str:
  """Composes letters and accents: a Mac writes them apart, others do not."""
  return unicodedata.normalize("NFC", name)


def to_label(name: str) -> str:
  r"""Returns a folder's name as a class, which any file and terminal can hold.

  Bytes that are not UTF-8 are written as \xe9.
  """
  known = name.encode("utf-8", "surrogateescape")
  return normalize(known.decode("utf-8", "backslashreplace"))


def to_line(path: str) -> str:
  r"""Returns a path as a line of text: nothing ends it, or acts on a terminal.

  What is not printable is written as \n or \x1b.
  """
  label = to_label(path)
  return "".join(x if x.isprintable() else ascii(x)[1:-1] for x in label)
