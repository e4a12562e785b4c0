# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A step applied to every batch of a split, and what all evaluators share."""

import abc
import collections
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import jax
from jax.sharding import Mesh

from vit_jax.config import Count
from vit_jax.data import pipeline
from vit_jax.train_state import Batch, TrainState, get_evaluated_params


def iterate_split(
  step: Callable[[Any, Batch], Any],
  params: Any,
  data: pipeline.Data,
  mesh: Mesh,
  channels: int,
  *,
  split: str,
  batch_size: int,
  limit: int | None = None,
  mark: Callable[[], None],
) -> tuple[Iterator[Any], int]:
  """Applies a jitted step to every batch of a split, as its results are taken.

  Args:
    step: (params, batch) -> result.
    params: parameters on the mesh.
    data: the data section.
    mesh: devices to run on.
    channels: c.
    split: each of its examples is in one batch, where `mask` is true; the last
      batch is padded with examples whose mask is false.
    batch_size: global batch size (B).
    limit: largest number of examples, evenly from all; None is all.
    mark: called after each batch, to show that the evaluation proceeds.

  Returns:
    The results of all batches, on the devices, and the number of examples that
    are in them.
  """
  batches, size = pipeline.make_eval_batches(
    data, mesh, channels, split=split, batch_size=batch_size, limit=limit
  )

  def iterate() -> Iterator[Any]:
    late: collections.deque[Any] = collections.deque()
    for batch in batches:
      with jax.set_mesh(mesh):
        late.append(step(params, batch))
      if len(late) > 2:
        # The device is two batches behind at most, so a mark is its progress.
        yield jax.block_until_ready(late.popleft())
      mark()
    yield from late

  return iterate(), size


def map_split(
  step: Callable[[Any, Batch], Any], *arguments: Any, **keys: Any
) -> tuple[list[Any], int]:
  """Applies a jitted step to every batch of a split.

  Args:
    step: (params, batch) -> result.
    *arguments: as of `iterate_split`.
    **keys: as of `iterate_split`.

  Returns:
    The results of all batches, on the host, and the number of examples that
    are in them.
  """
  results, size = iterate_split(step, *arguments, **keys)
  return [jax.device_get(x) for x in results], size


def check_count(count: int, size: int, split: str) -> None:
  """Raises RuntimeError unless every example of a split was seen once."""
  if count != size:
    raise RuntimeError(
      f"evaluation of {split!r}: counted {count} examples of {size}"
    )


@dataclasses.dataclass(frozen=True)
class Evaluator(abc.ABC):
  """An evaluation of a state on a split.

  Attributes:
    objective: its model is evaluated.
    data: the data section.
    mesh: devices to run on.
    channels: c.
    default_batch_size: B where `batch_size` is None.
    split: split to evaluate on.
    batch_size: global batch size (B), which need not divide the split; None is
      a micro-batch of training's, on a CPU at most what stays in its caches.
    params: "average" evaluates the moving average of the parameters where there
      is one (optim.ema), as exports hold it; "raw" the parameters themselves.
  """

  # Those of its metrics that checkpoint.best may name.
  METRICS: ClassVar[tuple[str, ...]] = ()
  # Whether it reads the head's logits, which a model may lack.
  READS_HEAD: ClassVar[bool] = False

  objective: Any
  data: pipeline.Data
  mesh: Mesh
  channels: int
  default_batch_size: int
  _: dataclasses.KW_ONLY
  split: str
  batch_size: Count | None = None
  params: Literal["average", "raw"] = "average"

  @abc.abstractmethod
  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields (metric, value).

    Args:
      state: its parameters are evaluated.
      mark: called after each batch.

    Raises:
      RuntimeError: unless every example was counted exactly once.
    """

  def get_params(self, state: TrainState) -> Any:
    """Returns the parameters of a state that are evaluated."""
    if self.params == "average":
      return get_evaluated_params(state)
    return state.params

  def map(
    self,
    step: Callable[[Any, Batch], Any],
    state: TrainState,
    mark: Callable[[], None],
    **keys: Any,
  ) -> tuple[list[Any], int]:
    """Applies a jitted step to every batch of the split, as `map_split`."""
    return map_split(
      step,
      self.get_params(state),
      self.data,
      self.mesh,
      self.channels,
      split=self.split,
      batch_size=self.batch_size or self.default_batch_size,
      mark=mark,
      **keys,
    )
