# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How a step fits into memory: micro-batches first, then rematerialisation.

Splitting a batch repeats no work as long as a micro-batch still fills the
device, and recomputing activations costs 10 to 30 % of a step. So the batch is
split down to MIN_TOKENS tokens a device, then more and more is recomputed, and
at last the batch is split further.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vit_jax.config import Choice
from vit_jax.devices.machine import find_memory_limit
from vit_jax.devices.specs import GIB, get_device_spec

# Policies of rematerialisation that are tried, by what they cost.
POLICIES = ("none", "dots", "full")

# Tokens of a micro-batch that fill a device, by platform.
MIN_TOKENS = {"gpu": 8192, "tpu": 8192, "cpu": 1024}

# Share of a device's memory that a step may take: the rest is for batches that
# wait, for evaluations, and for what no estimate knows. A CPU's memory is also
# that of everything else on the machine.
SHARE = {"gpu": 0.9, "tpu": 0.9, "cpu": 0.6}


class Fit(NamedTuple):
  """A way to fit a step into memory.

  Attributes:
    accumulate: number of micro-batches.
    remat: policy of rematerialisation; None for a model without.
  """

  accumulate: int
  remat: str | None


def get_memory(device: Any) -> float | None:
  """Returns the bytes of a device that a step may take; None if unknown.

  All hosts must choose alike, so that it is not what is free at the moment.
  """
  if device.platform == "cpu":
    limit = find_memory_limit(pathlib.Path("/"))
    # The devices of a CPU share it.
    count = device.client.device_count()
    return limit and SHARE["cpu"] * limit / count
  spec = get_device_spec(device)
  limit = spec and spec.memory
  if device.platform == "gpu":  # JAX takes a part of its memory alone.
    limit = (device.memory_stats() or {}).get("bytes_limit", limit)
  return limit and SHARE[device.platform] * limit


def format_bytes(size: int | float) -> str:
  """Formats bytes as GiB, small ones as MiB."""
  if size < GIB / 10:
    return f"{size / 2**20:,.1f} MiB"
  return f"{size / GIB:,.2f} GiB"


class Fitting:
  """The ways to fit a step into a device's memory, and the one in use.

  Attributes:
    fit: the one in use: the fastest that fits by estimate, else the last.
  """

  def __init__(
    self,
    remat: str | None,
    accumulate: str | int,
    *,
    examples: int,
    tokens: int,
    device: Any,
    estimate: Callable[[Fit], int | float],
  ):
    """Chooses a fit.

    Args:
      remat: policy; "auto" chooses one, None is a model without.
      accumulate: number of micro-batches; "auto" chooses one.
      examples: examples of a batch on a device.
      tokens: tokens of an example.
      device: a device of the mesh.
      estimate: bytes that a fit takes on a device.
    """
    given = {"train.accumulate": accumulate, "model.remat": remat}
    self._auto = [key for key, value in given.items() if value == "auto"]
    self._memory, self._estimate = get_memory(device), estimate
    accumulates = [n for n in range(1, examples + 1) if examples % n == 0]
    if isinstance(accumulate, int):
      accumulates = [accumulate]
    self._fits = list_fits(
      POLICIES if remat == "auto" else (remat,),
      accumulates,
      examples * tokens,
      MIN_TOKENS[device.platform],
    )
    # To estimate traces the model: not where nothing is to be chosen.
    while len(self._fits) > 1 and not self._is_small_enough():
      del self._fits[0]

  @property
  def fit(self) -> Fit:
    """The fit in use."""
    return self._fits[0]

  def take_next(self) -> bool:
    """Goes on to the next fit that takes less; False if there is none."""
    needed = self._estimate(self.fit)
    less = [fit for fit in self._fits if self._estimate(fit) < needed]
    self._fits = less or self._fits[:1]
    return bool(less)

  @property
  def choices(self) -> list[Choice]:
    """The keys that were "auto", with what was chosen."""
    if not self._auto:
      return []
    needed, reason = self._estimate(self.fit), "the device's memory is unknown"
    if self._memory is not None:
      reason = (
        f"a step takes about {format_bytes(needed)} of the "
        f"{format_bytes(self._memory)} that it may"
      )
    values = {"train.accumulate": self.fit[0], "model.remat": self.fit[1]}
    return [Choice(key, values[key], reason) for key in self._auto]

  def _is_small_enough(self) -> bool:
    return self._memory is None or self._estimate(self.fit) <= self._memory


def list_fits(
  remats: Sequence[str | None],
  accumulates: Sequence[int],
  tokens: int,
  least: int,
) -> list[Fit]:
  """Lists the ways to fit a step into memory, the fastest first.

  Args:
    remats: policies, by what they cost.
    accumulates: numbers of micro-batches, ascending.
    tokens: tokens of a device's whole batch.
    least: tokens of a micro-batch that fill it.
  """
  filling = [n for n in accumulates if tokens / n >= least] or accumulates[:1]
  rest = [n for n in accumulates if n not in filling]
  fits = [Fit(n, remat) for remat in remats for n in filling]
  return fits + [Fit(n, remats[-1]) for n in rest]
