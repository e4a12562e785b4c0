# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The linear probe: logistic regression on frozen features, by SGD."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from vit_jax.config import Count, NotNegative, Positive, Seed
from vit_jax.evaluators.fewshot import EPSILON, Linear, compute_accuracy
from vit_jax.evaluators.probe import Probe, count_classes, put_everywhere
from vit_jax.evaluators.representation import Features, take

MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbe(Probe):
  """Accuracy of a linear layer that is trained on whitened features.

  It starts at zero, and its learning rate falls by a cosine to zero.

  Attributes:
    epochs: how often it sees each example.
    lr: learning rate of the first step.
    sgd_batch_size: examples of a step.
    weight_decay: half of the factor of the squared kernel in the loss.
    seed: of the order of examples.
  """

  METRICS = ("accuracy_linear",)

  epochs: Count = 50
  lr: Positive = 0.01
  sgd_batch_size: Count = 256
  weight_decay: NotNegative = 0.0
  seed: Seed = 0

  def measure(
    self,
    train: Features,
    test: Features,
    mark: Callable[[], None] = lambda: None,
  ) -> Iterator[tuple[str, float]]:
    """Yields accuracy_linear."""
    probe = self.fit(train, count_classes(train, test), mark)
    yield "accuracy_linear", compute_accuracy(self.mesh, probe, test)

  def fit(
    self, train: Features, classes: int, mark: Callable[[], None]
  ) -> Linear:
    """Trains the layer; returns it for features as they are."""
    put = functools.partial(put_everywhere, self.mesh)
    places = np.flatnonzero(train.mask)
    mean, std = (
      np.asarray(x) for x in _compute_moments(train.values, put(train.mask))
    )
    batch = min(self.sgd_batch_size, len(places))
    steps = len(places) // batch  # Of an epoch; the order leaves out others.
    schedule = optax.cosine_decay_schedule(self.lr, steps * self.epochs)
    tx = optax.sgd(schedule, MOMENTUM)
    width = train.values.shape[-1]
    layer = jax.tree.map(
      put,
      (np.zeros((width, classes), np.float32), np.zeros(classes, np.float32)),
    )
    state = layer, jax.jit(tx.init)(layer)
    epoch = jax.jit(
      functools.partial(
        train_epoch, tx=tx, mesh=self.mesh, weight_decay=self.weight_decay
      )
    )
    rng = np.random.default_rng(self.seed)
    white = put(mean), put(std)
    labels = put(train.label.reshape(-1).astype(np.int32))
    for _ in range(self.epochs):
      order = rng.permutation(places)[: steps * batch].astype(np.int32)
      order = put(order.reshape(steps, batch))
      # One at a time: virtual devices whose collectives wait in line give up.
      state = jax.block_until_ready(
        epoch(state, train.values, labels, order, white)
      )
      mark()
    kernel, bias = (np.asarray(x, np.float64) for x in state[0])
    kernel = kernel / std[:, None]
    return Linear(kernel, bias - mean @ kernel, self.weight_decay)


def train_epoch(
  state: Any,
  values: Float[Array, "batches B R"],
  labels: Int[Array, "rows"],
  order: Int[Array, "steps b"],
  white: tuple[Float[Array, "R"], Float[Array, "R"]],
  *,
  tx: optax.GradientTransformation,
  mesh: Mesh,
  weight_decay: float,
) -> Any:
  """Trains the layer on every example once; returns its new state.

  Args:
    state: the layer (kernel, bias), and the state of its optimizer.
    values: features, spread over the devices.
    labels: class of every row of every batch.
    order: places of the examples of each step.
    white: mean and standard deviation of the features.
    tx: optimizer.
    mesh: devices that hold the features.
    weight_decay: see `LinearProbe`.
  """
  mean, std = white

  def step(state, places):
    x = (take(mesh, values, places) - mean[None]) / std[None]
    y = labels[places]

    def compute_loss(layer):
      kernel, bias = layer
      logits = jnp.matmul(x, kernel, precision="highest") + bias[None]
      losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean() + weight_decay / 2 * (kernel**2).sum()

    layer, optimizer = state
    updates, optimizer = tx.update(
      jax.grad(compute_loss)(layer), optimizer, layer
    )
    return (optax.apply_updates(layer, updates), optimizer), None

  return jax.lax.scan(step, state, order)[0]


@jax.jit
def _compute_moments(
  values: Float[Array, "batches B R"], mask: Any
) -> tuple[Float[Array, "R"], Float[Array, "R"]]:
  """Mean and standard deviation of features; those of padding are zero."""
  count = mask.sum()
  mean = values.sum((0, 1)) / count
  gaps = jnp.where(mask[..., None], values - mean[None, None], 0)
  return mean, jnp.sqrt((gaps**2).sum((0, 1)) / count) + EPSILON
