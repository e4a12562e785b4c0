# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The largest attention logit of every layer, over a split.

Logits that grow without bound precede a divergence (Dehghani et al., 2023,
"Scaling Vision Transformers to 22 Billion Parameters", arXiv 2302.05442,
section 2); model.qk_norm bounds them.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vit_jax.config import ConfigError, Count
from vit_jax.evaluators.split import Evaluator, check_count
from vit_jax.models.attention import LOGITS
from vit_jax.sharding import count_data_shards, get_path
from vit_jax.train_state import Batch, TrainState
from vit_jax.train_step import split_batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionLogits(Evaluator):
  """The largest attention logit of every layer.

  Attributes:
    batch_size: number of examples read at a time (B); None as elsewhere. The
      model runs on one example per device at a time, whatever it is.
    params: "raw" evaluates the parameters themselves, "average" their moving
      average where there is one (optim.ema).

  Raises:
    ConfigError: for a model without attention.
  """

  batch_size: Count | None = None
  params: Literal["average", "raw"] = "raw"

  def __post_init__(self):
    if not hasattr(self.objective.model, "attention"):
      raise ConfigError(
        f"kind='attention_logits' of an evaluation is for models with "
        f"attention, and {type(self.objective.model).__name__} has none: leave "
        f"it out"
      )

  @functools.cached_property
  def step(self) -> Any:
    """The jitted function (params, batch) -> (maxima by path, examples)."""
    # Kernels do not return their logits.
    model = self.objective.model.clone(attention="xla")

    def compute_maxima(params: Any, part: Batch) -> Any:
      image, mask = self.data.prepare(part)["image"], part["mask"]
      _, found = model.apply({"params": params}, image, mutable=[LOGITS])

      def reduce(logits):  # [L B] for stacked layers, [B] for others.
        kept = mask[None] if logits.ndim == 2 else mask
        return jnp.where(kept, logits, -jnp.inf).max(-1)

      return jax.tree.map(reduce, found[LOGITS])

    def step(params: Any, batch: Batch) -> tuple[Any, jax.Array]:
      # One example per device at a time, next to a training state.
      parts = batch["mask"].size // count_data_shards(self.mesh)
      maxima = jax.lax.map(
        functools.partial(compute_maxima, params), split_batch(batch, parts)
      )
      maxima = jax.tree.map(lambda x: x.max(0), maxima)
      return maxima, batch["mask"].sum(dtype=jnp.int32)

    everywhere = NamedSharding(self.mesh, PartitionSpec())
    return jax.jit(step, out_shardings=everywhere)

  def run(
    self, state: TrainState, mark: Callable[[], None] = lambda: None
  ) -> Iterator[tuple[str, float]]:
    """Yields (layer, its largest logit), with layers as "encoderblock_0".

    Arguments are those of `Evaluator.run`.
    """
    results, size = self.map(self.step, state, mark)
    check_count(sum(int(count) for _, count in results), size, self.split)
    maxima = jax.tree.map(
      lambda *values: functools.reduce(np.maximum, values),
      *(maxima for maxima, _ in results),
    )
    for keys, value in jax.tree_util.tree_leaves_with_path(maxima):
      # ".../LAYER/MultiHeadDotProductAttention_0/max/0", stacked or not.
      layer = get_path(keys).split("/")[-4]
      if value.ndim:
        yield from ((f"{layer}_{i}", float(x)) for i, x in enumerate(value))
      else:
        yield layer, float(value)
