# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The training step on every mesh of eight devices: the same loss and
gradients, and nothing sent that the mesh does not explain."""

import collections
import math
import re

import jax
import numpy as np
import pytest

from tests.support import build, lower
from vit_jax.data import pipeline
from vit_jax.devices import memory
from vit_jax.sharding import AXES

SHAPES = [
  (r, f, 8 // (r * f)) for r in (1, 2, 4, 8) for f in (1, 2, 4, 8) if r * f <= 8
]

COLLECTIVE = re.compile(
  r" = (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|"
  r"collective-permute)(?:-start)?\("
)


def get_config(data_dir):
  """A small ViT of which eight divides every dimension that is sharded."""
  sizes = dict(width=64, num_heads=8, mlp_dim=128, depth=2, remat="none")
  return {
    "model": dict(variant="mu/4", dtype="float32", **sizes),
    "data": dict(
      source="tfds:digits",
      dir=data_dir,
      size=8,
      num_classes=16,
      threads=1,
      augment=dict(flip=True),
    ),
    # From a momentum of zero, its first moment is the gradient itself.
    "optim": dict(name="sgd", lr=0.1),
    "train": dict(batch_size=16, steps=2, accumulate=1),
  }


def run(config, shape, fill_state):
  """One step on a mesh; its loss, the gradients and the compiled text."""
  mesh = dict(zip(AXES, shape, strict=True))
  devices = jax.devices()[: math.prod(shape)]
  exp = build(config | {"mesh": mesh}, devices)
  step = lower(exp).compile()
  batches = pipeline.make_train_batches(
    exp.data, exp.mesh, 1, batch_size=16, seed=0, start_step=0
  )
  state, metrics = step(fill_state(exp), next(batches))
  total, count = metrics["loss"]
  return total / count, state.opt_state[0].trace, step.as_text()


def check(found, expected):
  """Loss and gradients agree to 1e-5 of the largest of each."""
  assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-5)
  gradients = jax.tree.leaves(expected[1])
  # That of the keys' biases is zero but for rounding, for softmax does not see
  # them, so it has no size of its own to go by.
  largest = max(np.abs(g).max() for g in gradients)
  for a, b in zip(jax.tree.leaves(found[1]), gradients, strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * largest)


@pytest.fixture(scope="module")
def alone(data_dir, fill_state):
  return run(get_config(data_dir), (1, 1, 1), fill_state)


def count_collectives(text):
  """(kind, whether of scalars) -> how many arrays a program sends so.

  Arrays, for XLA sends several at once where it can; what a loop sends counts
  once.
  """
  counts = collections.Counter()
  for shapes, kind in COLLECTIVE.findall(text):
    for shape in re.findall(r"\w+\[([\d,]*)\]", shapes):
      counts[kind if shape else f"{kind} of a scalar"] += 1
  return counts


# Why something is sent: kind, how many arrays, on which meshes. Of the 24
# parameters 12 have D (or R) alone, 7 kernels M, K or Y as well, and 5 biases
# M, K or Y alone.
REASONS = (
  # Every parameter with a D where it is used,
  ("all-gather", 19, lambda r, f, t: f > 1),
  # and for the way back the blocks' 6 kernels and 2 scales, and the last norm's
  # scale.
  ("all-gather", 9, lambda r, f, t: f > 1),
  # The head's kernel again: XLA writes the same devices in two ways, and does
  # not see that it has it.
  ("all-gather", 1, lambda r, f, t: f > 1 and t == 2),
  # The likeliest class of every share of the classes and its logit: accuracy.
  ("all-gather", 2, lambda r, f, t: t > 1),
  # Every parameter's gradient, summed over the parts of the batch,
  ("all-reduce", 24, lambda r, f, t: r * f > 1),
  # that of kernels within fsdp first, and what is left over of it by replicas.
  ("all-reduce", 7, lambda r, f, t: r > 1 and f > 1),
  # Sums over heads and M: what attention and MLP give, and on the way back what
  # query, key, value and MLP were given.
  ("all-reduce", 6, lambda r, f, t: t > 1),
  # Over the classes: the largest logit for softmax and for accuracy, softmax's
  # denominator there and back, the target's logit for loss and for accuracy,
  # and what the head was given.
  ("all-reduce", 7, lambda r, f, t: t > 1),
  # Loss, right answers and examples.
  ("all-reduce of a scalar", 3, lambda r, f, t: r * f > 1),
  # The norms of every gradient and of every update: a sum over each axis that a
  # parameter lies on; two of fsdp's are added before they are sent.
  ("all-reduce of a scalar", 2 * 19 - 1, lambda r, f, t: f > 1),
  ("all-reduce of a scalar", 2 * 12, lambda r, f, t: t > 1),
)


def explain(shape):
  counts = collections.Counter()
  for kind, count, when in REASONS:
    counts[kind] += count * when(*shape)
  return +counts


@pytest.mark.parametrize("shape", SHAPES, ids=lambda x: "x".join(map(str, x)))
def test_a_mesh_changes_nothing_and_sends_what_it_must(
  data_dir, fill_state, alone, shape
):
  found = run(get_config(data_dir), shape, fill_state)
  check(found, alone)
  assert count_collectives(found[2]) == explain(shape)


def test_chance_sends_nothing(data_dir):
  """Every device draws what its own examples need; mixup's neighbours move."""
  config = get_config(data_dir)
  config["data"]["augment"] = dict(flip=True, mixup=0.2)
  config["model"] |= dict(dropout=0.1, stochastic_depth=0.1, patch_dropout=0.25)
  config["mesh"] = dict(replica=2, fsdp=2, tensor=2)
  text = lower(build(config)).compile().as_text()
  # The image and the label of the first example beyond each part of the batch.
  neighbours = {"collective-permute": 2}
  assert count_collectives(text) == explain((2, 2, 2)) | neighbours


def test_heads_that_do_not_divide(data_dir, fill_state):
  config = get_config(data_dir)
  config["model"] |= dict(num_heads=3, width=48)
  config["data"] |= dict(num_classes=10)
  found = run(config, (1, 2, 4), fill_state)
  check(found, run(config, (1, 1, 1), fill_state))
  assert "all-to-all" not in found[2]
  mesh = dict(replica=1, fsdp=2, tensor=4)
  exp = build(config | {"mesh": mesh})
  listed = memory.find_indivisible(exp.abstract_state.params)
  names = {path.rpartition("Attention_0/")[2] for path in listed}
  assert names == {
    *("query/kernel", "key/kernel", "value/kernel", "out/kernel"),
    *("query/bias", "key/bias", "value/bias"),
    *("head/kernel", "head/bias"),
  }
