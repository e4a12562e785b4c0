# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""k-nearest neighbours of features, weighted by their similarity.

Wu et al., 2018, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination", arXiv 1805.01978, section 3.4: neighbours vote for their class
with exp(cosine / temperature).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from vit_jax.config import Count, Positive
from vit_jax.evaluators.probe import Probe, count_classes, put_everywhere
from vit_jax.evaluators.representation import Features
from vit_jax.sharding import get_batch_sharding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knn(Probe):
  """Accuracy of the nearest neighbours by the cosine of features.

  Attributes:
    k: number of neighbours.
    temperature: divides the cosine in a neighbour's vote.
  """

  METRICS = ("accuracy_knn",)

  k: Count = 20
  temperature: Positive = 0.07

  def measure(
    self,
    train: Features,
    test: Features,
    mark: Callable[[], None] = lambda: None,
  ) -> Iterator[tuple[str, float]]:
    """Yields accuracy_knn."""
    classes = count_classes(train, test)
    count = jax.jit(
      functools.partial(
        count_hits,
        k=self.k,
        temperature=self.temperature,
        classes=classes,
        mesh=self.mesh,
      )
    )
    put = functools.partial(put_everywhere, self.mesh)
    known = train.values, put(train.label), put(train.mask)
    total = 0
    for i in range(len(test.label)):
      hits = count(
        *known, test.values[i], put(test.label[i]), put(test.mask[i])
      )
      total += int(hits)
      mark()
    yield "accuracy_knn", total / int(test.mask.sum())


def count_hits(
  train: Float[Array, "batches b R"],
  label: Int[Array, "batches b"],
  mask: Bool[Array, "batches b"],
  x: Float[Array, "B R"],
  y: Int[Array, "B"],
  kept: Bool[Array, "B"],
  *,
  k: int,
  temperature: float,
  classes: int,
  mesh: Mesh,
) -> Int[Array, ""]:
  """Counts the examples of a batch that their neighbours vote right for.

  Args:
    train, label, mask: the features among which neighbours are looked for.
    x, y, kept: features, classes and mask of the batch.
    k: number of neighbours.
    temperature: see `Knn`.
    classes: Y.
    mesh: devices that hold both.
  """
  rows = get_batch_sharding(mesh)
  x = _normalize(x)

  def merge(best, batch):
    """The nearest so far, and a batch of others, which every device gets."""
    values, labels, known = batch
    values = jax.lax.with_sharding_constraint(
      _normalize(values), NamedSharding(mesh, PartitionSpec())
    )
    near = jnp.einsum("BR,bR->Bb", x, values, precision="highest")
    near = jnp.where(known[None], near, -jnp.inf)
    every = jnp.concatenate([best[0], near], axis=1)
    names = jnp.concatenate(
      [best[1], jnp.broadcast_to(labels[None], near.shape)], axis=1
    )
    near, places = jax.lax.top_k(every, k)
    names = jnp.take_along_axis(names, places, axis=1)
    return jax.lax.with_sharding_constraint((near, names), (rows, rows)), None

  size = len(y)
  none = jnp.full((size, k), -jnp.inf), jnp.zeros((size, k), label.dtype)
  (near, names), _ = jax.lax.scan(merge, none, (train, label, mask))
  # Of the nearest: exp of a large quotient overflows, and only ratios count.
  votes = jnp.exp((near - near[:, :1]) / temperature)
  place = jnp.arange(size)[:, None]
  total = jnp.zeros((size, classes)).at[place, names].add(votes)
  hits = (jnp.argmax(total, axis=-1) == y) & kept
  return hits.sum(dtype=jnp.int32)


def _normalize(x: Float[Array, "B R"]) -> Float[Array, "B R"]:
  """Features of length 1; padding stays zero."""
  length = jnp.linalg.norm(x, axis=-1, keepdims=True)
  return x / jnp.maximum(length, 1e-12)
