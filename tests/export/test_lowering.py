# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Single operations as ONNX, in onnxruntime, against NumPy."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from vit_jax.config import ConfigError
from vit_jax.export.lowering import Graph, Value, get_shape, known
from vit_jax.export.rules import RULES

X = np.random.default_rng(0).normal(size=(3, 4, 6, 2)).astype(np.float32)
TABLE = np.arange(12, dtype=np.float32).reshape(6, 2)


def run(function, x=X):
  """What onnxruntime computes of a function of [B ...], traced by JAX."""
  (batch,) = jax.export.symbolic_shape("batch")
  spec = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype)
  traced = jax.make_jaxpr(function)(spec)
  graph = Graph(RULES, bfloat16=False)
  graph.batch = "batch_size"
  graph.nodes.append(helper.make_node("Shape", ["x"], ["batch_size"], end=1))
  first = Value((None, *x.shape[1:]), np.dtype(x.dtype), "x")
  consts = list(map(known, traced.consts))
  (found,) = graph.run(traced.jaxpr, consts, [first])
  last = graph.expand(found, get_shape(traced.jaxpr.outvars[0]))
  graph.nodes.append(helper.make_node("Identity", [graph.name(last)], ["y"]))
  kind = TensorProto.FLOAT
  model = helper.make_model(
    helper.make_graph(
      graph.nodes,
      "one",
      [helper.make_tensor_value_info("x", kind, ["b", *x.shape[1:]])],
      [helper.make_tensor_value_info("y", kind, None)],
      graph.initializers,
    ),
    opset_imports=[helper.make_opsetid("", 18)],
    ir_version=8,
  )
  session = onnxruntime.InferenceSession(model.SerializeToString())
  return session.run(None, {"x": x})[0]


CASES = {
  "broadcast": (
    lambda x: jnp.broadcast_to(x[:, :1], x.shape) + x,
    X[:, :1] + X,
  ),
  "concatenate_of_broadcast": (
    lambda x: jnp.concatenate(
      [jnp.broadcast_to(TABLE[None, None], (x.shape[0], 1, 6, 2)), x], axis=1
    ),
    np.concatenate([np.tile(TABLE, (3, 1, 1, 1)), X], axis=1),
  ),
  "take": (
    lambda x: jnp.take(x, np.array([2, 0]), axis=1),
    X[:, [2, 0]],
  ),
  "index": (lambda x: x[:, -1], X[:, -1]),
  "stride": (
    lambda x: jax.lax.slice(
      x, (0, 0, 1, 0), (x.shape[0], 4, 5, 2), (1, 2, 3, 1)
    ),
    X[:, ::2, 1:5:3],
  ),
  "where": (lambda x: jnp.where(x > 0, x, -2.0), np.where(X > 0, X, -2)),
  "pad": (
    lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0))),
    np.pad(X, ((0, 0), (1, 2), (0, 0), (0, 0))),
  ),
  "split": (lambda x: jnp.split(x, [1], axis=2)[1], X[:, :, 1:]),
  "merge_batch": (
    lambda x: x.reshape(x.shape[0], -1) @ np.ones((48, 5), np.float32),
    X.reshape(3, -1) @ np.ones((48, 5), np.float32),
  ),
  "einsum_batch_inside": (
    lambda x: jnp.einsum("bhwc,bkwc->bhwk", x, x),
    np.einsum("bhwc,bkwc->bhwk", X, X),
  ),
  "einsum_all": (
    lambda x: jnp.einsum("bhwc,wc->b", x, TABLE),
    np.einsum("bhwc,wc->b", X, TABLE),
  ),
  "max": (lambda x: x.max(axis=(1, 3)), X.max(axis=(1, 3))),
  "power": (lambda x: x**3, X**3),
  "scalars": (lambda x: 1 / (1 + jnp.exp(-x)), 1 / (1 + np.exp(-X))),
}


@pytest.mark.parametrize("case", CASES)
def test_operations(case):
  function, wanted = CASES[case]
  found = run(function)
  assert found.shape == wanted.shape
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_loop_is_unrolled_over_its_rows():
  def function(x):
    step = lambda x, row: (x * row[None, None, None] + 1, None)  # noqa: E731
    return jax.lax.scan(step, x, TABLE, reverse=True)[0]

  wanted = X
  for row in TABLE[::-1]:
    wanted = wanted * row + 1
  np.testing.assert_allclose(run(function), wanted, rtol=1e-5)


def test_what_is_known_is_computed_here():
  """A table of constants is no node of the graph."""
  traced = jax.make_jaxpr(lambda table: jnp.sin(table).sum(axis=0))(TABLE)
  graph = Graph(RULES, bfloat16=False)
  (found,) = graph.run(traced.jaxpr, [], [known(TABLE)])
  assert not graph.nodes
  np.testing.assert_allclose(found.array, np.sin(TABLE).sum(axis=0), rtol=1e-5)


def test_an_operation_without_a_rule_is_named():
  with pytest.raises(ConfigError, match="'sort'"):
    run(lambda x: jnp.sort(x, axis=1))
