# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Out of memory: what was asked for, what is there, and the keys that help."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import jax

from vit_jax.config.errors import RunError
from vit_jax.devices.fitting import format_bytes, get_memory
from vit_jax.sharding import count_data_shards

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Forms in which XLA says how much it wanted: "Out of memory while trying to
# allocate 61203283968 bytes", "allocate 57.00GiB", "Used 18.3G of 15.75G hbm".
ASKED = re.compile(
  r"(?:allocat\w+|Used|temporaries \()\s*([\d.]+)\s*([KMGT]?)i?"
)


def is_out_of_memory(error: BaseException) -> bool:
  """Returns whether an error is XLA's, and says that a memory is full."""
  return isinstance(error, jax.errors.JaxRuntimeError) and (
    re.search("RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error)) is not None
  )


def parse_asked(message: str) -> int | None:
  """Parses the bytes that were asked for from XLA's message."""
  found = ASKED.search(message)
  return int(float(found[1]) * UNITS[found[2]]) if found else None


def count_needed(compiled: Any) -> int:
  """Counts the bytes that a compiled program takes on a device."""
  said = compiled.memory_analysis()
  return (
    said.argument_size_in_bytes
    + said.output_size_in_bytes
    - said.alias_size_in_bytes
    + said.temp_size_in_bytes
  )


@contextlib.contextmanager
def explained(exp: Any) -> Iterator[None]:
  """Wraps what may fill the memory of an experiment's devices.

  Raises:
    RunError: in place of XLA's error, with the remedies.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    raise RunError(describe(exp, parse_asked(str(error)))) from error


def describe(exp: Any, asked: int | None) -> str:
  """Formats the message of a run that is out of memory.

  Args:
    exp: its `Experiment`.
    asked: bytes that were asked for, if they are known.
  """
  device = exp.mesh.devices.flat[0]
  there = get_memory(device)
  facts = [
    f"{format_bytes(asked)} were asked for" if asked else "",
    f"a step may take {format_bytes(there)}" if there else "",
  ]
  text = f"the memory of {device.device_kind} is full"
  text = ": ".join(filter(None, (text, ", ".join(filter(None, facts)))))
  keys, parts = [], 2 * exp.fit.accumulate
  divides = exp.train.batch_size % (parts * count_data_shards(exp.mesh)) == 0
  if exp.objective.splits and divides:
    keys.append(f"train.accumulate={parts}")
  if exp.fit.remat in ("none", "dots"):
    keys.append("model.remat=full")
  if exp.mesh.shape["fsdp"] < exp.mesh.size:
    keys.append(f"mesh.fsdp={exp.mesh.size}")
  keys.append("a smaller train.batch_size")
  return (
    f"{text}\n  it runs with train.batch_size={exp.train.batch_size}, "
    f"train.accumulate={exp.fit.accumulate}, model.remat={exp.fit.remat}; "
    f"these take less: {', '.join(keys)}"
  )
