# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Examples of a source, by index; their images are encoded."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vit_jax.data.info import DataError


@dataclasses.dataclass(frozen=True)
class Examples(Sequence):  # Untyped: run-time type checks would read items.
  """Examples by index, each read when it is asked for; images stay encoded.

  Both attributes are pickled into worker processes.

  Attributes:
    items: one an example: indices (a `range` takes no memory), paths, records.
    read: item -> {"image": bytes, "label": int or ints, perhaps a name}.
  """

  items: Sequence[Any]
  read: Callable[[Any], dict[str, Any]]

  def __len__(self) -> int:
    return len(self.items)

  def __getitem__(self, index: int) -> dict[str, Any]:
    return self.read(self.items[index])


def thin(source: Sequence[Any], limit: int | None) -> Sequence[Any]:
  """Takes a number of examples, evenly from all; all if there are no more."""
  size = len(source)
  if limit is None or size <= limit:
    return source
  return Examples([i * size // limit for i in range(limit)], source.__getitem__)


def pad_labels(label: Any, slots: int | None) -> np.ndarray:
  """Converts a label, or several, to int32 [], or [s] if there are slots.

  Raises:
    DataError: if there are more labels than slots.
  """
  if slots is None:
    return np.asarray(label, np.int32)
  labels = np.atleast_1d(np.asarray(label, np.int32))
  labels = labels[labels >= 0]
  if len(labels) > slots:
    raise DataError(
      f"an image has {len(labels)} labels, more than data.label_slots={slots}: "
      f"set --config.data.label_slots to the largest number of any image"
    )
  padded = np.full(slots, -1, np.int32)
  padded[: len(labels)] = labels
  return padded


def describe_example(example: dict[str, Any], index: int) -> str:
  """Names an example in a message: by its path if it has one."""
  name = example.get("name", example.get("file_name"))
  if isinstance(name, bytes):
    name = name.decode(errors="replace")
  return str(name) if name is not None else f"example {index}"
