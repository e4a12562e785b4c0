# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What a mesh makes of a train state, for people to read before a run."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh

from vit_jax.chips import get_chip
from vit_jax.sharding import (
  RULES,
  SHARE,
  count_state_bytes,
  fits,
  get_letters,
  get_path,
  is_fsdp_chosen,
)

# Share of the parameters that may be repeated for want of a divisor before it
# is worth a warning.
INDIVISIBLE = 0.02


def describe_mesh(
  mesh: Mesh, state: Any, sizes: Mapping[str, int | None]
) -> str:
  """A line on what the mesh means for memory, and why it is this one.

  Args:
    mesh: from `make_mesh`.
    state: abstract train state on it.
    sizes: as they were asked for.
  """
  device, fsdp = mesh.devices.flat[0], mesh.shape["fsdp"]
  chip, held = get_chip(device), count_state_bytes(state)
  text = (
    f"parameters, gradients, optimizer and average: {held / 2**20:,.1f} MiB a "
    f"device"
  )
  if chip is not None:
    text += f", {held / chip.memory:.1%} of its {chip.memory / 2**30:g} GiB"
  if mesh.size == 1 or not is_fsdp_chosen(sizes):
    return text
  if chip is None:
    return (
      f"{text}; mesh.fsdp=1, as the memory of {device.device_kind} is unknown"
    )
  if not fits(state, chip):
    return f"{text}; more than {SHARE:.0%} even with mesh.fsdp={fsdp}, the most"
  return f"{text}; mesh.fsdp={fsdp} is the smallest that keeps to {SHARE:.0%}"


def get_indivisible(params: Any) -> dict[str, tuple[int, ...]]:
  """What is in fewer parts only because the mesh does not divide it.

  Args:
    params: abstract or real parameters with NamedShardings.

  Returns:
    path -> shape, of arrays with a letter that lives on a mesh axis larger
    than one, and yet are not divided by it.
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
  """Lines on the parameters that are not divided; the first is a warning.

  Args:
    params: abstract parameters with NamedShardings.
  """
  found = get_indivisible(params)
  lines = [
    f"in fewer parts, as the mesh does not divide it: {path} {shape}"
    for path, shape in found.items()
  ]
  whole = sum(leaf.size for leaf in jax.tree.leaves(params))
  share = sum(math.prod(shape) for shape in found.values()) / whole
  if share > INDIVISIBLE:
    lines.insert(
      0,
      f"{share:.0%} of the parameters are needlessly repeated: mesh.fsdp and "
      f"mesh.tensor should divide their dimensions",
    )
  return lines
