# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Non-finite values: a step that produces one changes nothing.

`guard` runs on the device, inside the training step. What it finds is kept in
`TrainState.nonfinite` and in the step's metrics, which the host reads one log
interval later (`read_results`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from vit_jax.sharding import get_path

# Metrics of a step that tell the host of non-finite values; they are not
# written to the log.
CHECKS = ("bad_step", "bad_tensor", "skipped")


class NonFiniteStep(NamedTuple):
  """A step with a value that is not finite, as the host reports it.

  Attributes:
    step: its number, from 1 on.
    tensor: name of the first tensor with such a value.
    skipped: skips and rollbacks of the run so far, this one included.
    loss, grad_norm, update_norm, lr: of the step.
  """

  step: int
  tensor: str
  skipped: int
  loss: float
  grad_norm: float
  update_norm: float
  lr: float

  def __str__(self):
    return (
      f"step {self.step}: {self.tensor} is not finite (loss {self.loss:.4g}, "
      f"gradient norm {self.grad_norm:.3g}, update norm "
      f"{self.update_norm:.3g}, learning rate {self.lr:.3g})"
    )


def list_tensors(params: Any, aux: Any) -> list[str]:
  """Lists the names of the tensors that `guard` checks, in its order."""
  trees = {"gradient of": params, "update of": params, "aux": aux}
  return ["loss"] + [
    f"{what} {get_path(keys)}"
    for what, tree in trees.items()
    for keys, _ in jax.tree_util.tree_leaves_with_path(tree)
  ]


def guard(
  old: Any,
  new: Any,
  *,
  loss: Float[Array, ""],
  grads: Any,
  updates: Any,
  max_skipped_steps: int,
) -> tuple[Any, dict[str, tuple[jax.Array, jax.Array]]]:
  """Returns `new` if the step's values are all finite, else `old`, to the bit.

  Up to `max_skipped_steps` non-finite steps of a run are counted as steps all
  the same. The next one is not, and from then on nothing changes any more.

  New moments and parameters are not checked: all of them would have to be kept
  beside the old ones, in twice the memory. The sums of squares stand for them:
  a moment averages gradients or their squares, and an update whose square is
  finite is below the root of the largest float32, 2e19.

  Args:
    old: TrainState before the step.
    new: the same with new params, opt_state, ema and aux.
    loss: loss of the batch.
    grads: gradients, a tree like params.
    updates: what was added to the parameters, likewise.
    max_skipped_steps: see above.

  Returns:
    The state after the step, and metrics as (sum, count): norms of gradient
    and update, and CHECKS.
  """
  grad_squares, update_squares = (
    compute_squares(grads),
    compute_squares(updates),
  )
  found = find_nonfinite(loss, grad_squares, update_squares, new.aux)
  record, counted, changed = decide(
    old.nonfinite, old.step + 1, found, max_skipped_steps
  )
  fields = {
    name: select(changed, getattr(new, name), getattr(old, name))
    for name in ("params", "opt_state", "ema", "aux")
  }
  state = old.replace(step=old.step + counted, nonfinite=record, **fields)
  # Of a step that is skipped, its own tensor; after the last, that of the last.
  tensor = jnp.where(record.bad_step > 0, record.bad_tensor, found)
  metrics = {
    "grad_norm": jnp.sqrt(sum(grad_squares)),
    "update_norm": jnp.sqrt(sum(update_squares)),
    **zip_checks(record.bad_step, tensor, record.count),
  }
  return state, {name: (x, jnp.ones(())) for name, x in metrics.items()}


def zip_checks(*values: Any) -> dict[str, Any]:
  """Returns name -> value of CHECKS."""
  return dict(zip(CHECKS, values, strict=True))


def compute_squares(tree: Any) -> list[Float[Array, ""]]:
  """Computes the sum of squares of every array of a tree."""
  return [optax.tree.norm(x, squared=True) for x in jax.tree.leaves(tree)]


def find_nonfinite(
  loss: Float[Array, ""],
  grad_squares: Sequence[Float[Array, ""]],
  update_squares: Sequence[Float[Array, ""]],
  aux: Any,
) -> Int[Array, ""]:
  """Returns the number, from 1 on, of the first tensor of `list_tensors` that
  is not finite; 0 if all are."""
  finite = [jnp.isfinite(x) for x in (loss, *grad_squares, *update_squares)]
  finite += [jnp.isfinite(x).all() for x in jax.tree.leaves(aux)]
  bad = ~jnp.stack(finite)
  return jnp.where(bad.any(), jnp.argmax(bad) + 1, 0).astype(jnp.int32)


def decide(
  record: Any,
  step: Int[Array, ""],
  found: Int[Array, ""],
  max_skipped_steps: int,
) -> tuple[Any, Bool[Array, ""], Bool[Array, ""]]:
  """Decides between taking a step, skipping it, and stopping before it.

  Args:
    record: a `train_state.NonFinite`, before the step.
    step: number of the step.
    found: from `find_nonfinite`.
    max_skipped_steps: skips of a run, before one stops it.

  Returns:
    The record after the step, whether the step is counted, and whether it
    changes anything else.
  """
  capacity = record.skipped.shape[0]
  running = record.bad_step == 0
  good = running & (found == 0)
  has_room = record.count < min(max_skipped_steps, capacity)
  skips = running & (found > 0) & has_room
  stops = running & (found > 0) & ~skips
  row = jnp.where(skips, record.count, capacity)  # Out of range: not written.
  record = record.replace(
    bad_step=jnp.where(stops, step, record.bad_step),
    bad_tensor=jnp.where(stops, found, record.bad_tensor),
    skipped=record.skipped.at[row].set(step, mode="drop"),
    count=record.count + skips,
  )
  return record, good | skips, good


def select(choice: Bool[Array, ""], new: Any, old: Any) -> Any:
  """Selects one of two trees, to the bit."""
  return jax.tree.map(lambda a, b: jax.lax.select(choice, a, b), new, old)


def read_results(
  step: int,
  results: Sequence[Mapping[str, tuple[Any, Any]]],
  names: Sequence[str],
) -> tuple[
  list[dict[str, tuple[Any, Any]]], list[NonFiniteStep], NonFiniteStep | None
]:
  """Sorts the fetched metrics of the steps up to `step`.

  Args:
    step: number of the last of them.
    results: metrics of consecutive steps.
    names: from `list_tensors`.

  Returns:
    The metrics of steps that changed something, without CHECKS; the steps that
    were skipped; and the step that stopped the run, or None.
  """
  good, skipped = [], []
  for number, result in enumerate(results, start=step - len(results) + 1):
    stops, tensor, count = (int(result[name][0]) for name in CHECKS)
    if not tensor:
      good.append({k: x for k, x in result.items() if k not in CHECKS})
      continue
    values = (
      float(result[name][0] / np.maximum(result[name][1], 1))
      for name in ("loss", "grad_norm", "update_norm", "lr")
    )
    bad = NonFiniteStep(number, names[tensor - 1], count, *values)
    if stops:
      return good, skipped, bad
    skipped.append(bad)
  return good, skipped, None
