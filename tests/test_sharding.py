# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vit_jax import sharding
from vit_jax.config import ConfigError
from vit_jax.experiment import Experiment

SIZES = {"replica": 1, "fsdp": 4, "tensor": 2}


@pytest.mark.parametrize(
  ("letters", "shape", "expected"),
  [
    ("L D M", (12, 8, 16), PartitionSpec(None, "fsdp", "tensor")),
    ("L D K C", (12, 8, 4, 2), PartitionSpec(None, "fsdp", "tensor", None)),
    ("B N D", (8, 5, 8), PartitionSpec("fsdp", None, None)),  # B claims fsdp.
    ("B N M", (8, 5, 8), PartitionSpec("fsdp", None, "tensor")),
    ("D M", (6, 3), PartitionSpec(None, None)),  # Neither is divisible.
    ("R Y", (8, 10), PartitionSpec("fsdp", "tensor")),
    ("1 N D", (1, 5, 8), PartitionSpec(None, None, "fsdp")),
  ],
)
def test_get_spec(letters, shape, expected):
  assert sharding.get_spec(letters, shape, SIZES) == expected


def test_batches_span_replicas_and_fsdp():
  sizes = {"replica": 2, "fsdp": 2, "tensor": 2}
  expected = PartitionSpec(("replica", "fsdp"), None)
  assert sharding.get_spec("B Y", (8, 3), sizes) == expected


@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ({}, (1, 8, 1)),
    (dict(fsdp=1, replica=-1), (8, 1, 1)),
    (dict(tensor=2), (1, 4, 2)),
    (dict(replica=2, fsdp=2, tensor=2), (2, 2, 2)),
  ],
)
def test_make_mesh(sizes, expected):
  mesh = sharding.make_mesh(**sizes)
  assert tuple(mesh.shape.values()) == expected
  assert tuple(mesh.shape) == sharding.AXES


@pytest.mark.parametrize(
  "sizes", [dict(fsdp=3), dict(tensor=3), dict(tensor=16), dict(fsdp=0)]
)
def test_a_mesh_that_does_not_fit_is_refused(sizes):
  with pytest.raises(ConfigError, match="mesh"):
    sharding.make_mesh(**sizes)


def test_two_free_axes_are_refused():
  with pytest.raises(ConfigError, match="one may be -1"):
    sharding.make_mesh(fsdp=-1, tensor=-1)


def test_constrain_without_a_mesh_changes_nothing():
  x = jnp.ones((2, 3))
  assert sharding.constrain(x, "B D") is x


def test_a_parameter_without_letters_is_an_error():
  mesh = sharding.make_mesh()
  tree = {"params": {"stranger": jax.ShapeDtypeStruct((8,), jnp.float32)}}
  with pytest.raises(ValueError, match="params/stranger"):
    sharding.get_shardings(mesh, tree)
  # What an objective or an optimizer keeps for itself is replicated.
  placed = sharding.get_shardings(mesh, {"aux": tree["params"]})
  assert placed["aux"]["stranger"].spec == PartitionSpec()


def test_state_is_sharded_and_moments_follow_their_parameters(config):
  config["model"]["variant"] = "Ti/4"
  config["mesh"] = dict(fsdp=4, tensor=2)
  state = Experiment(config).abstract_state
  mlp = state.params["Transformer"]["encoderblock"]["MlpBlock_0"]
  assert mlp["Dense_0"]["kernel"].sharding.spec == PartitionSpec(
    None, "fsdp", "tensor"
  )
  params = jax.tree.leaves(state.params)
  for moments in (state.opt_state[0].mu, state.opt_state[0].nu, state.ema):
    for parameter, moment in zip(params, jax.tree.leaves(moments), strict=True):
      assert parameter.sharding == moment.sharding
  held = sum(
    np.prod(x.sharding.shard_shape(x.shape)) for x in jax.tree.leaves(params)
  )
  whole = sum(x.size for x in params)
  # All but the query, key and value biases, the heads (3 do not divide by 2)
  # and the classes' bias is in eight or four parts.
  assert whole / 8 < held < 1.25 * whole / 4


def test_indivisible_arrays_are_listed(config):
  config["model"]["num_heads"] = 1
  config["mesh"] = dict(fsdp=1, tensor=8)
  found = sharding.get_indivisible(Experiment(config).abstract_state.params)
  assert found["head/kernel"] == (32, 10)
  attention = "Transformer/encoderblock/MultiHeadDotProductAttention_0"
  assert found[f"{attention}/query/kernel"] == (1, 32, 1, 32)
  assert not any("MlpBlock" in path for path in found)
