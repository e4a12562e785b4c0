# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Maps from a data set's classes or images to the classes of weights.

ImageNet's relatives are photographs of some of its classes (ImageNet-A, -R),
under other names (ImageNetV2, ObjectNet), or have several labels an image
(ReaL). A file says which, in JSON; classes are names or indices.

  {"classes": {"n01440764": 0, "chair": ["rocking chair", "barber chair"]}}

The classes of the data that are left out, and their images, are not used.
Predictions are among the classes that the map names.

  {"images": {"ILSVRC2012_val_00000001.JPEG": [65], ...}}    or    [[65], ...]

A list is in the order of the images' names. Images without a label are not
used. Predictions are among all classes. `relatives` has the maps of the sets
that have a name.
"""

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import cv2

from vit_jax.config import ConfigError
from vit_jax.data import transforms
from vit_jax.data.examples import Examples
from vit_jax.data.folder_names import normalize
from vit_jax.storage.paths import locate
from vit_jax.storage.untrusted import MAX_TEXT, parse_json, read_file

# Examples that a thread reads at a time for their names or labels, and the
# number of threads.
PART, THREADS = 100, 16


@dataclasses.dataclass(frozen=True)
class LabelMap:
  """Labels of classes or images of a data set.

  Attributes:
    path: file that it was read from, or its name.
    sha256: digest of the file, or of that which a named map was checked with.
    classes: class of the data -> classes of the weights; None if by image.
    images: name of an image -> classes of the weights, or lists in the order
      of the images' names; None if by class.
    among: "own", that predictions are among the classes that it names, or
      "all"; a map by image names none.
    wnids: of ImageNet's classes, in order, where its indices are of these.
    source: where a named map is published.
    total: images that a named set has labels of.
    border: pixels at each edge of an image that are cut off.
    key: pattern of the part of a file's name that `images` has; None is all.
  """

  path: str
  sha256: str
  classes: Mapping[str, tuple[Any, ...]] | None = None
  images: Mapping[str, tuple[Any, ...]] | Sequence[tuple[Any, ...]] | None = (
    None
  )
  among: str = "own"
  wnids: tuple[str, ...] = ()
  source: str | None = None
  total: int | None = None
  border: int = 0
  key: str | None = None

  def name_classes(self, names: Sequence[str], count: int) -> tuple[str, ...]:
    """Names the classes of weights that have none."""
    if names:
      return tuple(names)
    if len(self.wnids) == count:
      return self.wnids
    return tuple(map(str, range(count)))

  def to_json(self, scored: int) -> dict[str, Any]:
    """What an evaluation records of it.

    Args:
      scored: number of classes that predictions were among.
    """
    found = {"path": self.path, "sha256": self.sha256, "among": scored}
    if self.source is not None:
      found["source"] = self.source
    return found

  def find_used(self, names: Sequence[str], count: int) -> list[int]:
    """Finds the weights' classes that predictions are among, sorted.

    Args:
      names: names of the classes of the weights; empty if unknown.
      count: their number.

    Raises:
      ConfigError: for a class that the weights do not have.
    """
    if self.classes is None or self.among == "all":
      return list(range(count))
    values = [x for found in self.classes.values() for x in found]
    return sorted({*self._find_indices(values, names, count)})

  def find_class_labels(
    self,
    ours: Sequence[str],
    names: Sequence[str],
    count: int,
  ) -> dict[int, tuple[int, ...]]:
    """Finds class of the data -> classes of the weights, by index.

    Args:
      ours: names of the classes of the data.
      names: names of the classes of the weights; empty if unknown.
      count: their number.

    Raises:
      ConfigError: for a class that the weights or the data do not have.
    """
    index = {normalize(name): i for i, name in enumerate(self._read(ours))}
    classes = self.classes or {}
    lacking = [name for name in classes if normalize(name) not in index]
    if lacking:
      raise ConfigError(
        f"{self.path} has {len(lacking):,} of its {len(classes):,} classes "
        f"that the data do not have, as {lacking[0]!r}: give the whole set, or "
        f"a file with the classes that there are"
      )
    found = {}
    for name, values in classes.items():
      labels = self._find_indices(values, names, count)
      found[index[normalize(name)]] = tuple(dict.fromkeys(labels))
    return found

  def find_image_labels(
    self, images: Sequence[str], names: Sequence[str], count: int
  ) -> list[tuple[int, ...]]:
    """Finds the labels of images; an image may have none.

    Args:
      images: paths, or names, of the images.
      names: names of the classes of the weights; empty if unknown.
      count: their number.

    Raises:
      ConfigError: for classes and images that there are not.
    """
    known: Any = self.images
    files = [normalize(os.path.basename(image)) for image in images]
    if self.key is not None:
      matched = [re.search(self.key, x) for x in files]
      files = [x[0] if x else y for x, y in zip(matched, files, strict=True)]
    if not isinstance(known, Mapping):
      if len(known) != len(files) or len({*files}) != len(files):
        raise ConfigError(
          f"{self.path} has labels of {len(known):,} images in the order of "
          f"their names, and the data have {len({*files}):,} names of "
          f"{len(files):,} images"
        )
      known = dict(zip(sorted(files), known, strict=True))
    elif twice := [x for x, n in collections.Counter(files).items() if n > 1]:
      raise ConfigError(
        f"{self.path} has labels by names of files, and {files.count(twice[0])}"
        f" images are {twice[0]!r}: rename one, or give one folder"
      )
    lacking = [x for x in files if x not in known]
    if lacking:
      raise ConfigError(
        f"{self.path} lacks {len(lacking):,} of {len(files):,} images, as "
        f"{lacking[0]!r}"
      )
    # A class that is given twice, perhaps by name and by index, is one label.
    found = (self._find_indices(known[x], names, count) for x in files)
    return [tuple(dict.fromkeys(x)) for x in found]

  def _find_indices(
    self, values: Sequence[Any], names: Sequence[str], count: int
  ) -> list[int]:
    """Indices of the weights' classes, which are given as such or by name."""
    index: dict[str, int | None] = {}
    for i, name in enumerate(names):  # Of several with a name it is unclear.
      index[normalize(name)] = None if normalize(name) in index else i
    if self.wnids and not index.keys().isdisjoint(self.wnids):
      values = [self.wnids[x] for x in values]
    elif self.wnids and count != len(self.wnids):
      raise ConfigError(
        f"{self.path} is of ImageNet's {len(self.wnids):,} classes, and the "
        f"weights have {count:,}, of which none is named by its wnid, as "
        f"{self.wnids[0]}: use weights of the {len(self.wnids):,} classes, or "
        f"name them with --classes=FILE"
      )
    found = []
    for value in values:
      place = value if isinstance(value, int) else index.get(normalize(value))
      if place is None or not 0 <= place < count:
        raise ConfigError(
          f"{self.path} has the class {value!r}, which is not one of the "
          f"{count:,} of the weights: give its name or its index"
        )
      found.append(place)
    return found

  def _read(self, ours: Sequence[str]) -> Sequence[str]:
    """The wnids of classes of the data that are numbered, as ImageNetV2's.

    As strings, "10" would come before "2".
    """
    count = len(self.wnids)
    if all(x.isdecimal() and int(x) < count for x in ours):
      return [self.wnids[int(x)] for x in ours]
    return ours


