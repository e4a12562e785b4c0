# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Opens the source of data that a config names, as examples by index.

`len(source)`, and `source[i] -> {"image": bytes, "label": int}`. A source is a
set on disk as TFDS writes it, in ArrayRecord, which needs no TensorFlow to read
an example by its index; a folder of images, with classes, masks or neither;
synthetic; or a mixture of these.
"""

import contextlib
import importlib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from vit_jax.config import nearest
from vit_jax.config.errors import quote
from vit_jax.data import (
  folder,
  mixture,
  records,
  segmentation,
  synthetic,
  tfds_builders,
  unlabelled,
  vtab,
)
from vit_jax.data.catalogue import CATALOGUE, get_instructions
from vit_jax.data.fingerprint import describe_set, make_digest
from vit_jax.data.info import DataError, DatasetInfo, make_splits
from vit_jax.storage.paths import locate

# Our own builders. `prepare` writes ImageNet, folders and image lists without
# one, and TFDS has the builders of all other sets.
BUILDERS = {
  "digits": "vit_jax.data.digits.digits_dataset_builder",
}
# What others call imagenet2012.
IMAGENET = ("imagenet", "imagenet1k", "imagenet-1k", "ilsvrc2012")

# Where TFDS keeps prepared sets, unless a user says otherwise.
DATA_DIR = tfds.core.constants.DATA_DIR
# Folders by what they hold: each has info, open, describe and facts.
FOLDERS: dict[str, Callable[[str], Any]] = {
  "folder": folder.load_folder,
  "segmentation": segmentation.load_masked,
  "images": unlabelled.load_images,
}
KINDS = ("tfds", *FOLDERS, "synthetic", "vtab", "mix")

DIGEST = re.compile("[0-9a-f]{16}")  # Digests of `make_digest`.

# Sets that need no download -> number of their images to train on.
EMBEDDED = {"digits": 1_437}


def parse_source(source: str) -> tuple[str, str]:
  """Splits "tfds:NAME", "folder:DIR" and so on into the kind and the name."""
  kind, _, name = source.partition(":")
  if kind not in KINDS or not name:
    if os.path.isdir(source):
      raise DataError(
        f"data.source={quote(source)} is a folder: write 'folder:{source}'"
      )
    raise DataError(
      f"data.source={quote(source)} is invalid: write tfds:NAME, as "
      f"'tfds:digits', folder:DIR, as 'folder:photos', segmentation:DIR, "
      f"images:DIR, vtab:TASK, synthetic:CLASSES or "
      f"mix:WEIGHT*SOURCE,WEIGHT*SOURCE"
    )
  if kind in FOLDERS:
    locate(name.partition("#")[0])  # Refuses ~unknown and other schemes.
  return kind, name


def find_dataset(source: str) -> str:
  """Finds TFDS's name of the set that tfds:NAME or vtab:TASK reads."""
  kind, name = parse_source(source)
  return vtab.get_task(name).dataset if kind == "vtab" else name


def resolve_data_dir(data_dir: str | None) -> epath.Path:
  """Returns where prepared sets are stored: as given, or TFDS's default."""
  return locate(data_dir or DATA_DIR)


def find_directory(name: str, data_dir: str | None) -> epath.Path | None:
  """Finds the directory of the newest prepared version of a set, or None.

  Args:
    name: name of the set, as cifar10, with its configuration if it has any, as
      imagenet_v2/matched-frequency.
    data_dir: where prepared sets are stored.
  """
  root = resolve_data_dir(data_dir) / name
  versions = {}
  # TFDS writes to 1.0.0.incompleteXYZ until a version is complete.
  for path in root.iterdir() if root.exists() else ():
    is_version = re.fullmatch(r"\d+\.\d+\.\d+", path.name)
    if is_version and (path / "dataset_info.json").exists():
      versions[tuple(map(int, path.name.split(".")))] = path
  return versions[max(versions)] if versions else None


def make_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
  """Makes the builder of a set, ours or TFDS's, that writes ArrayRecord.

  Raises:
    DataError: if there is no such set.
  """
  where = resolve_data_dir(data_dir)
  if name in BUILDERS:
    module = importlib.import_module(BUILDERS[name])
    return module.Builder(data_dir=where, file_format="array_record")
  try:
    return tfds.builder(name, data_dir=where, file_format="array_record")
  except (tfds.core.registered.DatasetNotFoundError, AssertionError) as error:
    known = name in CATALOGUE
    how = get_instructions(name) if known else suggest(name, list_builders())
    raise DataError(f"unknown data set {name!r}: {how}") from error


