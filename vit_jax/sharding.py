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
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vit_jax.config import ConfigError

AXES = ("replica", "fsdp", "tensor")

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
  *,
  replica: int = 1,
  fsdp: int = -1,
  tensor: int = 1,
) -> Mesh:
  """The mesh (replica, fsdp, tensor); one size may be -1, meaning "the rest".

  Args:
    devices: all of them when None, in the platform's best order.
    replica: data parallel; parameters are repeated.
    fsdp: data parallel; parameters and optimizer are sharded (ZeRO 3).
    tensor: shards heads and MLP width.

  Raises:
    ConfigError: if the sizes do not multiply to the number of devices.
  """
  devices = list(jax.devices() if devices is None else devices)
  sizes = dict(replica=replica, fsdp=fsdp, tensor=tensor)
  rest = [axis for axis, size in sizes.items() if size == -1]
  asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
  if len(rest) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
    raise ConfigError(f"{asked}: sizes are positive, and one may be -1")
  known = math.prod(size for size in sizes.values() if size != -1)
  if rest:
    sizes[rest[0]] = max(1, len(devices) // known)
  if math.prod(sizes.values()) != len(devices):
    raise ConfigError(
      f"{asked} does not fit {len(devices)} devices: the sizes must multiply "
      f"to {len(devices)} (set one of them to -1)"
    )
  shape = tuple(sizes[axis] for axis in AXES)
  types = (AxisType.Auto,) * len(AXES)
  return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)


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


def get_shardings(mesh: Mesh, tree: Any) -> Any:
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


def get_batch_sharding(mesh: Mesh) -> NamedSharding:
  """The place of every array of a batch: B over the data-parallel axes."""
  axes = tuple(axis for axis in RULES["B"] if mesh.shape[axis] > 1)
  return NamedSharding(mesh, PartitionSpec(axes or None))


def get_data_parallelism(mesh: Mesh) -> int:
  """Into how many parts the mesh splits a batch."""
  return math.prod(mesh.shape[axis] for axis in RULES["B"])


def get_indivisible(tree: Any) -> dict[str, tuple[int, ...]]:
  """What is replicated only because no mesh axis divides its dimensions.

  Args:
    tree: abstract or real arrays with NamedShardings.

  Returns:
    path -> shape, of arrays with a letter that lives on a mesh axis larger
    than one, and yet no dimension on any.
  """
  found = {}
  for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
    path, sizes = get_path(keys), leaf.sharding.mesh.shape
    letters = (get_letters(path) or "").split()
    axes = {axis for letter in letters for axis in RULES.get(letter, ())}
    wanted = leaf.ndim and any(sizes[axis] > 1 for axis in axes)
    if wanted and not any(leaf.sharding.spec):
      found[path] = tuple(leaf.shape)
  return found
