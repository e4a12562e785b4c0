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
used. Predictions are among all classes.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from vit_jax.config import ConfigError
from vit_jax.data.examples import Examples
from vit_jax.data.folder_names import normalize
from vit_jax.storage.paths import locate
from vit_jax.storage.untrusted import MAX_TEXT, parse_json, read_file


@dataclasses.dataclass(frozen=True)
class LabelMap:
  """Labels of classes or images of a data set.

  Attributes:
    path: file that it was read from.
    sha256: digest of the file.
    classes: class of the data -> classes of the weights; None if by image.
    images: name of an image -> classes of the weights, or lists in the order
      of the images' names; None if by class.
  """

  path: str
  sha256: str
  classes: Mapping[str, tuple[Any, ...]] | None = None
  images: Mapping[str, tuple[Any, ...]] | Sequence[tuple[Any, ...]] | None = (
    None
  )

  def find_used(self, names: Sequence[str], count: int) -> list[int]:
    """Finds the weights' classes that predictions are among, sorted.

    Args:
      names: names of the classes of the weights; empty if unknown.
      count: their number.

    Raises:
      ConfigError: for a class that the weights do not have.
    """
    if self.classes is None:
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
    index = {normalize(name): i for i, name in enumerate(ours)}
    found = {}
    for name, values in (self.classes or {}).items():
      if normalize(name) not in index:
        raise ConfigError(
          f"{self.path} has the class {name!r}, which the data do not have"
        )
      labels = self._find_indices(values, names, count)
      found[index[normalize(name)]] = tuple(labels)
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
    files = [os.path.basename(image) for image in images]
    if not isinstance(known, Mapping):
      if len(known) != len(files) or len({*files}) != len(files):
        raise ConfigError(
          f"{self.path} has labels of {len(known):,} images in the order of "
          f"their names, and the data have {len({*files}):,} names of "
          f"{len(files):,} images"
        )
      known = dict(zip(sorted(files), known, strict=True))
    lacking = [x for x in files if x not in known]
    if lacking:
      raise ConfigError(
        f"{self.path} lacks {len(lacking):,} of {len(files):,} images, as "
        f"{lacking[0]!r}"
      )
    return [tuple(self._find_indices(known[x], names, count)) for x in files]

  def _find_indices(
    self, values: Sequence[Any], names: Sequence[str], count: int
  ) -> list[int]:
    """Indices of the weights' classes, which are given as such or by name."""
    index: dict[str, int | None] = {}
    for i, name in enumerate(names):  # Of several with a name it is unclear.
      index[normalize(name)] = None if normalize(name) in index else i
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
      read = {name: _read_labels(x) for name, x in found.items()}
      return LabelMap(path, digest, **{kind: read})
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
  """

  source: Sequence[Any]

  def __call__(self, item: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
    index, labels = item
    label = labels[0] if len(labels) == 1 else list(labels)
    return self.source[index] | {"label": label}


def relabel(
  source: Sequence[Any], labels: Sequence[tuple[int, ...]]
) -> Examples:
  """Gives the examples of a source other labels; without any they are left out.

  Args:
    source: the examples.
    labels: of each, as indices.
  """
  items = [(i, found) for i, found in enumerate(labels) if found]
  return Examples(items, Relabelled(source))


def list_names(source: Sequence[Any]) -> list[str]:
  """Lists the paths of a folder's images; the indices of others."""
  items: Any = getattr(source, "items", None)
  if is_folder(items):
    return [path for path, _ in items]
  return [str(i) for i in range(len(source))]


def list_images(source: Sequence[Any]) -> list[str]:
  """Lists the paths or file names of a source's images, or their indices.

  Of prepared sets only those that recorded file names have them, and each
  example is read.
  """
  folder = is_folder(getattr(source, "items", None))
  if folder or not len(source) or "file_name" not in source[0]:
    return list_names(source)
  names = (source[i]["file_name"] for i in range(len(source)))
  return [x.decode() if isinstance(x, bytes) else str(x) for x in names]


def list_labels(source: Sequence[Any]) -> list[int]:
  """Lists the classes of a source's images; of prepared sets it reads each."""
  items: Any = getattr(source, "items", None)
  if is_folder(items):
    return [label for _, label in items]
  return [int(source[i]["label"]) for i in range(len(source))]


def is_folder(items: Any) -> bool:
  """Whether these are the items of a folder's examples, (path, class)."""
  return (
    isinstance(items, list)
    and bool(items)
    and isinstance(items[0], tuple)
    and isinstance(items[0][0], str)
  )
