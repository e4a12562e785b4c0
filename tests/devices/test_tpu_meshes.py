# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Meshes of TPUs that are only described, by their compiler."""

import os

import jax
import numpy as np
import pytest
from jax.experimental import topologies

from tests.support import build
from vit_jax import sharding
from vit_jax.config import ConfigError
from vit_jax.devices import memory
from vit_jax.devices.detection import WITHOUT_TPU as QUIET
from vit_jax.devices.mesh import make_mesh

pytest.importorskip("libtpu")


@pytest.fixture(scope="module")
def get_devices():
  """Returns a function: name of a topology -> its devices."""

  def get(name, **kwargs):
    return topologies.get_topology_desc(
      platform="tpu", topology_name=name, **kwargs
    ).devices

  with pytest.MonkeyPatch.context() as patch:
    for key, value in QUIET.items():
      patch.setitem(os.environ, key, value)
    yield get


@pytest.mark.parametrize(
  "sizes",
  [(1, -1, 1), (-1, 8, 1), (1, -1, 2), (4, 16, 4), (-1, 1, 1), (2, -1, 4)],
  ids=str,
)
@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("v4:2x2x2", dict(chip_config_name="megacore")),
    ("v4:4x4x16", dict(chip_config_name="megacore")),
    ("v5e:2x4", {}),
    ("v5e:4x4", {}),
    ("v5e:16x16", {}),
    ("v5p:4x4x4", {}),
    ("v5p:4x8x8", {}),
    ("v6e:2x4", {}),
    ("v6e:16x16", {}),
    ("tpu7x:4x4x4", {}),
  ],
)
def test_every_topology_makes_every_mesh(get_devices, name, options, sizes):
  """Also meshes that split an axis of the torus, such as 4 of a side of 16."""
  devices = get_devices(name, **options)
  sizes = dict(zip(sharding.AXES, sizes, strict=True))
  if sizes["fsdp"] == 16 and len(devices) != 256:
    with pytest.raises(ConfigError, match=f"multiply to {len(devices)};"):
      make_mesh(devices, **sizes)
    return
  mesh = make_mesh(devices, **sizes)
  known = {axis: size for axis, size in sizes.items() if size != -1}
  assert known.items() <= dict(mesh.shape).items()
  assert set(mesh.devices.flat) == set(devices)
  assert mesh.size == len(devices)


@pytest.mark.parametrize(
  ("sizes", "expected"),
  [
    ({}, (16, 1, 1)),
    (dict(fsdp=-1), (2, 8, 1)),
    (dict(replica=4), (4, 4, 1)),
    (dict(fsdp=2, tensor=4), (2, 2, 4)),
    (dict(tensor=-1), (2, 1, 8)),
  ],
)
def test_only_replicas_span_slices(get_devices, sizes, expected):
  devices = get_devices("v5e:2x4", num_slices=2)
  mesh = make_mesh(devices, **sizes)
  assert mesh.devices.shape == expected
  assert set(mesh.devices.flat) == set(devices)
  slices = np.vectorize(lambda device: device.slice_index)(mesh.devices)
  half = len(slices) // 2
  assert np.all(slices[:half] == slices[0]), "neighbours are of one slice"
  assert (
    np.all(slices[half:] == slices[-1]) and slices[0, 0, 0] != slices[-1, 0, 0]
  )


@pytest.mark.parametrize("sizes", [dict(fsdp=16), dict(tensor=16)])
def test_fsdp_and_tensor_stay_in_a_slice(get_devices, sizes):
  with pytest.raises(ConfigError, match="replica that is a multiple of 2"):
    make_mesh(get_devices("v5e:2x4", num_slices=2), **sizes)


@pytest.mark.parametrize(
  ("name", "slices", "variant", "sizes", "expected"),
  [
    # Five times float32 (Adam and the average): 109 and 421 MiB, 1.6 GiB, 5.7
    # and 11.8.
    ("v5e:4x4", 1, "Ti/16", {}, (16, 1, 1)),
    ("v5e:4x4", 1, "S/16", {}, (4, 4, 1)),
    ("v5e:4x4", 1, "B/16", {}, (2, 8, 1)),
    ("v5e:4x8", 1, "B/16", {}, (2, 16, 1)),
    ("v5e:2x4", 1, "L/16", {}, (1, 8, 1)),
    ("v5e:2x4", 2, "H/14", {}, (2, 8, 1)),
    ("v5p:4x4x4", 1, "H/14", {}, (4, 16, 1)),
    ("v5e:2x4", 1, "H/14", dict(tensor=2), (1, 4, 2)),
    ("v5e:2x4", 1, "H/14", dict(replica=1), (1, 8, 1)),
    ("v5e:16x16", 1, "e/14", {}, (8, 32, 1)),
    ("v5e:2x4", 2, "e/14", {}, (2, 8, 1)),  # Does not fit, in any way.
  ],
)
def test_the_default_is_the_least_sharding_that_leaves_room(
  get_devices, name, slices, variant, sizes, expected
):
  options = dict(num_slices=slices) if slices > 1 else {}
  config = {
    "model": dict(variant=variant, remat="full"),
    "data": dict(source="synthetic:1000", size=224),
    "optim": dict(lr=1e-3, ema=0.99),
    "train": dict(batch_size=4096, steps=10, accumulate=1),
    "mesh": sizes,
  }
  devices = list(get_devices(name, **options))
  exp = build(config, devices)
  assert exp.mesh.devices.shape == expected
  held = sum(
    np.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in (
      *jax.tree.leaves(exp.abstract_state),
      *jax.tree.leaves(exp.abstract_state.params),
    )
  )
  assert held == sharding.count_state_bytes(exp.abstract_state)
  text = memory.describe_mesh(exp.mesh, exp.abstract_state, exp.config["mesh"])
  assert f" {held / 2**20:,.1f} MiB a device" in text
  if "replica" in sizes:
    assert text.endswith(" GiB")
  elif (variant, slices) == ("e/14", 2):
    assert text.endswith("over 25% even with the largest mesh.fsdp=8")
  else:
    assert text.endswith(
      f"mesh.fsdp={expected[1]} is within 25%, and as many chips share the "
      "optimizer's work"
    )
