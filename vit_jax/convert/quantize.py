# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels in int8, for inference: a quarter of the memory of float32.

A kernel is int8 times a float32 scale for each output channel, which maps the
largest value of the channel to 127 (symmetric, so zero stays zero). A layer
multiplies them out where it uses them, in a scanned model one block at a time.
Biases, norms, positions and tokens stay as they are.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vit_jax.sharding import is_stacked

KERNEL, SCALE = "kernel", "kernel_scale"
LARGEST = 127

# Projections to heads, whose output channels are two dimensions, [K C].
TO_HEADS = ("query/kernel", "key/kernel", "value/kernel")


def quantize(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Replaces every kernel by int8 values, and adds their scales beside it.

  Args:
    params: our path -> float array.
  """
  found = dict(params)
  for path, array in params.items():
    if path.rpartition("/")[2] == KERNEL:
      values, scale = _quantize_kernel(path, np.asarray(array))
      found[path] = values
      found[path.removesuffix(KERNEL) + SCALE] = scale
  return found


def round_kernels(
  params: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Replaces every kernel by what its int8 values and scales stand for.

  Args:
    params: our path -> float array.
  """
  found = quantize(params)
  for path in [x for x in found if x.rpartition("/")[2] == SCALE]:
    scale = found.pop(path)
    kernel = path.removesuffix(SCALE) + KERNEL
    found[kernel] = found[kernel].astype(np.float32) * scale
  return found


def _quantize_kernel(
  path: str, array: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns int8 values and the scales, whose other dimensions are 1."""
  outputs = 2 if path.endswith(TO_HEADS) else 1
  axes = tuple(range(int(is_stacked(path)), array.ndim - outputs))
  largest = np.abs(array).max(axis=axes, keepdims=True)
  scale = np.where(largest == 0, LARGEST, largest) / np.float32(LARGEST)
  # A value that is not finite makes the scale so too, and thereby all outputs.
  with np.errstate(invalid="ignore"):
    values = np.rint(array / scale).astype(np.int8)
  return values, scale.astype(np.float32)


def apply(module: nn.Module, variables: Any, *args: Any, **kwargs: Any) -> Any:
  """Applies a module to parameters of `quantize`; arguments as `apply` has.

  Raises:
    ValueError: if a layer reads its kernel in a way that is not known here.
  """
  used = set()

  def multiply_out(next_fun, arguments, named, context):
    layer = context.module
    own = layer.variables.get("params", {})
    if context.method_name != "__call__" or SCALE not in own:
      return next_fun(*arguments, **named)
    used.add("/".join(layer.path))
    params = {name: x for name, x in own.items() if name != SCALE}
    params[KERNEL] = own[KERNEL].astype(jnp.float32) * own[SCALE]
    alone = layer.clone(parent=None, name=None)
    return alone.apply({"params": params}, *arguments, **named)

  with nn.intercept_methods(multiply_out):
    result = module.apply(variables, *args, **kwargs)
  scales = jax.tree_util.tree_leaves_with_path(variables["params"])
  paths = (
    jax.tree_util.keystr(keys, simple=True, separator="/") for keys, _ in scales
  )
  wanted = {x.rpartition("/")[0] for x in paths if x.endswith(SCALE)}
  if wanted - used:
    raise ValueError(f"int8 kernels were not used: {sorted(wanted - used)}")
  return result
