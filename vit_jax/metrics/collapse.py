# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Noticing that representations collapse: that all images come to look alike.

The loss of an objective that compares views can look well while they do.
"""

from collections.abc import Callable, Mapping


class CollapseDetector:
  """Warns once, when enough rows one after another show a collapse.

  Not at the beginning: an encoder that has learned nothing yet tells images
  apart as little as one that has collapsed.
  """

  ROWS = 3
  BEGINNING = 0.1  # Share of the run.

  def __init__(
    self, find: Callable[[Mapping[str, float]], str | None], steps: int
  ):
    """Has seen nothing yet.

    Args:
      find: an objective's `find_collapse`.
      steps: length of the run.
    """
    self._find, self._first = find, self.BEGINNING * steps
    self._rows = 0

  def add(self, step: int, values: Mapping[str, float]) -> str | None:
    """Takes the metrics of a row; returns what to warn of, if anything."""
    found = self._find(values) if step >= self._first else None
    self._rows = self._rows + 1 if found else 0
    return found if self._rows == self.ROWS else None
