# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The device mesh: its axes (replica, fsdp, tensor) and their sizes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh

from vit_jax.config import ConfigError
from vit_jax.devices.specs import DeviceSpec, get_device_spec
from vit_jax.sharding import AXES, count_state_bytes, place

# Share of a device's memory for parameters, gradients, optimizer and average;
# the rest is for activations, which grow with its share of the batch.
SHARE = 0.25

# A TPU's chips shard more than they must, to share the optimizer's pass over
# the state, which a replica does alone: until the state of a chip takes no more
# than SPREAD bytes, but over no more than WIDEST chips. By the compiler of v5e,
# B/16's recipe on 256 chips is 32.8 million cycles with fsdp=1, 21.5 with 256
# and 20.3 with 16; docs/performance.md has what chips send to one another. Over
# all 16 of v5e:4x4 it sums gradients in full and cuts the sums: there half.
SPREAD = 128 << 20
WIDEST = 16


def make_mesh(
  devices: Sequence[jax.Device] | None = None,
  state: Any = None,
  *,
  replica: int | None = None,
  fsdp: int | None = None,
  tensor: int | None = None,
) -> Mesh:
  """Makes the mesh (replica, fsdp, tensor); one size may be -1, "the rest".

  Without sizes, fsdp is that of `choose_fsdp`, and the rest are replicas. If
  one size is given, the rest goes to replica, or to fsdp if replica is the
  given one.

  TPU slices are joined by a slower network, which only replica spans: all
  devices along the other two axes belong to one slice.

  Args:
    devices: devices of the mesh; None for all.
    state: abstract train state, by whose size fsdp is chosen.
    replica: number of replicas of the parameters (data parallelism).
    fsdp: number of shards of parameters and optimizer state (data parallelism,
      ZeRO-3).
    tensor: number of shards of attention heads and MLP width (tensor
      parallelism).

  Raises:
    ConfigError: if the sizes do not multiply to the number of devices, or
      replica is not a multiple of the number of slices.
  """
  devices = list(jax.devices() if devices is None else devices)
  # Only devices of several slices are sure to have the attribute.
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  sizes = dict(replica=replica, fsdp=fsdp, tensor=tensor)
  given = {axis: size for axis, size in sizes.items() if size is not None}
  asked = ", ".join(f"mesh.{axis}={size}" for axis, size in given.items())
  values = list(given.values())
  if values.count(-1) > 1 or any(size < 1 and size != -1 for size in values):
    raise ConfigError(f"{asked}: sizes must be positive, and one may be -1")
  if is_fsdp_chosen(sizes):
    given["fsdp"] = choose_fsdp(devices, state, slices, tensor or 1)
  unset = [axis for axis in ("replica", "fsdp") if axis not in given]
  if unset and -1 not in values:
    given[unset[0]] = -1
  sizes = dict(replica=slices, fsdp=1, tensor=1) | given
  known = math.prod(size for size in sizes.values() if size != -1)
  for axis, size in sizes.items():
    if size == -1:
      sizes[axis] = max(1, len(devices) // known)
  shape = tuple(sizes[axis] for axis in AXES)
  if math.prod(shape) != len(devices):
    raise ConfigError(
      f"{asked} does not fit {len(devices)} devices: choose sizes that "
      f"multiply to {len(devices)}; one that is -1 or unset takes the rest"
    )
  if sizes["replica"] % slices:
    raise ConfigError(
      f"{asked} makes mesh.replica={sizes['replica']}, but the "
      f"{len(devices)} devices are {slices} slices, which only replica spans: "
      f"choose a mesh.replica that is a multiple of {slices}"
    )
  if slices > 1:
    placed = mesh_utils.create_hybrid_device_mesh(
      (shape[0] // slices, *shape[1:]),
      (slices, 1, 1),
      devices,
      allow_split_physical_axes=True,
    )
  else:
    placed = mesh_utils.create_device_mesh(
      shape, devices, allow_split_physical_axes=True
    )
  return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def is_fsdp_chosen(sizes: Mapping[str, int | None]) -> bool:
  """Returns whether sizes (None if unset) leave fsdp to `choose_fsdp`."""
  return (
    sizes["replica"] is None and sizes["fsdp"] is None and sizes["tensor"] != -1
  )


def choose_fsdp(
  devices: Sequence[jax.Device], state: Any, slices: int, tensor: int
) -> int:
  """Chooses the smallest fsdp with which the state fits; see `fits`.

  And, on TPUs, with which it is spread; see SPREAD.

  It divides the devices of a slice; if no size is enough, it is all of them.
  The memory is that of SPECS, not what a device reports: all processes, and the
  planner without a device, must choose the same.

  Args:
    devices: devices of the mesh.
    state: abstract train state; None for an empty one.
    slices: number of TPU slices of the devices.
    tensor: size of the tensor axis.
  """
  spec = get_device_spec(devices[0])
  if state is None or spec is None:
    return 1
  most = max(1, len(devices) // slices // tensor)
  widest = WIDEST if most > WIDEST else WIDEST // 2
  for fsdp in (size for size in range(1, most) if most % size == 0):
    placed = place(AbstractMesh((1, fsdp, tensor), AXES), state)
    wide = fsdp >= widest or count_state_bytes(placed) <= SPREAD
    if fits(placed, spec) and (wide or devices[0].platform != "tpu"):
      return fsdp
  return most


def fits(state: Any, spec: DeviceSpec) -> bool:
  """Returns whether a sharded state takes at most SHARE of a device."""
  return count_state_bytes(state) <= SHARE * spec.memory
