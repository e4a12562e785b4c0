# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy under common corruptions of five severities.

Hendrycks and Dietterich, 2019, arXiv 1903.12261: see
`perturbations.corruptions`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np

from vit_jax.config import (
  ConfigError,
  Interval,
  check_distinct,
  nearest,
  raise_all,
)
from vit_jax.evaluators.robustness import (
  MEAN,
  Changed,
  Curve,
  Robustness,
)
from vit_jax.perturbations.corruptions import (
  JPEG,
  NAMES,
  SEVERITIES,
  compress,
  corrupt,
)
from vit_jax.train_state import Batch, TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruptions(Robustness):
  """Accuracy under common corruptions.

  Attributes:
    names: of the corruptions; None is all fourteen.
    severities: from 1 to 5.

  Raises:
    ConfigError: for a corruption that there is not.
  """

  POINTS = "severities"
  AXIS = "severity (1 to 5)"

  names: tuple[str, ...] | None = None
  severities: tuple[Annotated[int, Interval("[1, 5]")], ...] = SEVERITIES

  def __post_init__(self):
    super().__post_init__()
    raise_all(check_distinct("names", self.names))
    for name in self.names or ():
      if name not in NAMES:
        raise ConfigError(
          f"names of an evaluation, {name!r}: {nearest(name, NAMES)}"
        )

  @functools.cached_property
  def corrupt(self) -> Any:
    """The jitted function (name, images, keys, severity) -> images."""
    return jax.jit(corrupt, static_argnums=0)

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields corrupted images."""
    del params
    for name in NAMES if self.names is None else self.names:
      for severity in self.severities:
        if name == JPEG:
          images = compress(batch["image"], severity)
        else:
          images = self.corrupt(name, batch["image"], keys, np.int32(severity))
        yield name, float(severity), images

  def measure(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> list[Curve]:
    """Computes the curves, and as the first one the mean of all.

    Its examples are those of each corruption, one after another.
    """
    curves = super().measure(state, mark)
    if len(curves) == 1:
      return curves
    sums = np.sum([curve.correct for curve in curves], axis=0)
    total = sum(curve.total for curve in curves)
    mean = curves[0]._replace(
      name=MEAN, correct=tuple(map(int, sums)), total=total
    )
    return [mean, *curves]
