# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How a step fits into memory: micro-batches first, then rematerialisation.

Splitting a batch repeats no work as long as a micro-batch still fills the
device, and recomputing activations costs 10 to 30 % of a step. So the batch is
split down to MIN_TOKENS tokens a device, then more and more is recomputed, and
at last the batch is split further. On a TPU it is split from the start down to
MOST_BYTES.
"""

import math
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

# Bytes of the activations between two blocks, of a micro-batch, that a device's
# fast memory still holds. By the compiler of v5e B/16's recipe takes 1.21
# million cycles an image in micro-batches of 128, whose activations are 39 MB,
# and 1.57 in one of 256.
MOST_BYTES = {"tpu": 48 << 20}

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
    between: int,
    device: Any,
    estimate: Callable[[Fit], int | float],
  ):
    """Chooses a fit.

    Args:
      remat: policy; "auto" chooses one, None is a model without.
      accumulate: number of micro-batches; "auto" chooses one.
      examples: examples of a batch on a device.
      tokens: tokens of an example.
      between: bytes of its activations between two blocks.
      device: a device of the mesh.
      estimate: bytes that a fit takes on a device.
    """
    given = {"train.accumulate": accumulate, "model.remat": remat}
    self._auto = [key for key, value in given.items() if value == "auto"]
    self._memory, self._estimate = get_memory(device), estimate
    self._examples = examples
    accumulates = [n for n in range(1, examples + 1) if examples % n == 0]
    if isinstance(accumulate, int):
      accumulates = [accumulate]
    filling = find_filling(
      accumulates, device.platform, examples * tokens, examples * between
    )
    self._fits = list_fits(
      POLICIES if remat == "auto" else (remat,),
      filling,
      [n for n in accumulates if n > filling[-1]],
    )
    self._split = filling[0] if filling[0] > 1 else None
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
    reasons = dict.fromkeys(values, reason)
    if self.fit.accumulate == self._split:
      reasons["train.accumulate"] = (
        f"micro-batches of {self._examples // self._split:,} examples; larger "
        f"ones exceed the fast memory between blocks"
      )
    return [Choice(key, values[key], reasons[key]) for key in self._auto]

  def _is_small_enough(self) -> bool:
    return self._memory is None or self._estimate(self.fit) <= self._memory


def find_filling(
  accumulates: Sequence[int], platform: str, tokens: int, between: int
) -> list[int]:
  """Finds the numbers of micro-batches of which each is of a good size.

  It fills the device, and the fast memory holds it; of these the first counts
  for more. At least one.

  Args:
    accumulates: numbers to choose from, ascending.
    platform: "gpu", "tpu" or "cpu".
    tokens: tokens of a device's whole batch.
    between: bytes of its activations between two blocks.
  """
  most, least = MOST_BYTES.get(platform, math.inf), MIN_TOKENS[platform]
  filling = [n for n in accumulates if tokens / n >= least] or accumulates[:1]
  return [n for n in filling if between / n <= most] or [filling[-1]]


def list_fits(
  remats: Sequence[str | None], filling: Sequence[int], rest: Sequence[int]
) -> list[Fit]:
  """Lists the ways to fit a step into memory, the fastest first.

  Args:
    remats: policies, by what they cost.
    filling: numbers of micro-batches, ascending, each of which fills a device.
    rest: larger ones.
  """
  fits = [Fit(n, remat) for remat in remats for n in filling]
  return fits + [Fit(n, remats[-1]) for n in rest]
