# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations, counted from what a function would compute.

Only products count, two a multiply-add: that of matrices and of convolutions,
as in the literature. A scanned body counts as often as it runs, which XLA's own
count does not do.
"""

import math
from collections.abc import Callable
from typing import Any

import jax


def count_flops(function: Callable, *arguments: Any) -> int:
  """FLOPs of `function(*arguments)`; arguments may be shapes alone."""
  return count_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def count_jaxpr(jaxpr: Any) -> int:
  """FLOPs of a function that is traced already."""
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
  name = equation.primitive.name
  if name == "dot_general":
    out = equation.outvars[0].aval
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(out.shape) * math.prod(left[i] for i in contracted)
  if name == "conv_general_dilated":
    out = equation.outvars[0].aval
    kernel = equation.invars[1].aval.shape
    features = equation.params["dimension_numbers"].rhs_spec[0]
    a_feature = math.prod(kernel) // kernel[features]
    return 2 * math.prod(out.shape) * a_feature
  times = equation.params["length"] if name == "scan" else 1
  inner = [p for p in equation.params.values() if _is_jaxpr(p)]
  return times * sum(count_jaxpr(getattr(p, "jaxpr", p)) for p in inner)


def _is_jaxpr(value: Any) -> bool:
  return hasattr(getattr(value, "jaxpr", value), "eqns")