def list_builders() -> list[str]:
  """Lists the sets that TFDS can make."""
  return tfds.list_builders(with_community_datasets=False)


def suggest(name: str, builders: Iterable[str]) -> str:
  """Suggests the set of a recipe or of TFDS whose name is near."""
  others = {builder: builder for builder in builders}
  others |= dict.fromkeys(IMAGENET, "imagenet2012")
  return nearest(name, {*BUILDERS, *CATALOGUE}, elsewhere=others)


def load_info(source: str, data_dir: str | None = None) -> DatasetInfo:
  """Loads the facts of a source: from its files, else from the catalogue.

  Raises:
    DataError: if it is neither prepared nor in the catalogue, or has no images
      with labels.
  """
  kind, name = parse_source(source)
  if kind in FOLDERS:
    return FOLDERS[kind](name).info
  if kind == "synthetic":
    return synthetic.load_info(name)
  if kind == "mix":
    return mixture.load_info(name, lambda part: load_info(part, data_dir))
  directory = find_directory(find_dataset(source), data_dir)
  if kind == "vtab":
    return vtab.load_info(name, directory)
  if directory is None:
    if name not in CATALOGUE:
      raise make_missing_error(source, data_dir)
    entry = CATALOGUE[name]
    splits = make_splits(entry.splits)
    return DatasetInfo(
      name, None, entry.num_classes, (), entry.channels, splits
    )
  info = tfds_builders.open_builder(directory).info
  features = dict(info.features)
  image, label = features.get("image"), features.get("label")
  images = isinstance(image, tfds.features.Image)
  several = isinstance(label, tfds.features.Sequence)
  slots = (label.get_tensor_info().shape[0] or 0) if several else None
  label = label.feature if several else label
  if not images or not isinstance(label, tfds.features.ClassLabel):
    raise DataError(
      f"{source} cannot be used: it has the features {features}, and must have "
      f"an Image named 'image' and a ClassLabel, or a Sequence of them, named "
      f"'label'"
    )
  return DatasetInfo(
    name=name,
    directory=directory,
    num_classes=label.num_classes,
    class_names=tuple(label.names),
    channels=1 if image.shape[-1] == 1 else 3,
    splits=dict(info.splits),
    label_slots=slots,
  )


def describe_source(source: str) -> str | None:
  """Describes a source before training on it; None if there is nothing new."""
  kind, name = parse_source(source)
  if kind == "mix":
    found = map(describe_source, mixture.parse_mixture(name))
    return "\n".join(filter(None, found)) or None
  return FOLDERS[kind](name).describe() if kind in FOLDERS else None


def compute_fingerprint(
  source: str, splits: Sequence[str], data_dir: str | None
) -> dict[str, Any]:
  """Computes the fingerprint of a source: equal for copies of the same data.

  It is cheap: of folders it covers names and sizes, which `folder` has read
  already; for prepared sets see `fingerprint`.

  Args:
    source: source as in a config.
    splits: splits that are used; "train[:90%]" covers all of "train".
    data_dir: where prepared sets are stored.

  Returns:
    Name of a fact -> a number, a text, or a digest.
  """
  kind, name = parse_source(source)
  if kind == "mix":
    return {
      f"{part}: {key}": value
      for part in mixture.parse_mixture(name)
      for key, value in compute_fingerprint(part, splits, data_dir).items()
    }
  info = load_info(source, data_dir)
  names = {found[0] for x in splits for found in info.find_ranges(x)}
  facts = {
    "classes": info.num_classes,
    "class names": make_digest(info.class_names),
  }
  if kind in FOLDERS:
    by_split = FOLDERS[kind](name).facts
    return facts | {
      f"{split} {key}": value
      for split in sorted(names)
      for key, value in by_split[split].items()
    }
  if kind == "synthetic":
    sizes = {f"{x} examples": info.splits[x].num_examples for x in names}
    return facts | sizes
  directory = find_directory(find_dataset(source), data_dir)
  if directory is None:
    raise make_missing_error(source, data_dir)
  # A split of VTAB may be cut out of any split of its set.
  return facts | describe_set(directory, names if kind == "tfds" else None)


