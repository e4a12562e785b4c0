# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What the compiled step keeps in memory, and in which dtype it multiplies."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import build, lower
from vit_jax import models

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.mark.parametrize("mesh", [dict(), dict(fsdp=4, tensor=2)])
def test_the_step_writes_the_new_state_over_the_old(config, mesh):
  config["mesh"] = mesh
  exp = build(config)
  memory = lower(exp).compile().memory_analysis()
  held = sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(exp.abstract_state)
  )
  assert memory.alias_size_in_bytes == held


def test_micro_batches_take_less_memory(config):
  config["model"]["variant"] = "mu/2"
  config["train"]["batch_size"] = 256
  config["data"] |= dict(augment={}, crop="none")
  sizes = []
  for parts in (1, 8):
    config["train"]["accumulate"] = parts
    exp = build(config, jax.devices()[:1])
    memory = lower(exp).compile().memory_analysis()
    sizes.append(memory.temp_size_in_bytes)
  assert sizes[0] > 2 * sizes[1]


def test_remat_trades_memory_and_changes_nothing():
  """Four blocks; "offload" is "full" where the host is the device."""
  fields = dict(variant="mu/4", depth=4, dtype="float32")
  image = jax.random.normal(jax.random.key(1), (16, 32, 32, 3))
  model = models.make_model(0, **fields)
  variables = jax.jit(model.init)(jax.random.key(0), image)
  sizes, losses, gradients = {}, {}, {}
  for remat in ("none", "dots", "full", "offload"):
    model = models.make_model(0, **fields, remat=remat)

    def loss(variables, model=model):
      return jnp.square(model.apply(variables, image)).mean()

    gradient = jax.jit(jax.value_and_grad(loss)).lower(variables).compile()
    sizes[remat] = gradient.memory_analysis().temp_size_in_bytes
    losses[remat], gradients[remat] = gradient(variables)
  assert sizes["none"] > sizes["dots"] > sizes["full"] == sizes["offload"]
  assert len({float(x) for x in losses.values()}) == 1
  for remat in ("dots", "full", "offload"):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
      gradients["none"],
      gradients[remat],
    )


def find_products(jaxpr):
  """The operands' dtypes of every matrix product, at any depth."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("dot_general", "conv_general_dilated"):
      yield tuple(str(x.aval.dtype) for x in equation.invars)
    for value in equation.params.values():
      for part in value if isinstance(value, tuple | list) else (value,):
        inner = getattr(part, "jaxpr", part)
        if hasattr(inner, "eqns"):
          yield from find_products(inner)


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_every_product_of_the_blocks_is_of_bfloat16(remat):
  model = models.make_model(0, variant="mu/4", remat=remat)
  image = jnp.zeros((2, 16, 16, 3))
  variables = jax.eval_shape(model.init, jax.random.key(0), image)
  dtypes = {str(x.dtype) for x in jax.tree.leaves(variables)}
  assert dtypes == {"float32"}

  def encode(variables):
    layout = model.make_layout(16, 16)
    tokens = jnp.zeros((2, 17, 32), jnp.bfloat16)
    encoded, _ = model.apply(
      variables,
      tokens,
      method=lambda vit, x: vit.Transformer(x, layout, True, False),
    )
    return encoded.astype(jnp.float32).sum()

  jaxpr = jax.make_jaxpr(jax.grad(encode))(variables)
  found = list(find_products(jaxpr.jaxpr))
  # Six matrix products and two of attention, each with two gradients.
  assert len(found) >= 24
  assert {dtype for dtypes in found for dtype in dtypes} == {"bfloat16"}
