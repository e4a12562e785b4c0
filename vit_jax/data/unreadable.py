# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What becomes of images that can not be read in the middle of a run."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vit_jax.data import transforms
from vit_jax.data.examples import get_name
from vit_jax.data.info import DataError

log = logging.getLogger(__name__)


class Unreadable:
  """Counts unreadable images, logs each once, and stops above a share of all.

  Attributes:
    found: indices of those that were met so far.
  """

  def __init__(
    self,
    source: Sequence[dict[str, Any]],
    share: float,
    instead: str = "the next takes its place",
  ):
    """Nothing is read yet.

    Args:
      source: what the indices are of.
      share: of it that may be unreadable.
      instead: what happens to one.
    """
    self.found: set[int] = set()
    self._source = source
    self._allowed = int(share * len(source))
    self._instead = instead

  def add(self, indices: np.ndarray) -> None:
    """Takes the indices of a batch's unreadable images, -1 for none.

    Raises:
      DataError: if there are more by now than are allowed.
    """
    for index in sorted({int(x) for x in indices if x >= 0} - self.found):
      self.found.add(index)
      # Read again, for workers can not send words along with arrays.
      example = self._source[index]
      try:
        transforms.decode(example["image"], 3)
        reason = "it could not be decoded, and now it can"
      except ValueError as error:
        reason = str(error)
      name = get_name(example, index)
      if len(self.found) > self._allowed:
        raise DataError(
          f"{name} is unreadable: {reason}\n"
          f"  that makes {len(self.found):,} of {len(self._source):,} images "
          f"since this process started, and data.max_unreadable allows "
          f"{self._allowed:,}: mend or remove them, or raise "
          f"--config.data.max_unreadable"
        )
      log.warning(
        "unreadable image %s of %s allowed, %s: %s: %s",
        f"{len(self.found):,}",
        f"{self._allowed:,}",
        self._instead,
        name,
        reason,
      )

  def watch(
    self, batches: Iterator[dict[str, np.ndarray]]
  ) -> Iterator[dict[str, np.ndarray]]:
    """The batches, without what was for this class alone."""
    for batch in batches:
      self.add(batch["unreadable"])
      yield {name: x for name, x in batch.items() if name != "unreadable"}
