# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What must be sent on a mesh, beside what a compiled step sends."""

import jax
import pytest

from tests.support import build, lower
from vit_jax.plan.least import count_least
from vit_jax.plan.program import read_program


def build_on(config, accumulate, **mesh):
  config["model"] |= dict(dtype="float32")
  config["train"] |= dict(batch_size=32, accumulate=accumulate)
  return build(config | {"mesh": mesh}, jax.devices()[:8])


def split_sizes(exp):
  """Bytes of the parameters that lie in several parts, and of all others."""
  found = {True: 0, False: 0}
  for x in jax.tree.leaves(exp.abstract_state.params):
    found[x.sharding.shard_shape(x.shape) != x.shape] += 4 * x.size
  return found[True], found[False]


def test_replicas_send_their_gradients_once_round(config):
  exp = build_on(config, 1, replica=8)
  least = count_least(exp)
  assert least == pytest.approx(2 * 7 / 8 * sum(split_sizes(exp)))
  received = read_program(lower(exp).compile().as_text(), 8).received
  # Beside them only sums of a few numbers.
  assert least <= received < 1.01 * least


def test_parameters_in_parts_are_gathered_in_every_micro_batch(config):
  exp = build_on(config, 2, replica=2, fsdp=4)
  parts, whole = split_sizes(exp)
  assert parts > 10 * whole > 0
  shared = 2 * 3 * 3 / 4 * parts + 2 * 1 / 2 * parts / 4
  assert count_least(exp) == pytest.approx(shared + 2 * 7 / 8 * whole)


def test_what_is_frozen_has_no_gradient_to_send(config):
  config["optim"]["multipliers"] = (("^head/", 1), (".*", 0))
  exp = build_on(config, 1, replica=8)
  head = jax.tree.leaves(exp.abstract_state.params["head"])
  size = 4 * sum(x.size for x in head)
  assert count_least(exp) == pytest.approx(2 * 7 / 8 * size)


def test_activations_are_not_counted(config):
  assert count_least(build_on(config, 1, tensor=2)) is None
