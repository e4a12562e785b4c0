# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The few-shot linear probe (ViT paper, section 4.1), in closed form.

Regularised least squares from the features of a few examples of each class to
targets of -1 and 1, as the authors' code has it: features are whitened by the
mean and the standard deviation of those examples, and a constant of 100 is
added to them.
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vit_jax.config import Count, Positive, check_distinct, raise_all
from vit_jax.evaluators.probe import Probe, count_classes, put_everywhere
from vit_jax.evaluators.representation import Features, take

CONSTANT = 100.0
EPSILON = 1e-5  # Added to standard deviations.

# Regularisers that "chosen" chooses from.
CHOICES = tuple(2.0**i for i in range(-10, 21, 2))


class Linear(NamedTuple):
  """Scores of classes, x @ kernel + bias.

  Attributes:
    kernel: of the features as they are.
    bias: likewise.
    l2: regulariser that it was fitted with.
  """

  kernel: Float[np.ndarray, "R Y"]
  bias: Float[np.ndarray, "Y"]
  l2: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShot(Probe):
  """Accuracy of the closed-form linear probe, from a few examples of a class.

  The mean over seeds, each of which draws other examples of `train_split`; a
  class that has fewer gives all. Those of fewer shots are among those of more.

  Attributes:
    shots: numbers of examples of each class.
    seeds: how often examples are drawn, with the seeds 0, 1, ...
    l2: weight of the squared parameters in the least squares; "chosen" takes,
      for each drawing, that of 2^-10 to 2^20 by which the examples are
      predicted best when each is left out of the fit, by the squared error.
  """

  METRICS = ()  # Their names depend on `shots`.

  shots: tuple[Count, ...] = (1, 5, 10, 25)
  seeds: Count = 3
  l2: Positive | Literal["chosen"] = 1024.0

  def __post_init__(self):
    super().__post_init__()
    raise_all(check_distinct("shots", self.shots))

  def measure(
    self,
    train: Features,
    test: Features,
    mark: Callable[[], None] = lambda: None,
  ) -> Iterator[tuple[str, float]]:
    """Yields accuracy_Nshot and, of several seeds, std_Nshot."""
    classes = count_classes(train, test)
    found: dict[int, list[float]] = {n: [] for n in self.shots}
    for seed in range(self.seeds):
      for shots in self.shots:
        places = draw(train.label, train.mask, shots, seed)
        features = _take(self.mesh, train.values, places)
        label = train.label.reshape(-1)[places]
        l2 = CHOICES if self.l2 == "chosen" else (self.l2,)
        probe = fit(features, label, classes, l2)
        found[shots].append(compute_accuracy(self.mesh, probe, test))
        mark()
    for shots, values in found.items():
      yield f"accuracy_{shots}shot", float(np.mean(values))
      if self.seeds > 1:
        yield f"std_{shots}shot", statistics.pstdev(values)  # 0 of equal ones.


def draw(
  label: Int[np.ndarray, "batches B"],
  mask: Bool[np.ndarray, "batches B"],
  shots: int,
  seed: int,
) -> Int[np.ndarray, "n"]:
  """Draws examples of each class; returns their places, sorted."""
  places = np.flatnonzero(mask)
  places = np.random.default_rng(seed).permutation(places)
  classes = label.reshape(-1)[places]
  order = np.argsort(classes, kind="stable")
  starts = np.searchsorted(classes[order], classes[order])
  return np.sort(places[order[np.arange(len(order)) - starts < shots]])


def fit(
  features: Float[np.ndarray, "n R"],
  label: Int[np.ndarray, "n"],
  classes: int,
  l2s: tuple[float, ...],
) -> Linear:
  """Fits the probe in float64; of several regularisers, with the best.

  One eigendecomposition serves all of them: of X'X, or of the smaller XX'.

  Args:
    features: of the examples.
    label: their classes.
    classes: Y.
    l2s: regularisers.
  """
  x = features.astype(np.float64)
  mean, std = x.mean(0), x.std(0) + EPSILON
  x = (x - mean) / std
  x = np.concatenate([x, np.full((len(x), 1), CONSTANT)], axis=1)
  targets = 2.0 * (label[:, None] == np.arange(classes)) - 1
  wide = len(x) < x.shape[1]
  values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
  values = np.maximum(values, 0)
  # Rows of x in the eigenvectors of X'X, or of XX': of length 1 there.
  rows = vectors if wide else x @ vectors
  turned = rows.T @ targets

  def get_error(l2: float) -> float:
    """Squared error of each example when it is left out."""
    share = 1 / (values + l2) * (values if wide else 1)
    leverage = (rows**2 * share).sum(1)
    left_out = (targets - rows @ (share[:, None] * turned)) / (
      1 - leverage[:, None]
    )
    return float((left_out**2).mean())

  l2 = min(l2s, key=get_error) if len(l2s) > 1 else l2s[0]
  kernel = vectors @ (turned / (values + l2)[:, None])
  if wide:
    kernel = x.T @ kernel
  kernel, bias = kernel[:-1] / std[:, None], CONSTANT * kernel[-1]
  return Linear(kernel, bias - mean @ kernel, l2)


def compute_accuracy(
  mesh: jax.sharding.Mesh, probe: Linear, test: Features
) -> float:
  """Computes the accuracy of a probe; features stay where they are."""
  kernel, bias = (x.astype(np.float32) for x in (probe.kernel, probe.bias))
  hits = _count_hits(
    test.values,
    *(put_everywhere(mesh, x) for x in (test.label, test.mask, kernel, bias)),
  )
  return int(hits) / int(test.mask.sum())


@jax.jit
def _count_hits(
  values: Float[Array, "batches B R"],
  label: Int[Array, "batches B"],
  mask: Bool[Array, "batches B"],
  kernel: Float[Array, "R Y"],
  bias: Float[Array, "Y"],
) -> Int[Array, ""]:
  """Counts the examples whose class has the largest score."""

  def count(total, batch):  # A batch at a time: scores are [B Y].
    x, y, kept = batch
    scores = jnp.matmul(x, kernel, precision="highest") + bias[None]
    hits = (jnp.argmax(scores, axis=-1) == y) & kept
    return total + hits.sum(dtype=jnp.int32), None

  return jax.lax.scan(count, jnp.int32(0), (values, label, mask))[0]


def _take(
  mesh: jax.sharding.Mesh, values: jax.Array, places: np.ndarray
) -> np.ndarray:
  """Gathers features to the host."""
  everywhere = put_everywhere(mesh, places.astype(np.int32))
  found = jax.jit(lambda x, i: take(mesh, x, i))(values, everywhere)
  return np.asarray(found)
