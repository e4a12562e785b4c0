# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Plans of a small model, compiled by the TPU's own compiler."""

import json
import re

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.support import build
from vit_jax.config import ConfigError
from vit_jax.devices.topology import GENERATIONS, make_topology
from vit_jax.models.flops import count_flops, count_jaxpr
from vit_jax.plan import estimate
from vit_jax.plan.paper import COSTS, get_cost
from vit_jax.plan.report import format_plan
from vit_jax.runtime.flops import count_flops_per_image
from vit_jax.runtime.out_of_memory import parse_asked
from vit_jax.sections import resolve
from vit_jax.train_step import trace

pytest.importorskip("libtpu")


@pytest.fixture(scope="module")
def topology():
  return make_topology("v5e:2x2")


@pytest.fixture(scope="module")
def plan(data_dir, topology):
  """An experiment and its plan, compiled once for all that look at it."""
  config = {
    "model": dict(variant="mu/4", remat="full"),
    "data": dict(source="tfds:digits", dir=data_dir, size=8),
    "optim": dict(lr=1e-3, ema=0.9),
    "train": dict(batch_size=16, steps=6),
    "mesh": dict(fsdp=2, tensor=2),
  }
  exp = build(config, topology.devices)
  return exp, estimate.make_plan(exp, topology)


def test_a_plan_holds_what_can_be_counted(plan):
  exp, found = plan
  assert (found.chips, found.mesh["fsdp"], found.mesh["tensor"]) == (4, 2, 2)
  params = jax.tree.leaves(exp.abstract_state.params)
  shares = [np.prod(x.sharding.shard_shape(x.shape)) * 4 for x in params]
  assert found.memory.parameters == found.memory.average == sum(shares)
  # Adam: two moments, and a counter or two.
  assert 0 <= found.memory.optimizer - 2 * sum(shares) <= 16
  parts = (
    *(found.memory.parameters, found.memory.optimizer, found.memory.average),
    *(found.memory.batch, found.memory.activations, found.memory.program),
  )
  assert found.memory.total == sum(parts) and min(parts) > 0
  assert found.memory.head_room == 15.75 * 2**30 - sum(parts)
  # A step is three forward passes, and one more to compute again.
  image = jax.ShapeDtypeStruct((1, *exp.image_shape), np.float32)
  variables = {"params": exp.abstract_state.params}
  forward = count_flops(exp.model.apply, variables, image)
  assert found.model_flops == 3 * forward * 16
  assert 3.2 * forward * 16 < found.program_flops <= 4.2 * forward * 16
  # Over either axis of the mesh something is added up.
  assert found.program.collectives["all-reduce"].times > 0
  assert found.program.slices.times == 0


def test_bounds_follow_from_the_data_sheet(plan):
  _, found = plan
  chip, program, bounds = GENERATIONS["v5e"], found.program, found.bounds
  assert bounds.products == found.program_flops / 4 / 197e12
  assert bounds.fusions == program.cycles / 1.5e9
  assert bounds.memory == program.traffic / chip.bandwidth
  assert bounds.links == program.received / 200e9
  every = (bounds.products, bounds.fusions, bounds.memory, bounds.links)
  assert bounds.step == max(every) == getattr(bounds, bounds.bound_by)
  assert found.images_per_second == 16 / bounds.step
  mfu = found.model_flops / bounds.step / (4 * 197e12)
  assert found.mfu == pytest.approx(mfu)
  assert found.chip_hours == pytest.approx(4 * 6 * bounds.step / 3600)
  assert found.core_days == pytest.approx(found.chip_hours / 24)


def test_a_plan_for_people_and_for_programs(plan):
  _, found = plan
  text = format_plan(found)
  assert "mu/4: " in text and "(replica 1, fsdp 2, tensor 2)" in text
  assert "head-room" in text and "These are bounds" in text
  assert "between slices" not in text and "paper" not in text
  # Of a tiny model, too, numbers can be read.
  assert "MiB" in text and "chip-seconds" in text and "gigaFLOPs" in text
  numbers = re.findall(r" (\d[\d,.]*(?:e-\d+)?)", text)
  assert len(numbers) > 20 and not [x for x in numbers if "e-" in x]
  (mfu,) = re.findall("MFU +<= (.+) %", text)
  assert float(mfu) == pytest.approx(100 * found.mfu, rel=0.01)
  read = json.loads(json.dumps(found.to_json()))
  assert read["fits"] is True and read["memory"]["total"] == found.memory.total
  assert read["at_least"]["step_seconds"] == found.bounds.step
  assert read["at_most"]["mfu"] == found.mfu and read["paper"] is None


