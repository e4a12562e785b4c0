# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Counting unreadable images during a run, up to data.max_unreadable."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vit_jax.data import transforms
from vit_jax.data.examples import describe_example
from vit_jax.data.info import DataError

SHOWN = 5  # Files of an error.

log = logging.getLogger(__name__)


class Unreadable:
  """Counts unreadable images, logs each once, and fails above a share of all.

  Attributes:
    found: indices of the unreadable images so far.
  """

  def __init__(
    self,
    source: Sequence[dict[str, Any]],
    share: float,
    instead: str = "the next takes its place",
  ):
    """Starts without unreadable images.

    Args:
      source: the examples.
      share: largest share of them that may be unreadable.
      instead: replacement of an unreadable image, for the log.
    """
    self.found: set[int] = set()
    self._source = source
    # One is no reason to end, unless none is allowed.
    self._allowed = max(int(share * len(source)), int(share > 0))
    self._instead = instead

  def add(self, indices: np.ndarray) -> None:
    """Adds the indices of a batch's unreadable images.

    Args:
      indices: int64 [B]; -1 is a readable image.

    Raises:
      DataError: if there are now more than allowed.
    """
    before = len(self.found)
    new = sorted({int(x) for x in indices if x >= 0} - self.found)
    self.found.update(new)
    if new and len(self.found) > self._allowed:
      shown = map(self._explain, new[:SHOWN])
      lines = [f"{name} is unreadable: {reason}" for name, reason in shown]
      if len(new) > SHOWN:
        lines.append(f"and {len(new) - SHOWN:,} more")
      share = f"--config.data.max_unreadable={self._suggest():g}"
      without = f"set {share} to go on without them, or "
      if len(self.found) == len(self._source):
        without = ""
      raise DataError(
        "\n  ".join(lines) + "\n"
        f"  {len(self.found):,} of {len(self._source):,} images are "
        f"unreadable since this process started, and data.max_unreadable "
        f"allows {self._allowed:,}: {without}repair or remove them; a run that "
        f"began with them then needs another --workdir"
      )
    for number, index in enumerate(new, before + 1):
      log.warning(
        "unreadable image %s of %s allowed, %s: %s: %s",
        f"{number:,}",
        f"{self._allowed:,}",
        self._instead,
        *self._explain(index),
      )

  def _explain(self, index: int) -> tuple[str, str]:
    """The name of an unreadable image, and what is wrong with it.

    It is read again, as workers can send nothing but arrays.
    """
    example = self._source[index]
    try:
      transforms.decode(example["image"], 3)
      reason = "it could not be decoded before, and now can"
    except ValueError as error:
      reason = str(error)
    return describe_example(example, index), reason

  def _suggest(self) -> float:
    """A share of two digits that allows ten times as many, or a tenth of all.

    Twice as many where they are more than that.
    """
    share = len(self.found) / max(1, len(self._source))
    share = min(10 * share, max(0.1, 2 * share))
    return min(1.0, float(f"{share:.1e}"))

  def watch(
    self, batches: Iterator[dict[str, np.ndarray]]
  ) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches without "unreadable", which is counted here."""
    for batch in batches:
      self.add(batch["unreadable"])
      yield {name: x for name, x in batch.items() if name != "unreadable"}
