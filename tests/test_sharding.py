# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.support import build
from vit_jax import models, optim, sharding
from vit_jax.config import ConfigError
from vit_jax.devices import memory
from vit_jax.devices.mesh import make_mesh
from vit_jax.objectives.supervised import Supervised
from vit_jax.train_step import make_init_state

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
    ({}, (8, 1, 1)),  # Of a state of no size.
    (dict(replica=-1), (8, 1, 1)),
    (dict(replica=2), (2, 4, 1)),
    (dict(fsdp=4), (2, 4, 1)),
    (dict(fsdp=-1), (1, 8, 1)),
    (dict(tensor=2), (4, 1, 2)),
    (dict(tensor=-1), (1, 1, 8)),
    (dict(fsdp=-1, tensor=2), (1, 4, 2)),
    (dict(fsdp=2, tensor=2), (2, 2, 2)),
    (dict(replica=2, fsdp=2, tensor=2), (2, 2, 2)),
  ],
)
def test_make_mesh(sizes, expected):
  mesh = make_mesh(**sizes)
  assert tuple(mesh.shape.values()) == expected
  assert tuple(mesh.shape) == sharding.AXES


@pytest.mark.parametrize(
  "sizes",
  [
    *(dict(fsdp=3), dict(tensor=3), dict(tensor=16), dict(fsdp=0)),
    *(dict(replica=2, fsdp=2, tensor=1), dict(replica=-1, fsdp=16)),
  ],
)
def test_a_mesh_that_does_not_fit_is_refused(sizes):
  asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items())
  with pytest.raises(ConfigError, match=f"^{asked}(: | does not fit 8 )"):
    make_mesh(**sizes)


@dataclasses.dataclass(frozen=True)
class Device:
  """A device of one of several slices, as far as `make_mesh` reads it."""

  id: int
  slice_index: int
  platform: str = "cpu"
  device_kind: str = "TPU v5 lite"


def test_slices_are_replicas():
  """devices/test_tpu_meshes.py has the same with the compiler's devices."""
  devices = [Device(i, i % 2) for i in range(8)]
  make = inspect.unwrap(make_mesh)  # These are not jax.Device.
  mesh = make(devices, fsdp=2, tensor=2)
  for replica, expected in zip(mesh.devices, (0, 1), strict=True):
    assert {device.slice_index for device in replica.flat} == {expected}
  assert make(devices, fsdp=-1).devices.shape == (2, 4, 1)
  with pytest.raises(ConfigError, match="mesh.fsdp=8 makes mesh.replica=1, "):
    make(devices, fsdp=8)


def test_two_free_axes_are_refused():
  with pytest.raises(ConfigError, match="one may be -1"):
    make_mesh(fsdp=-1, tensor=-1)


def test_constrain_without_a_mesh_changes_nothing():
  x = jnp.ones((2, 3))
  assert sharding.constrain(x, "B D") is x


def test_a_parameter_without_letters_is_an_error():
  mesh = make_mesh()
  tree = {"params": {"unknown": jax.ShapeDtypeStruct((8,), jnp.float32)}}
  with pytest.raises(ValueError, match="params/unknown"):
    sharding.get_shardings(mesh, tree)
  # Arrays of an objective or an optimizer are replicated.
  placed = sharding.get_shardings(mesh, {"aux": tree["params"]})
  assert placed["aux"]["unknown"].spec == PartitionSpec()


def test_state_is_sharded_and_moments_follow_their_parameters(config):
  config["model"]["variant"] = "Ti/4"
  config["mesh"] = dict(fsdp=4, tensor=2)
  state = build(config).abstract_state
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


def get_state(variant, name, classes):
  """The shapes of a state at 224 px, with an average."""
  model = models.make_model(classes, variant=variant)
  options = optim.Optim(name=name, lr=1.0, weight_decay=0.1, clip_norm=1.0)
  tx = optim.make_optimizer(options, optim.make_schedule(options, 10))
  return jax.eval_shape(
    make_init_state(Supervised(model), tx, (224, 224, 3), seed=0, ema=0.99)
  )


@pytest.mark.parametrize("sizes", [dict(fsdp=8), dict(fsdp=4, tensor=2)])
@pytest.mark.parametrize("name", optim.options.OPTIMIZERS)
@pytest.mark.parametrize("variant", ["B/16", "L/16", "H/14"])
def test_eight_devices_hold_an_eighth_each(variant, name, sizes):
  """All arrays together, with those that no axis is meant to divide."""
  state = get_state(variant, name, 1000)
  placed = sharding.place(make_mesh(**sizes), state)
  whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  assert sharding.count_bytes(placed) <= 1.02 * whole / 8
  assert not memory.find_indivisible(placed.params)
  assert not memory.describe_indivisible(placed.params)


@pytest.mark.parametrize("name", optim.options.OPTIMIZERS)
def test_what_exceeds_an_eighth_is_listed(name):
  """ImageNet-21k has 21,843 classes, which two do not divide."""
  state = get_state("B/16", name, 21_843)
  mesh = make_mesh(fsdp=4, tensor=2)
  placed = sharding.place(mesh, state)
  head = {"head/kernel": (768, 21_843), "head/bias": (21_843,)}
  assert memory.find_indivisible(placed.params) == head
  found = jax.tree_util.tree_leaves_with_path(placed)
  divided = [
    x for keys, x in found if not sharding.get_path(keys).endswith(tuple(head))
  ]
  whole = sum(x.size * x.dtype.itemsize for x in divided)
  assert sharding.count_bytes(divided) <= 1.02 * whole / 8
  share = 768 * 21_843 + 21_843
  share /= sum(x.size for x in jax.tree.leaves(placed.params))
  warning, *lines = memory.describe_indivisible(placed.params)
  assert warning.startswith(f"{share:.0%} of the parameters are not fully ")
  assert [line.partition(" is not")[0] for line in lines] == [
    "head/bias (21843,)",
    "head/kernel (768, 21843)",
  ]


def test_a_cpu_has_no_memory_of_its_own(config):
  exp = build(config)
  assert exp.mesh.devices.shape == (8, 1, 1)
  assert memory.describe_mesh(
    exp.mesh, exp.abstract_state, exp.config["mesh"]
  ).endswith(" MiB a device; mesh.fsdp=1, as the memory of cpu is unknown")


def test_indivisible_arrays_are_listed(config):
  config["model"]["num_heads"] = 1
  config["mesh"] = dict(fsdp=1, tensor=8)
  found = memory.find_indivisible(build(config).abstract_state.params)
  assert found["head/kernel"] == (32, 10)
  attention = "Transformer/encoderblock/MultiHeadDotProductAttention_0"
  assert found[f"{attention}/query/kernel"] == (1, 32, 1, 32)
  assert not any("MlpBlock" in path for path in found)