def test_out_of_memory_is_a_result(config, topology):
  config["train"] |= dict(batch_size=2**22, accumulate=1)
  config["model"]["remat"] = "none"
  config["optim"]["ema"] = None
  exp = build(config, topology.devices)
  found = estimate.make_plan(exp, topology)
  assert not found.fits and found.memory.head_room < 0
  # Four million images of 64 bytes, their labels and masks, over four chips.
  assert found.memory.batch == 2**20 * (64 + 4 + 1)
  text = format_plan(found)
  assert "It does not fit" in text and "images/s" not in text
  read = json.loads(json.dumps(found.to_json()))
  assert read["fits"] is False and "at_most" not in read


def test_what_the_compiler_wants_is_said_in_all(topology):
  """20 GiB of arguments alone, of which it has to find room for no more."""
  mesh = Mesh(np.array(topology.devices[:1]), ("x",))
  place = NamedSharding(mesh, PartitionSpec())
  shape = jax.ShapeDtypeStruct((5 * 2**30,), np.float32, sharding=place)
  with pytest.raises(jax.errors.JaxRuntimeError) as caught:
    jax.jit(lambda x: x.sum()).lower(shape).compile()
  assert parse_asked(str(caught.value)) == 20 * 2**30


def test_long_sequences_have_a_plan(config, topology):
  """1,025 tokens and more take a kernel, whose products are counted."""
  config["data"]["size"] = 128
  exp = build(config, topology.devices)
  assert exp.model.attention == "flash"
  traced = trace(exp.train_step, exp.mesh, *exp.abstract_inputs)
  assert count_jaxpr(traced.jaxpr.jaxpr) > 0
  # Attention's products alone are 4 N^2 D a pass.
  assert count_flops_per_image(exp) > 3 * 4 * 1024**2 * 32


def test_slices_are_joined_by_the_network(config):
  topology = make_topology("v5e:2x2", slices=2)
  config["mesh"] = dict(replica=2, fsdp=4)
  exp = build(config, topology.devices)
  found = estimate.make_plan(exp, topology)
  # The gradients of every parameter, of which a chip sends its share at least.
  assert found.program.slices.received >= found.memory.parameters
  assert found.bounds.network == found.program.slices.received / 3.125e9
  assert "between slices" in format_plan(found)


@pytest.mark.parametrize(
  ("name", "slices", "message"),
  [
    ("v9:2x2", 1, "unknown kind of TPU; choose from: v4, v5e"),
    ("v5e", 1, "--topology=v5e has no shape.*--topology=v5e:16x16"),
    ("v5e:2x2x2", 1, "slices of v5e have 2 dimensions, as v5e:16x16"),
    ("v5e:3x3", 1, "--topology=v5e:3x3: .*not divisible"),
    ("v5e:2x2", 0, "--slices=0 must be at least 1"),
  ],
)
def test_a_topology_that_is_none(name, slices, message):
  with pytest.raises(ConfigError, match=message):
    make_topology(name, slices)


@pytest.mark.parametrize(
  ("name", "chips"), [("v4:2x2x2", 8), ("v5p:2x2x2", 8), ("v6e:4x4", 16)]
)
def test_every_generation_has_its_chips(name, chips):
  """A chip is one device, of whatever cores."""
  topology = make_topology(name)
  assert len(topology.devices) == chips
  assert topology.peak_flops >= 275e12


def test_the_paper_is_quoted_for_its_own_runs():
  base = {
    "model": {"variant": "H/14"},
    "data": {"source": "tfds:jft300m"},
    "optim": {"lr": 1e-3},
    "train": {"epochs": 14, "batch_size": 4096},
  }
  assert get_cost(resolve(base)).core_days == 2500
  base["train"]["epochs"] = 7
  assert get_cost(resolve(base)) is None
  base["train"]["epochs"], base["model"]["depth"] = 14, 31
  assert get_cost(resolve(base)) is None
  del base["model"]["depth"]
  base["train"] |= {"epochs": 14, "steps": 10}
  assert get_cost(resolve(base)) is None
  assert len(COSTS) == 12
