# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Sharding of every array, by two tables: LETTERS and RULES.

LETTERS gives the dimensions of a parameter letters; RULES maps a letter to mesh
axes. An axis shards at most one dimension of an array, the first whose letter
claims it: D is sharded in a kernel "D M", but not in an activation "B N D",
where B comes first. A dimension that its axes do not divide is replicated.

B batch, N tokens, P patch side, c image channels, D width, M MLP width, K
heads, C head size, R pre-logits, Y classes, L layers, r rank of adapters.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import (
  AbstractMesh,
  Mesh,
  NamedSharding,
  PartitionSpec,
)

AXES = ("replica", "fsdp", "tensor")

# Letter -> mesh axes that may shard its dimension.
RULES = {
  "B": ("replica", "fsdp"),
  "D": ("fsdp",),
  "R": ("fsdp",),
  "M": ("tensor",),
  "K": ("tensor",),
  "Y": ("tensor",),
}

# Pattern of the end of a parameter's path -> its letters; the first match wins.
# Parameters under STACKED have a leading L, as blocks are stacked. D are also
# the output channels of a convolution.
STACKED = ("encoderblock/", "MixerBlock/")
LETTERS = (
  (r"embedding/kernel", "P P c D"),
  (r"embedding/bias", "D"),
  (r"cls|probe|mask", "1 1 D"),
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
  (r"segmentation/conv_\d/kernel", "P P c D"),
  (r"segmentation/(conv_\d/bias|norm_\d/(scale|bias))", "D"),
  (r"dino/hidden_\d/kernel|moco/(projector|predictor)_\d/kernel", "D M"),
  (r"dino/hidden_\d/bias|moco/(projector|predictor)_\d/(scale|bias)", "M"),
  (r"dino/bottleneck/kernel", "M R"),
  (r"dino/bottleneck/bias", "R"),
  (r"dino/last/kernel", "R Y"),
  (r"pre_logits/kernel", "D R"),
  (r"pre_logits/bias", "R"),
  (r"embed/kernel", "D _"),
  (r"embed/bias", "D"),
  (r"head/kernel", "R Y"),
  (r"head/bias", "Y"),
  (r"(query|key|value|Dense_0|gate)_lora/a", "D r"),
  (r"(query|key|value)_lora/b", "r K C"),
  (r"out_lora/a", "K C r"),
  (r"(out|Dense_1)_lora/b", "r D"),
  (r"(Dense_0|gate)_lora/b", "r M"),
  (r"Dense_1_lora/a", "M r"),
)
# Paths of the arrays of adapters (`models.adapter`).
ADAPTER = re.compile(r"_lora/[ab]$")


# Subtrees of parameters that an objective trains beside its model's. They are
# left out where weights are read from a run, and are above all layers.
OWN = ("masked_patch", "mae", "dino", "moco", "segmentation")


def count_bytes(tree: Any) -> int:
  """Counts the bytes per device of abstract or real arrays with shardings."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def count_state_bytes(state: Any, trained: Any = None) -> int:
  """Counts the bytes per device of a sharded train state and its gradients.

  Args:
    state: abstract or real, with shardings.
    trained: parameter -> whether it has a gradient; None is all.
  """
  gradients = state.params
  if trained is not None:
    gradients = take_trained(gradients, trained)
  return count_bytes(state) + count_bytes(gradients)


def take_trained(tree: Any, trained: Any) -> Any:
  """A tree like the parameters with None in place of what is not trained."""
  return jax.tree.map(lambda x, taken: x if taken else None, tree, trained)


def get_spec(
  letters: str, shape: Sequence[int], sizes: dict[str, int]
) -> PartitionSpec:
  """Looks up the PartitionSpec of an array.

  Args:
    letters: letters of its dimensions, separated by spaces.
    shape: its shape.
    sizes: size of each mesh axis.

  Raises:
    ValueError: if there are not as many letters as dimensions.
  """
  names = letters.split()
  if len(names) != len(shape):
    raise ValueError(f"letters {letters!r} do not match the shape {shape}")
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
  """Constrains an activation to its sharding on the current mesh, if any.

  Without it XLA shards activations like the weights, at many times the cost.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not set(AXES) <= set(mesh.axis_names):
    return x  # There is no mesh, or it is the caller's own.
  spec = get_spec(letters, x.shape, dict(mesh.shape))
  return jax.lax.with_sharding_constraint(x, spec)


