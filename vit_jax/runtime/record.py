# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint records of a run beside its state.

The sums of the steps since the last row, so that the next row covers its whole
interval; and the values by which evaluations decide on the run, which would
otherwise be lost with metrics.jsonl.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from vit_jax.config import ConfigError


def make_record(
  step: int,
  sums: Mapping[str, tuple[float, float]],
  watched: Iterable[tuple[str, Mapping[int, float]]],
) -> dict[str, Any]:
  """Makes what the metadata of a checkpoint say of the log.

  Args:
    step: step of the checkpoint.
    sums: metric -> (sum, count) over the steps since the last row.
    watched: metrics that decide on the run, each with step -> value.
  """
  scores = {
    name: {str(at): float(x) for at, x in values.items() if at <= step}
    for name, values in watched
  }
  return {"sums": dict(sums), "scores": scores}


def _to_float(value: Any) -> float:
  """Returns a number as JSON has it: null is one that is not finite."""
  return math.nan if value is None else float(value)


class Record:
  """The same, read from the metadata of a checkpoint.

  Attributes:
    sums: metric -> (sum, count); empty for a checkpoint without them.
    scores: metric -> step -> value, likewise.
    versions: of the packages that wrote it.
  """

  def __init__(self, metadata: Mapping[str, Any]):
    """Reads it.

    Raises:
      ConfigError: if it is malformed.
    """
    self.versions = metadata.get("versions", {})
    try:
      self.sums = {
        str(name): (_to_float(total), float(count))
        for name, (total, count) in metadata.get("sums", {}).items()
      }
      self.scores = {
        str(name): {int(step): _to_float(x) for step, x in values.items()}
        for name, values in metadata.get("scores", {}).items()
      }
    except (AttributeError, TypeError, ValueError) as error:
      raise ConfigError(
        f"the checkpoint of step {metadata.get('step')} has a malformed "
        f"record of its log: {error}"
      ) from error

  def list_rows(self) -> dict[int, dict[str, float]]:
    """Lists step -> metric -> value of the scores, in the order of steps."""
    rows: dict[int, dict[str, float]] = {}
    for name, values in self.scores.items():
      for step, value in values.items():
        rows.setdefault(step, {})[name] = value
    return dict(sorted(rows.items()))
