# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Examples in ArrayRecord files, by index, in bounded memory.

The library's own source keeps every file open once it was read, with an index
of its records in memory: 13 bytes a record and a handle a file. For 300 million
images these are 4 GB, and more files than a process may open.
"""

import bisect
import collections
import dataclasses
import functools
import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from vit_jax.data.examples import Examples
from vit_jax.data.info import DataError, make_read_error

# Files open at a time. One of 4,000 records takes 50 KiB; reopening one takes a
# millisecond, a fraction of the time to decode an image.
MAX_OPEN = 500

# Reading ahead is useless, for records are read in random order.
OPTIONS = "readahead_buffer_size:0"
BUFFER_BYTES = 32_768


@dataclasses.dataclass(frozen=True)
class Part:
  """Consecutive records of a file.

  Attributes:
    path: path of the file.
    skip: number of records before the first.
    take: number of records.
  """

  path: str
  skip: int
  take: int


class Records:
  """Records of many files, by index; safe for any number of threads.

  Taking a record raises DataError if its file is missing, or damaged there.
  """

  def __init__(self, parts: Sequence[Part], max_open: int = MAX_OPEN):
    """Opens no file yet.

    Args:
      parts: records in order.
      max_open: number of files that are open at a time.
    """
    self._parts = list(parts)
    self._max_open = max_open
    self._stops = list(itertools.accumulate(part.take for part in parts))
    self._forget()

  def _forget(self) -> None:
    # Least recently used first. A reader that is dropped while another thread
    # reads from it is closed when that thread is done.
    self._readers: collections.OrderedDict[str, ArrayRecordReader] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()

  def __getstate__(self) -> dict[str, Any]:
    # A worker process opens its own files.
    state = self.__dict__.copy()
    del state["_readers"], state["_lock"]
    return state

  def __setstate__(self, state: Mapping[str, Any]) -> None:
    self.__dict__.update(state)
    self._forget()

  def __len__(self) -> int:
    return self._stops[-1] if self._stops else 0

  def __getitem__(self, index: int) -> bytes:
    if not 0 <= index < len(self):
      raise IndexError(index)
    path, place = self._find(index)
    try:
      record = self._open(path).read([place])[0]
    except (RuntimeError, IndexError) as error:  # Errors of the library.
      raise make_read_error(path, f"record {place:,}: {error}") from error
    # The library returns an empty record past the end of a file that was cut
    # while it was open; no example is empty.
    if not record:
      raise make_read_error(path, f"record {place:,} is missing")
    return record

  def locate(self, index: int) -> str:
    """Describes the place of a record, for reports."""
    path, place = self._find(index)
    return f"record {place:,} of {path}"

  def _find(self, index: int) -> tuple[str, int]:
    """Finds the file of a record, and its number there."""
    number = bisect.bisect_right(self._stops, index)
    part = self._parts[number]
    return part.path, part.skip + index - (self._stops[number] - part.take)

  def _open(self, path: str) -> ArrayRecordReader:
    with self._lock:
      if path in self._readers:
        self._readers.move_to_end(path)
        return self._readers[path]
    # Outside of the lock, so that other threads go on while a disk is slow.
    reader = ArrayRecordReader(
      path, options=OPTIONS, file_reader_buffer_size=BUFFER_BYTES
    )
    with self._lock:
      self._readers[path] = reader
      self._readers.move_to_end(path)
      while len(self._readers) > self._max_open:
        self._readers.popitem(last=False)
    return reader


def parse_example(
  records: Records, features: tfds.features.FeaturesDict, index: int
) -> dict[str, Any]:
  """Parses an example that TFDS wrote; its image stays encoded.

  Args:
    records: where the example is stored.
    features: those to parse; others are skipped.
    index: index of the record.

  Raises:
    DataError: if the record cannot be read, or holds no such example.
  """
  record = records[index]
  try:
    return features.deserialize_example_np(
      record, decoders={"image": tfds.decode.SkipDecoding()}
    )
  except Exception as error:  # Untrusted bytes can cause any.
    raise DataError(
      f"{records.locate(index)} is not an example of its set ({error}): copy "
      f"the file again, or prepare the set again"
    ) from error


def _parse_labelled(
  records: Records, features: tfds.features.FeaturesDict, index: int
) -> dict[str, Any]:
  """Parses an example, and checks its label or labels; raises DataError."""
  example = parse_example(records, features, index)
  label = np.asarray(example["label"])
  feature = features["label"]
  num_classes = getattr(feature, "feature", feature).num_classes
  least = -1 if label.ndim else 0  # Several labels are padded with -1.
  wrong = label[(label < least) | (label >= num_classes)]
  if wrong.size:
    raise DataError(
      f"{records.locate(index)} has the label {wrong[0]}, where there are "
      f"{num_classes:,} classes: prepare the set again"
    )
  return example


def make_examples(
  records: Records, features: tfds.features.FeaturesDict
) -> Examples:
  """Makes labelled examples of records that TFDS wrote.

  Args:
    records: one an example.
    features: "image", "label", and perhaps "file_name".
  """
  read = functools.partial(_parse_labelled, records, features)
  return Examples(range(len(records)), read)


def open_records(info: Any, split: str) -> Records:
  """Opens the records of a split, as "train[:90%]".

  Args:
    info: TFDS's DatasetInfo of the set.
    split: slices of its splits.
  """
  return Records(
    [
      Part(str(file.filename), file.skip, file.take)
      for file in info.splits[split].file_instructions
    ]
  )
