# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The response of a run to a non-finite step: stop, skip or roll back."""

from typing import Any

import jax
import numpy as np

from vit_jax.checkpoint import Checkpointer
from vit_jax.config.errors import NonFiniteError
from vit_jax.optim.nonfinite import NonFiniteStep
from vit_jax.sharding import put
from vit_jax.train_state import MAX_SKIPS, NonFinite, TrainState

RESTART = (
  "or train again, in another --workdir, with a lower optim.lr, a longer "
  "optim.warmup_steps, optim.clip_norm=1 or model.qk_norm=True"
)


def recover(
  state: TrainState,
  bad: NonFiniteStep,
  checkpointer: Checkpointer,
  abstract_state: TrainState,
  *,
  workdir: Any,
  nonfinite: str,
  max_skipped_steps: int,
) -> tuple[TrainState, str]:
  """Rolls back after a non-finite step, or stops; every process calls it.

  Args:
    state: state before that step; its arrays are deleted.
    bad: the step.
    checkpointer: saves and restores checkpoints of the run.
    abstract_state: shapes and shardings of the state.
    workdir: directory of the run, for a message.
    nonfinite: train.nonfinite.
    max_skipped_steps: train.max_skipped_steps.

  Returns:
    The state of the last checkpoint as the one after the non-finite step, and
    a line that reports it.

  Raises:
    NonFiniteError: if the run is not to roll back, once `state` is saved.
  """
  full = nonfinite != "stop" and bad.skipped >= max_skipped_steps
  stops = nonfinite != "rollback" or full
  # The state is given up only for a checkpoint that was read and is sound.
  if stops or checkpointer.find_sound_step() is None:
    place = _save(state, bad.step, checkpointer, abstract_state, workdir)
    hint = "--config.train.nonfinite=skip to skip such steps"
    if full:
      hint = (
        f"--config.train.max_skipped_steps above {max_skipped_steps}, up to "
        f"{MAX_SKIPS}"
      )
    elif nonfinite == "rollback":
      hint = "a smaller checkpoint.every, as there was no checkpoint before it"
    raise NonFiniteError(
      f"{bad}\n  {place}; the same command continues from there: give it "
      f"{hint}\n  {RESTART}"
    )
  record = state.nonfinite
  # A device may not have room for two states.
  jax.tree.map(lambda x: x.delete(), state.replace(nonfinite=None))
  state = checkpointer.restore(abstract_state)
  start = int(jax.device_get(state.step))
  record = add_range(record, start + 1, bad.step)
  state = _replace(state, abstract_state, step=bad.step, nonfinite=record)
  return state, (
    f"{bad}: back to the checkpoint of step {start}; the batches of steps "
    f"{start + 1} to {bad.step} are skipped (rollback {int(record.count)} of "
    f"{max_skipped_steps})"
  )


def clear(record: NonFinite) -> NonFinite:
  """Returns the record, on the host, with no stopping step."""
  record = jax.device_get(record)
  none = np.zeros((), np.int32)
  return record.replace(bad_step=none, bad_tensor=none)


def add_range(record: NonFinite, first: int, last: int) -> NonFinite:
  """Returns the record, on the host, cleared and with one more skipped range.

  Args:
    record: with room for a range.
    first: first step of the range.
    last: last step of the range.
  """
  record = clear(record)
  skipped = np.array(record.skipped)
  skipped[record.count] = first, last
  return record.replace(skipped=skipped, count=record.count + np.int32(1))


def _save(
  state: TrainState,
  bad_step: int,
  checkpointer: Checkpointer,
  abstract_state: TrainState,
  workdir: Any,
) -> str:
  """Saves the state before a non-finite step; describes what is saved."""
  last = bad_step - 1
  if not last:
    return "nothing was trained before it"
  record = clear(state.nonfinite)
  state = _replace(state, abstract_state, nonfinite=record)
  checkpointer.save(last, state, wait=True)
  return f"step {last} is saved in {workdir}"


def _replace(
  state: TrainState, abstract_state: TrainState, **values: Any
) -> TrainState:
  """Returns the state with host values in some of its fields."""

  def place(value, leaf):
    return put(np.asarray(value, leaf.dtype), leaf)

  return state.replace(
    **{
      name: jax.tree.map(place, value, getattr(abstract_state, name))
      for name, value in values.items()
    }
  )