def load_label_map(path: str, sha256: str | None = None) -> LabelMap:
  """Reads a map.

  Args:
    path: file in JSON.
    sha256: digest that it must have; None for any.

  Raises:
    ConfigError: if it cannot be read, or is another file.
  """
  try:
    data = read_file(locate(path), MAX_TEXT)
    found = parse_json(data)
  except (OSError, ValueError) as error:
    raise ConfigError(f"--label_map={path}: {error}") from error
  digest = hashlib.sha256(data).hexdigest()
  if sha256 is not None and digest != sha256.lower():
    raise ConfigError(
      f"--label_map={path} is another file than was asked for:\n"
      f"  - sha256 {sha256}\n  + sha256 {digest}"
    )
  kind = "images"
  if isinstance(found, Mapping) and len(found) == 1:
    kind, found = next(iter(found.items()))
  try:
    if isinstance(found, Mapping) and kind in ("classes", "images"):
      read = {normalize(name): _read_labels(x) for name, x in found.items()}
      if len(read) < len(found):  # Letters with accents composed, or apart.
        raise ValueError("it has a name twice")
      by_class = kind == "classes"
      return LabelMap(
        path,
        digest,
        classes=read if by_class else None,
        images=None if by_class else read,
      )
    if isinstance(found, list) and kind == "images":
      labels = [_read_labels(x) for x in found]
      return LabelMap(path, digest, images=labels)
  except ValueError as error:
    raise ConfigError(f"--label_map={path}: {error}") from error
  raise ConfigError(
    f"--label_map={path} must hold {{'classes': {{...}}}}, {{'images': "
    f"{{...}}}}, or a list of the labels of each image"
  )


