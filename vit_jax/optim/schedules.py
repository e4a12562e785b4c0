# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Durations in steps; learning rate and weight decay at each step."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vit_jax.config import raise_all
from vit_jax.optim.options import Optim

Schedule = Callable[[Any], jax.Array]

# The units of a duration; the first that is given wins.
LENGTHS = ("steps", "epochs", "examples")


def count_steps(
  lengths: Mapping[str, int | float | None], examples: int, batch_size: int
) -> int | None:
  """A duration in steps, rounded to the nearest; None if none is given.

  Args:
    lengths: unit of LENGTHS -> length or None; the first that is given wins.
    examples: number of examples in an epoch.
    batch_size: number of examples in a step (B).
  """
  in_examples = {"steps": batch_size, "epochs": examples, "examples": 1}
  for unit in LENGTHS:
    if lengths[unit]:
      return round(lengths[unit] * in_examples[unit] / batch_size)
  return None


def set_phases(optim: Optim, examples: int, batch_size: int) -> Optim:
  """Converts the lengths of warm-up and cool-down to steps.

  Raises:
    ConfigError: if a length is given in more than one unit.
  """
  errors, steps = [], {}
  for phase in ("warmup", "cooldown"):
    lengths = {unit: getattr(optim, f"{phase}_{unit}") for unit in LENGTHS}
    given = [f"optim.{phase}_{unit}={x}" for unit, x in lengths.items() if x]
    if len(given) > 1:
      errors.append(f"{' and '.join(given)}: set only one of them")
    steps |= {f"{phase}_{unit}": None for unit in LENGTHS}
    steps[f"{phase}_steps"] = count_steps(lengths, examples, batch_size) or 0
  raise_all(errors)
  return dataclasses.replace(optim, **steps)


def make_schedule(optim: Optim, steps: int) -> Schedule:
  """Makes the function from a step to its learning rate.

  A run shorter than its warm-up, as one cut short to try it out, ends within
  the warm-up; a cool-down has at most the steps after the warm-up.

  Args:
    optim: options whose durations are in steps, from `set_phases`.
    steps: length of the run.
  """
  warmup = optim.warmup_steps
  rest = max(1, steps - warmup)
  after = {
    "cosine": lambda: optax.cosine_decay_schedule(
      optim.lr, rest, alpha=optim.end_lr / optim.lr
    ),
    "linear": lambda: optax.linear_schedule(optim.lr, optim.end_lr, rest),
    "constant": lambda: optax.constant_schedule(optim.lr),
    "rsqrt": lambda: make_rsqrt(optim.lr, optim.timescale, optim.shift),
  }[optim.schedule]()
  schedule = after
  if warmup:
    peak = optim.lr
    if optim.schedule == "rsqrt" and optim.shift:
      peak /= math.sqrt(1.0 + optim.shift / optim.timescale)
    up = optax.linear_schedule(0.0, peak, warmup)
    schedule = optax.join_schedules([up, after], [warmup])
  cooldown = min(optim.cooldown_steps, steps - warmup)
  if cooldown > 0:
    schedule = cool_down(schedule, steps - cooldown, cooldown, optim.end_lr)
  return schedule


def make_decay_schedule(first: float, last: float, steps: int) -> Schedule:
  """Makes the function from a step to its weight decay, half a cosine.

  Args:
    first: that of step 0.
    last: that of step `steps`.
    steps: length of the run.
  """

  def schedule(step):
    rest = 0.5 * (1 + jnp.cos(jnp.pi * step / steps))
    return last + (first - last) * rest

  return schedule


def make_rsqrt(lr: float, timescale: int, shift: int) -> Schedule:
  """The reciprocal square root of "Scaling Vision Transformers", section 3.5.

  It does not depend on the length of the run: one run, cooled down from several
  points, gives the results of runs of several lengths. The paper leaves open
  how timescale and warm-up go together; this is its released code.

  Args:
    lr: learning rate at the start of the decay, without a shift.
    timescale: steps after which it is lr / sqrt(2).
    shift: steps of the decay that are skipped.

  Returns:
    A function of the steps since the warm-up.
  """

  def schedule(count):
    step = jnp.asarray(count + shift + timescale, jnp.float32)
    return lr * jnp.sqrt(timescale / step)

  return schedule


def cool_down(
  schedule: Schedule, start: int, length: int, end_lr: float
) -> Schedule:
  """Fades a schedule linearly into `end_lr` from step `start` on.

  The schedule goes on meanwhile: to an `end_lr` of 0 it is multiplied by what
  is left of the cool-down, as in the released code of "Scaling Vision
  Transformers".

  Args:
    schedule: learning rate without the cool-down.
    start: first step of the cool-down.
    length: number of its steps.
    end_lr: learning rate at step start + length.
  """

  def down(count):
    rate = schedule(start + count)
    return rate + (end_lr - rate) * (count / length)

  return optax.join_schedules([schedule, down], [start])
