# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is common to evaluations of images that were changed."""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.config import (
  ConfigError,
  Count,
  Seed,
  check_distinct,
  raise_all,
)
from vit_jax.evaluators.split import Evaluator, check_count
from vit_jax.metrics.robustness import describe_curve
from vit_jax.sharding import get_batch_sharding
from vit_jax.train_state import Batch, TrainState

EXAMPLES = 1000
MEAN = "mean"  # Name of a curve that is the mean of others.


class Curve(NamedTuple):
  """Accuracy against how much images were changed.

  Attributes:
    name: of what was done to them.
    axis: what `x` is, with its unit.
    x: how much; the first is an image as it is.
    correct: number of examples that are right, at each.
    total: number of examples.
  """

  name: str
  axis: str
  x: tuple[float, ...]
  correct: tuple[int, ...]
  total: int


# (name of a curve, x, images) of a batch.
Changed = Iterator[tuple[str, float, jax.Array]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Robustness(Evaluator):
  """Accuracy on images that were changed, more and more.

  Random numbers of an example are a function of the seed and its place among
  the examples, so the same images are made on any devices, in batches of any
  size, and for any model.

  Attributes:
    examples: number of them, evenly from all of the split; None is all.
    seed: of what is drawn at random.

  Raises:
    ConfigError: for keys that make no curve, or a point twice.
  """

  METRICS = ("clean_accuracy", "robust_accuracy")
  READS_HEAD = True
  POINTS = ""  # The key of which each value is a point.
  AXIS = ""  # Of the curves, with its unit.
  CLEAN = 0.0  # Where on it an image is as it is.

  examples: Count | None = EXAMPLES
  seed: Seed = 0

  def __post_init__(self):
    values = getattr(self, self.POINTS)
    raise_all(check_distinct(self.POINTS, values))
    if values is not None and self.CLEAN in values and self.CLEAN:
      raise ConfigError(
        f"{self.POINTS}={values} of an evaluation: {self.CLEAN:g} is an image "
        f"as it is, with which each curve begins: leave it out"
      )

  @abc.abstractmethod
  def change(self, params: Any, batch: Batch, keys: jax.Array) -> Changed:
    """Yields the images of every point of every curve, in order.

    Args:
      params: of the model.
      batch: `image` float32 [B H W c] from 0 to 255, `label`, `mask`.
      keys: random keys [B].
    """

  @functools.cached_property
  def score(self) -> Any:
    """The jitted function (params, batch) -> (correct, count)."""

    def score(params: Any, batch: Batch) -> Any:
      batch = self.data.prepare(batch)
      return self.objective.evaluate(params, batch)["accuracy"]

    return jax.jit(score)

  def compute_gradient(
    self, params: Any, batch: Batch, images: jax.Array
  ) -> jax.Array:
    """The gradient of the loss by the pixels [B H W c], from 0 to 255."""

    def compute_loss(images: jax.Array) -> jax.Array:
      prepared = self.data.prepare(batch | {"image": images})
      return self.objective.evaluate(params, prepared)["loss"][0]

    return jax.grad(compute_loss)(images)

  @functools.cached_property
  def draw_keys(self) -> Any:
    """The jitted function (first example, batch size) -> keys [B]."""

    def draw(start: Any, size: int) -> jax.Array:
      fold = jax.vmap(jax.random.fold_in, (None, 0))
      return fold(jax.random.key(self.seed), start + jnp.arange(size))

    return jax.jit(
      draw, static_argnums=1, out_shardings=get_batch_sharding(self.mesh)
    )

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields accuracies: of the images as they are, and means.

    `clean_accuracy` is the first, `robust_accuracy` the mean of all points of
    all curves but their first, and of several curves each has its own mean, by
    its name. `measure` has every point.

    Args:
      state: its parameters are evaluated.
      mark: called after each batch.

    Raises:
      RuntimeError: unless every example was counted exactly once.
    """
    curves = [x for x in self.measure(state, mark) if x.name != MEAN]
    found = {x.name: float(np.mean(x.correct[1:])) / x.total for x in curves}
    yield "clean_accuracy", curves[0].correct[0] / curves[0].total
    yield "robust_accuracy", float(np.mean(list(found.values())))
    if len(found) > 1:
      yield from found.items()

  def measure(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> list[Curve]:
    """Computes the curves; arguments as of `run`."""
    size = self.batch_size or self.default_batch_size
    numbers = itertools.count()
    points: dict[tuple[str, float], None] = {}  # In their order.

    def step(params: Any, batch: Batch) -> list[Any]:
      keys = self.draw_keys(np.int32(next(numbers) * size), size)
      found = [self.score(params, batch)]
      pixels = batch | {"image": batch["image"].astype(jnp.float32)}
      for name, x, images in self.change(params, pixels, keys):
        points[name, x] = None
        changed = pixels | {"image": images}
        # Programs of several devices, if many wait, can stop one another on
        # CPUs; and their images take memory.
        found.append(jax.block_until_ready(self.score(params, changed)))
      return found

    results, count = self.map(step, state, mark, limit=self.examples)
    sums = np.asarray(results, np.float64).sum(axis=0)  # [points 2]
    for total in sums[:, 1]:
      check_count(int(total), count, self.split)
    right = [int(x) for x in sums[:, 0]]
    curves: dict[str, list[tuple[float, int]]] = {}
    for (name, x), number in zip(points, right[1:], strict=True):
      curves.setdefault(name, [(self.CLEAN, right[0])]).append((x, number))
    return [
      Curve(
        name,
        self.AXIS,
        tuple(float(x) for x, _ in found),
        tuple(number for _, number in found),
        count,
      )
      for name, found in curves.items()
    ]


def choose_grid(
  model: Any, size: tuple[int, int], given: Any
) -> tuple[int, int]:
  """Chooses the cells that images are cut into: rows and columns.

  Args:
    model: one with tokens has a cell for each of its patches; others have 14
      rows, or as many as give cells of four pixels along a side.
    size: (H, W).
    given: a number or a pair instead, or None.

  Raises:
    ConfigError: for more cells than pixels.
  """
  if given is not None:
    rows, columns = (given, given) if isinstance(given, int) else given
    if rows > size[0] or columns > size[1]:
      raise ConfigError(
        f"images of {size[0]} x {size[1]} pixels cannot be cut into a grid of "
        f"{rows} x {columns} cells: take fewer"
      )
    return rows, columns
  grid = model.make_layout(*size).grid if hasattr(model, "make_layout") else ()
  if grid and min(grid) > 1:
    return grid
  rows, columns = (max(1, min(14, length // 4)) for length in size)
  return rows, columns


def measure_robustness(
  models: Sequence[Any],
  names: Sequence[str],
  examples: int,
  make_mark: Callable[[str, int], Callable[[], None]],
) -> dict[str, Any]:
  """Computes the curves of robustness of models on the same images.

  Args:
    models: as `trained.Trained`; the patches of the first are those of all.
    names: of ROBUSTNESS.
    examples: largest number of images.
    make_mark: (what, number of images) -> what is called after each batch.

  Returns:
    What evaluation.json has of it.
  """
  first = models[0]
  of = first.count(first.split)
  images = min(examples, of)
  found: dict[str, Any] = {"images": images, "of": of}
  made = []  # All of them, before one is computed: what is wrong is told early.
  for name in names:
    keys: dict[str, Any] = {"examples": examples}
    if name == "occlusion":
      # Alike for all: what one ranks by gradients, another must, too.
      attend = all(hasattr(x.objective.model, "attention") for x in models)
      keys["saliency"] = "attention" if attend else "gradient"
      found["saliency"] = keys["saliency"]
    for i, trained in enumerate(models):
      evaluator = trained.make_evaluator(name, **keys)
      if hasattr(evaluator, "grid"):
        keys["grid"] = evaluator.cells
      made.append((name, i, evaluator))
  curves = found["curves"] = []
  for name, i, evaluator in made:
    what = f"{first.split}, {name}" + " of the baseline" * bool(i)
    mark = make_mark(what, images)
    curves += [
      describe_curve(name, models[i].weights.source, curve, images)
      for curve in evaluator.measure(models[i].state, mark)
    ]
  return found