def _read_labels(value: Any) -> tuple[Any, ...]:
  """Reads a class or several; raises ValueError for anything else."""
  values = value if isinstance(value, list) else [value]
  for x in values:
    if isinstance(x, bool) or not isinstance(x, int | str):
      raise ValueError(f"{str(value)[:50]} is no class: give names or indices")
  return tuple(values)


@dataclasses.dataclass(frozen=True)
class Relabelled:
  """Reads the examples of a source under other labels; see `Examples`.

  Attributes:
    source: the examples.
    border: pixels at each edge of an image that are cut off.
  """

  source: Sequence[Any]
  border: int = 0

  def __call__(self, item: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
    index, labels = item
    label = labels[0] if len(labels) == 1 else list(labels)
    found = self.source[index] | {"label": label}
    if self.border:
      found["image"] = cut_border(found["image"], self.border)
    return found


def relabel(
  source: Sequence[Any], labels: Sequence[tuple[int, ...]], border: int = 0
) -> Examples:
  """Gives the examples of a source other labels; without any they are left out.

  Args:
    source: the examples.
    labels: of each, as indices.
    border: pixels at each edge of an image that are cut off.
  """
  items = [(i, found) for i, found in enumerate(labels) if found]
  return Examples(items, Relabelled(source, border))


def cut_border(data: bytes, border: int) -> bytes:
  """Cuts the edges off an encoded image; no other pixel changes."""
  try:
    image = transforms.decode(data, 3)
  except ValueError:
    return data  # Decoding it later reports the error.
  inner = image[border:-border, border:-border, ::-1]  # OpenCV takes BGR.
  if not inner.size:
    return data
  # PPM has the pixels as they are: written and read in no time.
  return cv2.imencode(".ppm", inner)[1].tobytes()


def list_names(source: Sequence[Any]) -> list[str]:
  """Lists the paths of a folder's images; the indices of others."""
  items: Any = getattr(source, "items", None)
  if is_folder(items):
    return [item[0] for item in items]
  return [str(i) for i in range(len(source))]


def list_images(
  source: Sequence[Any], mark: Callable[[], None] = lambda: None
) -> list[str]:
  """Lists the paths or file names of a source's images, or their indices.

  Of prepared sets only those that recorded file names have them, and each
  example is read.

  Args:
    source: the examples.
    mark: called after every PART examples, to show that this proceeds.
  """
  folder = is_folder(getattr(source, "items", None))
  if folder or not len(source) or "file_name" not in source[0]:
    return list_names(source)

  def find_name(index: int) -> str:
    return os.fsdecode(source[index].get("file_name", str(index)))

  return _map(find_name, len(source), mark)


def _map(
  function: Callable[[int], Any], size: int, mark: Callable[[], None]
) -> list[Any]:
  """Applies a function to every index, for `list_images`.

  In threads, for a store takes tens of milliseconds for each example.
  """
  found: list[Any] = []

  def apply(start: int) -> list[Any]:
    return [function(i) for i in range(start, min(start + PART, size))]

  with futures.ThreadPoolExecutor(THREADS) as pool:
    for part in pool.map(apply, range(0, size, PART)):
      found += part
      mark()
  return found


def list_labels(source: Sequence[Any]) -> list[int]:
  """Lists the classes of a source's images; of prepared sets it reads each."""
  items: Any = getattr(source, "items", None)
  if is_folder(items):
    return [label for _, label in items]
  return _map(lambda i: int(source[i]["label"]), len(source), lambda: None)


def is_folder(items: Any) -> bool:
  """Whether these are the items of a folder's examples, (path, class)."""
  return (
    isinstance(items, list)
    and bool(items)
    and isinstance(items[0], tuple)
    and isinstance(items[0][0], str)
  )