def replicate(x: jax.Array) -> jax.Array:
  """Gives every device of the current mesh, if any, the whole of an array.

  Each process can then read it.
  """
  return constrain(x, " ".join("_" * x.ndim))


def apply_locally(function: Callable, *arrays: jax.Array) -> jax.Array:
  """Applies a function on each device to the examples that it holds.

  Args:
    function: [B ...], ... -> [B ...]; treats every example independently.
    *arrays: arrays [B ...].
  """
  mesh = jax.sharding.get_abstract_mesh()
  if not set(AXES) <= set(mesh.axis_names):
    return function(*arrays)
  spec = get_spec("B", arrays[0].shape[:1], dict(mesh.shape))
  return jax.shard_map(function, in_specs=spec, out_specs=spec)(*arrays)


def get_path(keys: Sequence[Any]) -> str:
  """Formats a pytree key path, as "Transformer/encoderblock/.../kernel"."""
  return jax.tree_util.keystr(keys, simple=True, separator="/")


def is_stacked(path: str) -> bool:
  """Returns whether the array at a path has a leading L, one row per block."""
  return any(name in path for name in STACKED)


def is_own(path: str) -> bool:
  """Returns whether a parameter is the objective's own, not the model's."""
  return path.partition("/")[0] in OWN


def get_letters(path: str) -> str | None:
  """Looks up the letters of the parameter at a path; None if there are none."""
  for pattern, letters in LETTERS:
    if re.search(rf"(^|/)({pattern})$", path):
      return f"L {letters}" if is_stacked(path) else letters
  return None


def get_shardings(mesh: Mesh | AbstractMesh, tree: Any) -> Any:
  """Looks up a NamedSharding for every array of a train state or parameters.

  Moments and averages are sharded like their parameter, in whose path theirs
  ends. Other arrays without letters, or of another rank (counters, factored
  statistics), are replicated.

  Raises:
    ValueError: if a parameter has no letters, or not as many as dimensions.
  """
  sizes = dict(mesh.shape)

  def get_sharding(keys, leaf):
    path = get_path(keys)
    letters = get_letters(path)
    fits = letters is not None and len(letters.split()) == leaf.ndim
    if not fits and "params" in path.split("/"):
      raise ValueError(
        f"parameter {path!r} of shape {leaf.shape} has the letters "
        f"{letters!r} in sharding.LETTERS: add a row that matches its shape"
      )
    spec = get_spec(letters, leaf.shape, sizes) if fits else PartitionSpec()
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(get_sharding, tree)


def place(mesh: Mesh | AbstractMesh, tree: Any) -> Any:
  """Makes an abstract tree with the shardings of `get_shardings`."""
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    tree,
    get_shardings(mesh, tree),
  )


def put(array: np.ndarray, leaf: Any) -> jax.Array:
  """Puts a host array on the devices, sharded like a leaf.

  Args:
    array: the whole array, on every process.
    leaf: abstract or real array of the same shape, with a sharding.
  """
  return jax.make_array_from_callback(
    leaf.shape, leaf.sharding, lambda index: array[index]
  )


def get_batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of a batch: B over the data-parallel axes."""
  axes = tuple(axis for axis in RULES["B"] if mesh.shape[axis] > 1)
  return NamedSharding(mesh, PartitionSpec(axes or None))


def count_data_shards(mesh: Mesh) -> int:
  """Counts the shards of a batch: the product of the data-parallel axes."""
  return math.prod(mesh.shape[axis] for axis in RULES["B"])
