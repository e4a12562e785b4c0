# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a set: ArrayRecord shards of examples serialised by TFDS."""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from etils import epath

from vit_jax.data import transforms
from vit_jax.data.info import DataError
from vit_jax.prepare.listing import THREADS, Meter, Source, Split
from vit_jax.storage.files import write_json
from vit_jax.storage.untrusted import load_json

# One image a chunk, for random access; images are compressed already.
OPTIONS = "group_size:1,uncompressed"

# (path, bytes as TFDS writes them or None, reason for None).
Serialized = tuple[str, bytes | None, str]


def make_features(source: Source) -> tfds.features.FeaturesDict:
  """Makes TFDS's description of an example; several labels are padded by -1."""
  label = tfds.features.ClassLabel(names=list(source.class_names))
  if source.slots > 1:
    label = tfds.features.Sequence(label, length=source.slots)
  return tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(),
      "label": label,
      "file_name": tfds.features.Text(),
    }
  )


class Serializer:
  """Function from an index to a serialised example; runs in any thread."""

  def __init__(
    self,
    split: Split,
    features: tfds.features.FeaturesDict,
    slots: int,
    verify: bool,
  ):
    """Serialises the examples of one split.

    Args:
      split: the examples.
      features: from `make_features`.
      slots: largest number of labels of an image (s).
      verify: whether to decode every image.
    """
    self._split, self._features = split, features
    self._slots, self._verify = slots, verify
    self._serializer = tfds.core.example_serializer.ExampleSerializer(
      features.get_serialized_info()
    )

  def __call__(self, index: int) -> Serialized:
    """Reads and serialises an example.

    Raises:
      DataError: if the disk fails; an unreadable image is returned as such.
    """
    try:
      name, image, labels = self._split.load(index)
      if self._verify:
        transforms.decode(image, 3)
    except DataError:
      raise
    except (FileNotFoundError, PermissionError) as error:
      return self._split.locate(index), None, error.strerror
    except OSError as error:
      raise DataError(
        f"{self._split.locate(index)} cannot be read: {error}"
      ) from error
    except ValueError as error:
      return self._split.locate(index), None, str(error)
    padded = labels + [-1] * (self._slots - len(labels))
    example = self._features.encode_example(
      {
        "image": image,
        "label": padded if self._slots > 1 else labels[0],
        "file_name": os.fsencode(name),
      }
    )
    proto = self._serializer.get_tf_example(example)
    # Deterministic: otherwise the order of features varies by process.
    return name, proto.SerializeToString(deterministic=True), ""


def map_ahead(
  pool: futures.Executor, function: Callable[[int], Serialized], items: Iterable
) -> Iterator[Serialized]:
  """Maps in order, with some calls in flight while results are used."""
  items = iter(items)
  queue = collections.deque()
  while True:
    for item in itertools.islice(items, 4 * THREADS - len(queue)):
      queue.append(pool.submit(function, int(item)))
    if not queue:
      return
    yield queue.popleft().result()


class Shard:
  """A file of a split. It is complete once its report exists.

  Attributes:
    path: path of the file.
  """

  def __init__(
    self, directory: epath.Path, name: str, split: str, index: int, count: int
  ):
    """Names the shard `index` of `count` of a split of the set `name`."""
    self._index, self._count = index, count
    self.path = (
      directory / f"{name}-{split}.array_record-{index:05d}-of-{count:05d}"
    )
    self._report = directory / "shards" / f"{split}-{index:05d}.json"

  def cut(self, order: np.ndarray) -> np.ndarray:
    """Cuts this shard's examples out of the order of all of the split."""
    start, stop = (
      i * len(order) // self._count for i in (self._index, self._index + 1)
    )
    return order[start:stop]

  def load_report(self) -> dict[str, Any] | None:
    """Loads the report of `write_examples`; None if the shard is incomplete."""
    if not (self._report.exists() and self.path.exists()):
      return None
    report = load_json(self._report)
    return report if self.path.stat().length == report["bytes"] else None

  def save_report(self, report: dict[str, Any]) -> None:
    """Marks the shard as complete."""
    write_json(self._report, report)


def write_examples(
  path: epath.Path, examples: Iterable[Serialized], meter: Meter
) -> dict[str, Any]:
  """Writes an ArrayRecord file.

  Returns:
    {"images": number written, "bytes": size of the file, "bad": [(path, reason)
    of each unreadable image]}.
  """
  images, bad = 0, []
  try:
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), OPTIONS)
    for name, data, reason in examples:
      if data is None:
        bad.append((name, reason))
      else:
        writer.write(data)
        images += 1
      meter.add()
    writer.close()
  except RuntimeError as error:  # ArrayRecord's error for a full disk.
    raise OSError(str(error)) from error
  return {"images": images, "bytes": path.stat().length, "bad": bad}
