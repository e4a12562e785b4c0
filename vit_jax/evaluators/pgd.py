# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy under L-inf PGD: see `perturbations.attacks`.

Madry et al., 2018, arXiv 1706.06083. The attacker knows the model, its
parameters and the label; the gradient passes through the normalisation.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from vit_jax.config import Count, Positive
from vit_jax.evaluators.robustness import Changed, Robustness
from vit_jax.perturbations.attacks import attack_pixels
from vit_jax.train_state import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pgd(Robustness):
  """Accuracy under L-inf PGD (Madry et al., 2018).

  Attributes:
    epsilons: largest changes of a value, in 1/255.
    steps: of each attack, of 2.5 epsilon / steps, from a random start.
  """

  POINTS = "epsilons"
  AXIS = "largest change of a value, epsilon (1/255)"

  epsilons: tuple[Positive, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
  steps: Count = 10

  @functools.cached_property
  def attack(self) -> Any:
    """The jitted function (params, batch, keys, epsilon) -> images."""

    def attack(
      params: Any, batch: Batch, keys: jax.Array, epsilon: jax.Array
    ) -> jax.Array:
      gradient = functools.partial(self.compute_gradient, params, batch)
      return attack_pixels(gradient, batch["image"], keys, epsilon, self.steps)

    return jax.jit(attack)

  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields attacked images."""
    for epsilon in self.epsilons:
      images = self.attack(params, batch, keys, np.float32(epsilon))
      yield "linf", epsilon, images
