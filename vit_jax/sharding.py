# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and the two tables that place every array on it.

`LETTERS` says which letters an array's dimensions have, `RULES` on which mesh
axes a letter lives. A mesh axis serves an array once: the first letter that
claims it gets it, so D is sharded in a kernel "D M" but not in an activation
"B N D", whose B was there before. A dimension that its axes do not divide is
replicated.

B batch, N tokens, P patch side, c image channels, D width, M MLP width, K
heads, C head size, R pre-logits, Y classes, L layers.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.experimental import mesh_utils
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)

from vit_jax.chips import Chip, get_chip
from vit_jax.config import ConfigError

AXES = ("replica", "fsdp", "tensor")

# Of a device's memory, for parameters, gradients, optimizer and average; the
# rest is for activations, of which there are more the more examples it holds.
SHARE = 0.25

RULES = {
  "B": ("replica", "fsdp"),
  "D": ("fsdp",),
  "R": ("fsdp",),
  "M": ("tensor",),
  "K": ("tensor",),
  "Y": ("tensor",),
}

# The end of a parameter's path -> its letters; the first match wins. Blocks are
# stacked, so a leading L is added to what lies under STACKED. Of a convolution
# D are the channels that come out.
STACKED = ("encoderblock/", "MixerBlock/")
LETTERS = (
  (r"embedding/kernel", "P P c D"),
  (r"embedding/bias", "D"),
  (r"cls|probe", "1 1 D"),
  (r"pos_embedding|register", "1 N D"),
  (r"[xy]_embedding", "N D"),
  (r"relative/embedding", "N K C"),
  (r"(LayerNorm_\d|(encoder|pooled)_norm)/(scale|bias)", "D"),
  (r"(LayerScale_\d|pre_head_layer_norm)/(scale|bias)", "D"),
  (r"(query|key)_norm/(scale|bias)", "C"),
  (r"(stem|conv_root|conv\d|conv_proj|standardized_conv2d)/kernel", "P P c D"),
  (r"(gn_root|gn\d|gn_proj|group_norm)/(scale|bias)|stem/bias", "D"),
  (r"token_mixing/Dense_0/kernel", "N M"),
  (r"token_mixing/Dense_1/kernel", "M N"),
  (r"token_mixing/Dense_1/bias", "N"),
  (r"(query|key|value)/kernel", "D K C"),
  (r"(query|key|value)/bias", "K C"),
  (r"out/kernel", "K C D"),
  (r"out/bias", "D"),
  (r"(Dense_0|gate)/kernel", "D M"),
  (r"(Dense_0|gate)/bias", "M"),
  (r"Dense_1/kernel", "M D"),
  (r"Dense_1/bias", "D"),
  (r"pre_logits/kernel", "D R"),
  (r"pre_logits/bias", "R"),
  (r"head/kernel", "R Y"),
  (r"head/bias", "Y"),
)


