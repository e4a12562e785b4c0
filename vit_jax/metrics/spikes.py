# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Detecting loss spikes."""

import collections
import statistics


class SpikeDetector:
  """Detects a loss far above those before it; the same on all hosts.

  Its level is the median, which a few spikes hardly move.
  """

  HISTORY = 20  # Log intervals.
  DEVIATIONS, SHARE = 6.0, 0.1  # Above the median, both of them.

  def __init__(self):
    self._losses = collections.deque(maxlen=self.HISTORY)

  def add(self, loss: float) -> float | None:
    """Takes the mean loss of a log interval.

    Returns:
      The median of the 20 intervals before, if the loss is above it by more
      than 6 standard deviations and by 10 %, else None; None, too, for the
      first 20. A deviation is 1.4826 times the median distance from the
      median, as for a normal distribution.
    """
    before = list(self._losses)
    self._losses.append(loss)
    if len(before) < self.HISTORY:
      return None
    level = statistics.median(before)
    deviation = 1.4826 * statistics.median(abs(x - level) for x in before)
    bound = max(self.DEVIATIONS * deviation, self.SHARE * abs(level))
    return level if loss - level > bound else None