def describe_changes(
  before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[str]:
  """Lists the changes between two fingerprints; empty if there are none.

  Facts that only one of them has are ignored: they come from an evaluation of
  another split, or from another version of this package.

  Args:
    before, now: fingerprints of `compute_fingerprint`.
  """
  lines = []
  for key in [
    key for key in before if before[key] != now.get(key, before[key])
  ]:
    values = before[key], now[key]
    if all(DIGEST.fullmatch(str(value)) for value in values):
      lines.append(f"{key} changed")
    else:
      old, new = (f"{x:,}" if isinstance(x, int) else x for x in values)
      lines.append(f"{key}: {old}, now {new}")
  rule = {key: x for key, x in now.items() if key.endswith(" held out")}
  if lines and rule.keys() - before.keys():
    lines.append(
      f"images are held out for testing by another rule than when this run "
      f"began, now {next(iter(rule.values()))}: it was trained on some that "
      f"are held out now, so do not start another run from its weights; finish "
      f"it with the version of vit_jax that config.json names"
    )
  return lines


def prepare_embedded(
  source: str, data_dir: str | None, say: Callable[[str], None]
) -> None:
  """Writes those sets of a source that need no download and are missing.

  Args:
    source: source as in a config.
    data_dir: where prepared sets are stored.
    say: called with a message for each set.
  """
  for name in list_embedded(source):
    if find_directory(name, data_dir) is None:
      write_embedded(name, data_dir, say)


def list_embedded(source: str) -> list[str]:
  """Lists the names of those sets of a source that need no download."""
  kind, name = parse_source(source)
  if kind == "mix":
    parts = map(list_embedded, mixture.parse_mixture(name))
    return list(itertools.chain.from_iterable(parts))
  return [name] if kind == "tfds" and name in EMBEDDED else []


def count_training_images(source: str, data_dir: str | None) -> int | None:
  """Counts the images of train of a set of TFDS; None if it is not prepared."""
  name = find_dataset(source)
  if find_directory(name, data_dir) is None:
    return EMBEDDED.get(name)  # A run will write it.
  splits = load_info(source, data_dir).splits
  return splits["train"].num_examples if "train" in splits else None


def write_embedded(
  name: str, data_dir: str | None, say: Callable[[str], None]
) -> None:
  """Writes a set that needs no download."""
  say(f"writing the embedded set {name} to {resolve_data_dir(data_dir) / name}")
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      make_builder(name, data_dir).download_and_prepare()
  except OSError as error:
    raise DataError(
      f"{name} cannot be written to {resolve_data_dir(data_dir)}: {error}\n"
      f"  choose another directory with: --config.data.dir=DIR"
    ) from error
  finally:
    tfds.enable_progress_bar()


def make_missing_error(source: str, data_dir: str | None) -> DataError:
  """Makes the error for a set that is not on disk, with how to prepare it."""
  name = find_dataset(source)
  how, builders = get_instructions(name), list_builders()
  if name.partition("/")[0] not in {*BUILDERS, *CATALOGUE, *builders}:
    how = (
      f"unknown data set {name!r}: {suggest(name, builders)}\n"
      f"  a list of your own images is prepared with: python -m "
      f"vit_jax.prepare manifest:FILE --name={name}"
    )
  return DataError(
    f"data.source={source!r} is not prepared: there is no "
    f"{resolve_data_dir(data_dir) / name}/VERSION/dataset_info.json\n"
    f"  {how}\n"
    f"  if it is elsewhere, give: --config.data.dir=DIR"
  )


def open_source(
  source: str, split: str, data_dir: str | None = None
) -> Sequence[dict[str, Any]]:
  """Opens a split for reading by index; images stay encoded.

  Raises:
    DataError: if the set is not prepared, or not in ArrayRecord.
  """
  kind, name = parse_source(source)
  if kind in FOLDERS:
    return FOLDERS[kind](name).open(split)
  if kind == "synthetic":
    return synthetic.open_source(name, split)
  if kind == "mix":
    return mixture.open_mixture(
      name,
      lambda part: load_info(part, data_dir),
      lambda part: open_source(part, split, data_dir),
    )
  dataset = find_dataset(source)
  directory = find_directory(dataset, data_dir)
  if directory is None:
    raise make_missing_error(source, data_dir)
  builder = tfds_builders.open_builder(directory)
  file_format = builder.info.file_format
  if file_format is not tfds.core.FileFormat.ARRAY_RECORD:
    raise DataError(
      f"{directory} has the format {file_format.value}, which cannot be read "
      f"by index: delete it and {get_instructions(dataset)}"
    )
  load_info(source, data_dir).count(split)  # Raises if there is no such split.
  if kind == "vtab":
    return vtab.open_source(name, split, builder)
  # Other features are not used, so they are not decoded.
  features = tfds.features.FeaturesDict(
    {
      name: feature
      for name, feature in builder.info.features.items()
      if name in ("image", "label")
      or (name == "file_name" and isinstance(feature, tfds.features.Text))
    }
  )
  found = records.open_records(builder.info, split)
  return records.make_examples(found, features)
