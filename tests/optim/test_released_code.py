# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Optimizers against Optax's, put together as big_vision does.

(google-research/big_vision, commit 0127fb6, optax.py.)
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from vit_jax import optim

BLOCK = "Transformer/encoderblock"
MLP = "MlpBlock_0/Dense_0/kernel"
QUERY = "MultiHeadDotProductAttention_0/query/kernel"


def make_tree(arrays):
  """{"a/b": x} as {"a": {"b": x}}, float32."""
  arrays = {path: jnp.asarray(x, jnp.float32) for path, x in arrays.items()}
  return unflatten_dict(arrays, sep="/")


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_step_is_that_of_big_vision(name):
  """Its chain, in which the peak learning rate does not multiply the decay."""
  lr, wd, warmup, steps = 1.6, 1.6e-3, 2, 6

  def schedule(step):
    progress = jnp.clip((step - warmup) / (steps - warmup), 0, 1)
    return jnp.minimum(1, step / warmup) * (1 + jnp.cos(jnp.pi * progress)) / 2

  kernels = {"head": {"kernel": True, "bias": False}}
  theirs = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.scale_by_adam() if name == "adam" else optax.trace(0.9),
    optax.scale(lr),
    optax.add_decayed_weights(wd, kernels),
    optax.scale_by_schedule(schedule),
    optax.scale(-1.0),
  )
  ours = optim.Optim(
    name=name, lr=lr, weight_decay=wd / lr, clip_norm=1.0, warmup_steps=warmup
  )
  tx = optim.make_optimizer(ours, optim.make_schedule(ours, steps))
  rng = np.random.default_rng(0)

  def draw():
    kernel, bias = rng.normal(size=(4, 3)), rng.normal(size=3)
    return make_tree({"head/kernel": kernel, "head/bias": bias})

  found = expected = draw()
  state, their_state = tx.init(found), theirs.init(expected)
  for done in range(steps):
    gradients = draw()
    updates, state = tx.update(gradients, state, found, step=done)
    found = optax.apply_updates(found, updates)
    updates, their_state = theirs.update(gradients, their_state, expected)
    expected = optax.apply_updates(expected, updates)
  for pair in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(*pair, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clip", [None, 0.7])
def test_adafactor_of_a_stack_is_optaxs_of_each_layer(clip):
  """Put together as the released code of "Scaling Vision Transformers" does."""
  theirs = optax.chain(
    optax.scale_by_factored_rms(
      min_dim_size_to_factor=32,
      epsilon=1e-30,
      decay_rate_fn=lambda done, power: jnp.minimum(
        0.999, 1 - (done + 1.0) ** -power
      ),
    ),
    optax.clip_by_block_rms(clip) if clip else optax.identity(),
    optax.ema(0.9, debias=False),
  )
  options = optim.Optim(
    name="adafactor", lr=1.0, momentum_dtype="float32", clip_update=clip
  )
  ours = optim.optimizer.make_preconditioner(options)
  paths = {MLP: (64, 96), QUERY: (48, 2, 32), "LayerNorm_0/scale": (48,)}
  rng = np.random.default_rng(0)
  stacks = [
    {f"{BLOCK}/{p}": rng.normal(size=(3, *n)) for p, n in paths.items()}
    for _ in range(4)
  ]
  layers = [
    {f"{i}/{p}": stack[f"{BLOCK}/{p}"][i] for p in paths for i in range(3)}
    for stack in stacks
  ]

  def apply(tx, gradients):
    state = tx.init(make_tree(gradients[0]))
    for g in map(make_tree, gradients):
      updates, state = tx.update(g, state, g)
    return updates

  stacked, single = (
    flatten_dict(apply(tx, gradients), sep="/")
    for tx, gradients in ((ours, stacks), (theirs, layers))
  )
  for path in paths:
    for i, layer in enumerate(stacked[f"{BLOCK}/{path}"]):
      # Roots of means of up to 96 squares, summed in another order.
      np.testing.assert_allclose(
        layer, single[f"{i}/{path}"], rtol=1e-5, atol=1e-6
      )
