# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Small states, saved and restored."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vit_jax.checkpoint import Checkpointer, CheckpointOptions
from vit_jax.train_state import NonFinite, TrainState

MESH = jax.make_mesh((8,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))


def make_state(step):
  """A small state that is other at every step, and sharded."""
  rng = np.random.default_rng(step)
  spread = NamedSharding(MESH, PartitionSpec("fsdp"))
  whole = NamedSharding(MESH, PartitionSpec())
  kernel = jax.device_put(rng.normal(size=(16, 24)).astype("float32"), spread)
  bias = jax.device_put(jnp.asarray(rng.normal(size=24), jnp.bfloat16), whole)
  count = jax.device_put(np.int32(step), whole)
  return TrainState(
    step=count,
    params={"head": {"kernel": kernel, "bias": bias}},
    opt_state=(count, {"mu": {"head": {"kernel": kernel * 2}}}),
    ema=None,
    aux={},
    nonfinite=jax.device_put(NonFinite(), whole),
  )


ABSTRACT = jax.tree.map(
  lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
  make_state(0),
)


def is_equal(a, b):
  return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def save(directory, *steps, **options):
  metadata = {"config": {"x": 2}}
  with Checkpointer(
    directory, CheckpointOptions(**options), metadata=metadata
  ) as opened:
    for step in steps:
      opened.save(step, make_state(step))
    opened.finish()
    return opened


def restore(directory):
  with Checkpointer(directory, CheckpointOptions()) as opened:
    return opened.restore(ABSTRACT)
