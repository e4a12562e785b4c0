# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The costs of pre-training in the ViT paper (tables 2 and 6)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vit_jax import models


class Cost(NamedTuple):
  """The cost of a pre-training.

  Attributes:
    exaflops: exaFLOPs (table 6).
    core_days: TPUv3-core-days (table 2); a chip has two cores.
  """

  exaflops: float | None = None
  core_days: float | None = None


JFT, IMAGENET21K = "tfds:jft300m", "tfds:imagenet21k"

# (model, data, epochs) -> cost.
COSTS = {
  ("B/32", JFT, 7): Cost(55),
  ("B/16", JFT, 7): Cost(224),
  ("L/32", JFT, 7): Cost(196),
  ("L/16", JFT, 7): Cost(783),
  ("L/16", JFT, 14): Cost(1567, 680),
  ("L/16", IMAGENET21K, 90): Cost(None, 230),
  ("H/14", JFT, 14): Cost(4262, 2500),
  ("R50x1", JFT, 7): Cost(50),
  ("R152x2", JFT, 14): Cost(1126),
  ("R200x3", JFT, 14): Cost(3306),
  ("R50+B/16", JFT, 7): Cost(274),
  ("R50+L/16", JFT, 14): Cost(1668),
}


def get_cost(config: Mapping[str, Any]) -> Cost | None:
  """The paper's cost of a config's pre-training; None if it gives none."""
  model, train = config["model"], config["train"]
  _, fields = models.get_row(model["variant"])
  changed = any(model[field] != value for field, value in fields.items())
  if changed or train["steps"] is not None:
    return None
  key = model["variant"], config["data"]["source"], train["epochs"]
  return COSTS.get(key)
