# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Memory report: bytes of the train state on each device of a mesh."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vit_jax.devices.mesh import (
  SHARE,
  fits,
  is_fsdp_chosen,
)
from vit_jax.devices.specs import get_device_spec
from vit_jax.sharding import RULES, count_state_bytes, get_letters, get_path

# Share of parameters in indivisible arrays above which there is a warning.
MAX_INDIVISIBLE = 0.02


def describe_mesh(
  mesh: Mesh,
  state: Any,
  sizes: Mapping[str, int | None],
  trained: Any = None,
) -> str:
  """Formats the memory of a train state on a device, and why fsdp was chosen.

  Args:
    mesh: mesh of `make_mesh`.
    state: abstract train state with shardings on it.
    sizes: requested axis sizes, the `mesh` section of a config.
    trained: see `count_state_bytes`.
  """
  device, fsdp = mesh.devices.flat[0], mesh.shape["fsdp"]
  spec, held = get_device_spec(device), count_state_bytes(state, trained)
  text = (
    f"parameters, gradients, optimizer and average: {held / 2**20:,.1f} MiB a "
    f"device"
  )
  if spec is not None:
    text += f", {held / spec.memory:.1%} of its {spec.memory / 2**30:g} GiB"
  if mesh.size == 1 or not is_fsdp_chosen(sizes):
    return text
  if spec is None:
    return (
      f"{text}; mesh.fsdp=1, as the memory of {device.device_kind} is unknown"
    )
  if not fits(state, spec):
    return f"{text}; over {SHARE:.0%} even with the largest mesh.fsdp={fsdp}"
  if device.platform == "tpu":
    return (
      f"{text}; mesh.fsdp={fsdp} is within {SHARE:.0%}, and as many chips "
      "share the optimizer's work"
    )
  return f"{text}; mesh.fsdp={fsdp} is the smallest within {SHARE:.0%}"


def find_indivisible(params: Any) -> dict[str, tuple[int, ...]]:
  """Finds parameters that are not sharded because an axis does not divide them.

  Args:
    params: abstract or real parameters with NamedShardings.

  Returns:
    path -> shape of arrays with a letter that RULES puts on a mesh axis larger
    than one, but which are not split along that axis.
  """
  found = {}
  for keys, leaf in jax.tree_util.tree_leaves_with_path(params):
    path, sizes = get_path(keys), leaf.sharding.mesh.shape
    letters = (get_letters(path) or "").split()
    axes = {axis for letter in letters for axis in RULES.get(letter, ())}
    used = set(jax.tree.leaves(tuple(leaf.sharding.spec)))
    if any(sizes[axis] > 1 for axis in axes - used):
      found[path] = tuple(leaf.shape)
  return found


def describe_indivisible(params: Any) -> list[str]:
  """Lists the indivisible parameters, after a warning if they are many.

  Args:
    params: abstract parameters with NamedShardings.
  """
  found = find_indivisible(params)
  lines = [
    f"{path} {shape} is not fully sharded: the mesh does not divide its shape"
    for path, shape in found.items()
  ]
  whole = sum(leaf.size for leaf in jax.tree.leaves(params))
  share = sum(math.prod(shape) for shape in found.values()) / whole
  if share > MAX_INDIVISIBLE:
    lines.insert(
      0,
      f"{share:.0%} of the parameters are not fully sharded: choose mesh.fsdp "
      f"and mesh.tensor that divide their dimensions",
    )
  return lines
