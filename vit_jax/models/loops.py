# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The loops of traced programs: `jax.lax.scan`, as versions of JAX have it."""

from collections.abc import Sequence
from typing import Any


def split_loop(params: Any, inputs: Sequence[Any]) -> list[list[Any]]:
  """Splits a loop's inputs: the same for all steps, carried on, and stacked.

  Args:
    params: of its equation.
    inputs: one for each of the equation's.
  """
  inputs = list(inputs)
  if "ft_in" in params:  # As jax 0.12 describes them.
    return [list(x) for x in params["ft_in"].update(inputs).unpack()]
  first = params["num_consts"]
  last = first + params["num_carry"]
  return [inputs[:first], inputs[first:last], inputs[last:]]