def make_mesh(
  devices: Sequence[jax.Device] | None = None,
  state: Any = None,
  *,
  replica: int | None = None,
  fsdp: int | None = None,
  tensor: int | None = None,
) -> Mesh:
  """The mesh (replica, fsdp, tensor); one size may be -1, meaning "the rest".

  Without sizes parameters are sharded no further than the memory of a device
  asks for, and the rest are replicas; see `choose_fsdp`. A size alone leaves
  the rest to replica, or to fsdp if replica is the one.

  Slices of TPUs are joined by a slower network, which only replica spans: the
  devices of the other two axes are of one slice.

  Args:
    devices: all of them when None.
    state: abstract train state, by whose size fsdp is chosen.
    replica: data parallel; parameters are repeated.
    fsdp: data parallel; parameters and optimizer are sharded (ZeRO 3).
    tensor: shards heads and MLP width.

  Raises:
    ConfigError: if the sizes do not multiply to the number of devices, or
      replica is no multiple of the number of slices.
  """
  devices = list(jax.devices() if devices is None else devices)
  # Only devices of several slices are sure to say which they are of.
  slices = len({getattr(device, "slice_index", 0) for device in devices})
  sizes = dict(replica=replica, fsdp=fsdp, tensor=tensor)
  given = {axis: size for axis, size in sizes.items() if size is not None}
  asked = ", ".join(f"mesh.{axis}={size}" for axis, size in given.items())
  values = list(given.values())
  if values.count(-1) > 1 or any(size < 1 and size != -1 for size in values):
    raise ConfigError(f"{asked}: sizes are positive, and one may be -1")
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
      f"{asked} does not fit {len(devices)} devices: take divisors that "
      f"multiply to {len(devices)}; one that is -1 or not set is the rest"
    )
  if sizes["replica"] % slices:
    raise ConfigError(
      f"{asked} makes mesh.replica={sizes['replica']}, and the "
      f"{len(devices)} devices are {slices} slices, which only replica spans: "
      f"take a mesh.replica that is a multiple of {slices}"
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
  """Whether these sizes, of which None is not set, leave fsdp to us."""
  return (
    sizes["replica"] is None and sizes["fsdp"] is None and sizes["tensor"] != -1
  )


def choose_fsdp(
  devices: Sequence[jax.Device], state: Any, slices: int, tensor: int
) -> int:
  """The smallest fsdp with which a state takes SHARE of a device's memory.

  It divides the devices of a slice; if none is enough it is all of them. The
  memory is that of the table, not what a device says of itself: every process,
  and the planner without a device, must choose the same.

  Args:
    devices: of the mesh.
    state: abstract train state; None is of no size.
    slices: how many the devices are of.
    tensor: size of that axis.
  """
  chip = get_chip(devices[0])
  if state is None or chip is None:
    return 1
  most = max(1, len(devices) // slices // tensor)
  for fsdp in (size for size in range(1, most) if most % size == 0):
    mesh = AbstractMesh((1, fsdp, tensor), AXES)
    if fits(place(mesh, state), chip):
      return fsdp
  return most


def fits(state: Any, chip: Chip) -> bool:
  """Whether a placed state leaves enough of a device to everything else."""
  return count_state_bytes(state) <= SHARE * chip.memory


def count_bytes(tree: Any) -> int:
  """Bytes that a device holds of abstract or real arrays with shardings."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def count_state_bytes(state: Any) -> int:
  """Bytes that a device holds of a placed train state and its gradients."""
  return count_bytes(state) + count_bytes(state.params)


def get_spec(
  letters: str, shape: Sequence[int], sizes: dict[str, int]
) -> PartitionSpec:
  """Where an array of these letters lives on a mesh of these axis sizes."""
  names = letters.split()
  if len(names) != len(shape):
    raise ValueError(f"letters {letters!r} do not name the shape {shape}")
  used, spec = set(), []
  for name, dimension in zip(names, shape, strict=True):
    axes = tuple(
      axis
      for axis in RULES.get(name, ())
      if sizes[axis] > 1 and axis not in used
    )
    if axes and dimension % math.prod(sizes[axis] for axis in axes) == 0:
      used.update(axes)
      spec.append(axes if len(axes) > 1 else axes[0])
    else:
      spec.append(None)
  return PartitionSpec(*spec)


def constrain(x: jax.Array, letters: str) -> jax.Array:
  """Pins an activation to its place on the mesh in use, if there is one.

  Without this XLA spreads activations along the axis of the weights, at many
  times the cost.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not set(AXES) <= set(mesh.axis_names):
    return x  # There is none, or it is the caller's own.
  spec = get_spec(letters, x.shape, dict(mesh.shape))
  return jax.lax.with_sharding_constraint(x, spec)


def apply_locally(function: Callable, x: jax.Array) -> jax.Array:
  """A function of an array [B ...] by each device on its own examples.

  Args:
    function: of every example alone.
    x: [B ...].
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not set(AXES) <= set(mesh.axis_names):
    return function(x)
  spec = get_spec("B", x.shape[:1], dict(mesh.shape))
  return jax.shard_map(function, in_specs=spec, out_specs=spec)(x)


def get_path(keys: Sequence[Any]) -> str:
  """A pytree key path as text, as `Transformer/encoderblock/.../kernel`."""
  return jax.tree_util.keystr(keys, simple=True, separator="/")


def is_stacked(path: str) -> bool:
  """Whether the array at a path has a leading L, one row a block."""
  return any(name in path for name in STACKED)


def get_letters(path: str) -> str | None:
  """The letters of the parameter at a path; None if no row of LETTERS fits."""
  for pattern, letters in LETTERS:
    if re.search(rf"(^|/)({pattern})$", path):
      return f"L {letters}" if is_stacked(path) else letters
  return None


def get_shardings(mesh: Mesh | AbstractMesh, tree: Any) -> Any:
  """A NamedSharding for every array of a train state or parameter tree.

  Moments, averages and the like end in the path of their parameter and follow
  it. What is no parameter and has no letters, or another rank (counters,
  factored statistics), is replicated.

  Raises:
    ValueError: if a parameter has no letters or another rank than its letters.
  """
  sizes = dict(mesh.shape)

  def get_sharding(keys, leaf):
    path = get_path(keys)
    letters = get_letters(path)
    fits = letters is not None and len(letters.split()) == leaf.ndim
    if not fits and "params" in path.split("/"):
      raise ValueError(
        f"sharding.LETTERS gives {path!r} the letters {letters!r}, which do "
        f"not name its shape {leaf.shape}"
      )
    spec = get_spec(letters, leaf.shape, sizes) if fits else PartitionSpec()
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(get_sharding, tree)


def place(mesh: Mesh | AbstractMesh, tree: Any) -> Any:
  """A tree of shapes with the shardings of `get_shardings`."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
    get_shardings(mesh, tree),
  )


def get_batch_sharding(mesh: Mesh) -> NamedSharding:
  """The place of every array of a batch: B over the data-parallel axes."""
  axes = tuple(axis for axis in RULES["B"] if mesh.shape[axis] > 1)
  return NamedSharding(mesh, PartitionSpec(axes or None))


def get_data_parallelism(mesh: Mesh) -> int:
  """Into how many parts the mesh splits a batch."""
  return math.prod(mesh.shape[axis] for axis in RULES["B"])
