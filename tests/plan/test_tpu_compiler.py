# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the TPU compiler says of the step, with no TPU at hand."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.support import ROOT
from vit_jax.devices.detection import WITHOUT_TPU as QUIET

pytest.importorskip("libtpu")


ENVIRONMENT = QUIET | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}

START = """
import json, math, sys
import jax
import jax.numpy as jnp
from jax.experimental import topologies
from vit_jax import models
from tests.support import build, lower

topology = topologies.get_topology_desc(
  platform="tpu", topology_name=sys.argv[1]
)
"""

OFFLOAD = """
place = jax.sharding.SingleDeviceSharding(topology.devices[0])
found = {}
for remat in ("none", "offload"):
  model = models.make_model(
    0, variant="S/16", width=256, depth=2, mlp_dim=512, num_heads=4, remat=remat
  )
  image = jax.ShapeDtypeStruct((64, 64, 64, 3), jnp.float32, sharding=place)
  variables = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    jax.eval_shape(model.init, jax.random.key(0), image),
  )
  gradient = jax.jit(jax.grad(lambda v, x: model.apply(v, x).sum()))
  memory = gradient.lower(variables, image).compile().memory_analysis()
  found[remat] = [memory.peak_memory_in_bytes, memory.host_temp_size_in_bytes]
print(json.dumps(found))
"""

KERNELS = """
from vit_jax.models.attention_kernels import KERNELS
from vit_jax.devices.mesh import make_mesh

with jax.set_mesh(make_mesh(topology.devices, fsdp=2, tensor=2)):
  for name, tokens, heads, size in (
    *(("flash", 1025, 4, size) for size in (64, 80, 104, 112)),
    *(("vmem", 197, 24, 64), ("vmem", 577, 4, 64)),
    *(("vmem", 257, 32, size) for size in (80, 104)),
  ):
    x = jax.ShapeDtypeStruct((4, tokens, heads, size), jnp.bfloat16)
    pull = jax.jit(lambda *x: jax.vjp(KERNELS[name], *x)[1](x[0]))
    text = pull.lower(x, x, x).compile().as_text()
    print(json.dumps([name, size, text.count("tpu_custom_call"), [
      name for name in ("all-gather", "all-reduce") if name in text
    ]]))
"""

LOWER = """
from vit_jax.config import recipe

for variant, width in (("G/14", 1664), ("e/14", 1792)):
  config = recipe.load_config("configs/vit_h14.py", [
    f"--config.model.variant={variant}",
    f"--config.model.representation_size={width}",
    "--config.model.remat=full",
    "--config.optim.name=adafactor",
    "--config.data.source=synthetic:jft300m",
    "--config.mesh.fsdp=-1",
  ])
  exp = build(config, topology.devices)
  lower(exp)
  leaves = jax.tree.leaves(exp.abstract_state.params)
  held = sum(
    x.dtype.itemsize * math.prod(x.sharding.shard_shape(x.shape))
    for x in leaves
  )
  count = sum(x.size for x in leaves)
  print(json.dumps([variant, len(topology.devices), count, held]))
"""


def ask(code, topology):
  """What a process that may compile for a topology prints, a row a line."""
  done = subprocess.run(
    [sys.executable, "-c", START + code, topology],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=os.environ | ENVIRONMENT,
  )
  assert done.returncode == 0, done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


def test_offloading_moves_the_inputs_of_blocks_to_the_host():
  [found] = ask(OFFLOAD, "v5e:2x2")
  (kept, nothing), (rest, moved) = found["none"], found["offload"]
  assert nothing == 0
  # L B N D, in bfloat16: 2 blocks, 64 images of 17 tokens.
  assert moved == 2 * 64 * 17 * 256 * 2
  assert rest < kept - moved


def test_the_kernels_compile_for_the_head_sizes_of_the_table():
  """H's 80, G's 104 and e's 112 too, each device on what it has."""
  rows = ask(KERNELS, "v5e:2x2")
  assert [size for _, size, *_ in rows] == [64, 80, 104, 112, 64, 64, 80, 104]
  for name, _, calls, collectives in rows:
    assert calls == {"flash": 3, "vmem": 2}[name] and collectives == []


def test_the_largest_models_lower_for_a_pod():
  rows = ask(LOWER, "v5p:4x4x8")
  assert [row[:3] for row in rows] == [
    ["G/14", 128, 1_876_000_755],
    ["e/14", 128, 3_841_430_131],
  ]
  # A device has its share of the float32 parameters, biases apart.
  for _, devices, count, held in rows:
    assert 4 * count / devices < held < 1.05 * 4 * count / devices


WHOLE = """
from vit_jax.plan.program import read_program
from vit_jax.runtime.fitting import compile_lowered

config = dict(
  model=dict(variant="B/16", depth=1, unroll=1, remat="full"),
  data=dict(source="synthetic:1000", size=64),
  optim=dict(lr=1e-4),
  train=dict(steps=1, batch_size=256, accumulate=1),
  mesh=dict(fsdp=16),
)
exp = build(config, topology.devices)
text = compile_lowered(lower(exp), "tpu").as_text()
found = read_program(text, 16).collectives
print(json.dumps([exp.model.attention, sorted(found)]))
"""


def test_products_with_sharded_weights_are_not_cut():
  """The compiler would pass weights on from chip to chip, part by part."""
  [[attention, collectives]] = ask(WHOLE, "v5e:4x4")
  assert attention == "vmem"
  assert "all-gather" in collectives
  assert "collective-permute" not in collectives


def test_sigterm_ends_a_plan_without_a_trace():
  text = (
    "import os, signal\n"
    "from vit_jax.devices.topology import make_topology\n"
    "make_topology('v5e:2x2')\n"
    "os.kill(os.getpid(), signal.SIGTERM)"
  )
  done = subprocess.run(
    [sys.executable, "-c", text],
    env=os.environ | ENVIRONMENT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == -signal.SIGTERM
  assert "SIGTERM" not in done.stderr and "trace" not in done.stderr
