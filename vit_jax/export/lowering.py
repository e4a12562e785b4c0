# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A traced function as nodes of an ONNX graph.

The rules of single primitives are in `rules`. Why this is not a library's:
docs/export.md.

What depends on parameters only is computed here, by JAX: standardised kernels,
tables of positions, each block's slice of the stacked parameters. Loops are
unrolled, for which runtimes optimise best. A dimension that is not known, the
batch, is None.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from vit_jax.config import ConfigError
from vit_jax.models.loops import split_loop

Shape = tuple[int | None, ...]

# Arrays from this many values on are stored in bfloat16, where that is exact.
SMALL = 256


@dataclasses.dataclass(frozen=True)
class Value:
  """A value in the graph: an array that is known, or the name of a tensor.

  Attributes:
    shape: its shape; None is the batch. May have 1 where the traced value is
      larger: what is broadcast stays small, as ONNX broadcasts by itself.
    dtype: its dtype.
    name: name of the tensor; empty for an array.
    array: the array, if it is known.
  """

  shape: Shape
  dtype: np.dtype
  name: str = ""
  array: np.ndarray | None = None


def known(array: Any) -> Value:
  """The value of an array."""
  array = np.asarray(array)
  return Value(array.shape, array.dtype, array=array)


def make_error(what: str) -> ConfigError:
  """The error for what no rule exports."""
  return ConfigError(
    f"--to=onnx has no rule for {what}, which this model needs: export it with "
    f"--to=stablehlo or --to=saved_model"
  )


Rule = Callable[["Graph", Any, list[Value]], list[Value]]


class Graph:
  """An ONNX graph that grows by nodes.

  Attributes:
    nodes: of onnx, in order.
    initializers: arrays of onnx.
    batch: name of a tensor int64 [1] with the size of the batch.
  """

  def __init__(self, rules: dict[str, Rule], bfloat16: bool):
    """Makes an empty graph.

    Args:
      rules: name of a primitive -> its rule.
      bfloat16: stores in bfloat16 what loses nothing by it.
    """
    self.nodes: list[Any] = []
    self.initializers: list[Any] = []
    self.batch = ""
    self._rules, self._bfloat16 = rules, bfloat16
    # Key -> the array, which is kept so that its identity stays its own.
    self._stored: dict[Any, tuple[np.ndarray, str]] = {}
    self._count = 0

  def make_name(self, kind: str) -> str:
    """Makes a name that the graph does not have."""
    self._count += 1
    return f"{kind}_{self._count}"

  def add(
    self,
    kind: str,
    inputs: Sequence[Value],
    shape: Shape,
    dtype: Any,
    **attributes: Any,
  ) -> Value:
    """Appends a node with one output; returns that."""
    from onnx import helper

    name = self.make_name(kind)
    names = [self.name(value) for value in inputs]
    self.nodes.append(helper.make_node(kind, names, [name], name, **attributes))
    return Value(tuple(shape), np.dtype(dtype), name)

  def name(self, value: Value) -> str:
    """Name of a value's tensor; an array becomes an initializer."""
    if value.array is None:
      return value.name
    from onnx import helper, numpy_helper

    array = np.ascontiguousarray(value.array).reshape(value.array.shape)
    key: Any = id(value.array)
    if array.size < SMALL:
      key = array.dtype.str, array.shape, array.tobytes()
    if key in self._stored:
      return self._stored[key][1]
    name = self.make_name("constant")
    self._stored[key] = value.array, name
    if self._bfloat16 and array.dtype == np.float32 and array.size >= SMALL:
      rounded = array.astype(ml_dtypes.bfloat16)
      if np.array_equal(rounded.astype(np.float32), array):
        half = self.make_name("bfloat16")
        self.initializers.append(numpy_helper.from_array(rounded, half))
        to = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.nodes.append(helper.make_node("Cast", [half], [name], name, to=to))
        return name
    self.initializers.append(numpy_helper.from_array(array, name))
    return name

  def reshape(self, value: Value, shape: Shape) -> Value:
    """Reshapes; at most one dimension may be unknown."""
    if value.shape == tuple(shape):
      return value
    if value.array is not None:
      return known(value.array.reshape(shape))
    sizes = [-1 if size is None else size for size in shape]
    target = known(np.asarray(sizes, np.int64))
    return self.add("Reshape", [value, target], shape, value.dtype)

  def transpose(self, value: Value, order: Sequence[int]) -> Value:
    """Permutes the dimensions."""
    if list(order) == sorted(order):
      return value
    if value.array is not None:
      return known(value.array.transpose(order))
    shape = tuple(value.shape[i] for i in order)
    return self.add("Transpose", [value], shape, value.dtype, perm=list(order))

  def expand(self, value: Value, shape: Shape) -> Value:
    """Broadcasts to a shape of the same rank, really."""
    if value.shape == tuple(shape):
      return value
    if value.array is not None and None not in shape:
      return known(np.broadcast_to(value.array, get_sizes(shape)))
    parts = [
      Value((1,), np.dtype(np.int64), self.batch)
      if size is None
      else known(np.asarray([size], np.int64))
      for size in shape
    ]
    target = self.add("Concat", parts, (len(parts),), np.int64, axis=0)
    return self.add("Expand", [value, target], shape, value.dtype)

  def slice(
    self,
    value: Value,
    starts: Sequence[int],
    stops: Sequence[int],
    axes: Sequence[int],
    steps: Sequence[int] | None = None,
  ) -> Value:
    """Cuts out along axes of a known size."""
    steps = steps or [1] * len(axes)
    shape = list(value.shape)
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
      shape[axis] = -(-(stop - start) // step)
    if tuple(shape) == value.shape:
      return value
    if value.array is not None:
      index = [slice(None)] * len(shape)
      for start, stop, axis, step in zip(
        starts, stops, axes, steps, strict=True
      ):
        index[axis] = slice(start, stop, step)
      return known(value.array[tuple(index)])
    bounds = [
      known(np.asarray(x, np.int64)) for x in (starts, stops, axes, steps)
    ]
    return self.add("Slice", [value, *bounds], tuple(shape), value.dtype)

  def run(
    self, jaxpr: Any, consts: Sequence[Value], inputs: Sequence[Value]
  ) -> list[Value]:
    """Appends all of a traced function; returns its outputs.

    Raises:
      ConfigError: naming the primitive for which there is no rule.
    """
    found: dict[Any, Value] = {}
    found |= zip(jaxpr.constvars, consts, strict=True)
    found |= zip(jaxpr.invars, inputs, strict=True)

    def read(atom: Any) -> Value:
      return known(atom.val) if hasattr(atom, "val") else found[atom]

    for equation in jaxpr.eqns:
      outputs = self._apply(equation, list(map(read, equation.invars)))
      found |= zip(equation.outvars, outputs, strict=True)
    return list(map(read, jaxpr.outvars))

  def _apply(self, equation: Any, values: list[Value]) -> list[Value]:
    """The outputs of one equation."""
    name = equation.primitive.name
    if name == "scan":
      return self._unroll(equation, values)
    inner = next(
      (
        equation.params[key]
        for key in ("jaxpr", "call_jaxpr", "fun_jaxpr")
        if key in equation.params
      ),
      None,
    )
    if inner is not None:
      consts = getattr(inner, "consts", ())
      jaxpr = getattr(inner, "jaxpr", inner)
      return self.run(jaxpr, list(map(known, consts)), values)
    # What is broadcast stays small, whether it is known or not.
    atoms = [*equation.invars, *equation.outvars]
    folds = all(x.array is not None for x in values) and not any(
      None in get_shape(x) for x in atoms
    )
    if folds and name != "broadcast_in_dim":
      full = [
        np.broadcast_to(x.array, get_sizes(get_shape(atom)))
        for x, atom in zip(values, equation.invars, strict=True)
        if x.array is not None
      ]
      return list(map(known, fold(equation, full)))
    if name not in self._rules:
      raise make_error(f"the operation {name!r}")
    return self._rules[name](self, equation, values)

  def _unroll(self, equation: Any, values: list[Value]) -> list[Value]:
    """The outputs of a loop over a known number of steps."""
    params = equation.params
    fixed, state, stacked = split_loop(params, values)
    shapes = split_loop(params, equation.invars)[2]
    carry, closed = len(state), params["jaxpr"]
    inner = list(map(known, getattr(closed, "consts", ())))
    jaxpr = getattr(closed, "jaxpr", closed)
    rows: list[list[Value]] = []
    steps = range(params["length"])
    for i in reversed(steps) if params["reverse"] else steps:
      cut = [
        self.index(self.expand(x, get_shape(atom)), i)
        for x, atom in zip(stacked, shapes, strict=True)
      ]
      outputs = self.run(jaxpr, inner, [*fixed, *state, *cut])
      state = outputs[:carry]
      rows.append(outputs[carry:])
    if any(rows):
      raise make_error("a loop that stacks its results")
    return state

  def index(self, value: Value, i: int) -> Value:
    """Row i along the first dimension."""
    if value.array is not None:
      return known(value.array[i])
    row = self.slice(value, [i], [i + 1], [0])
    return self.reshape(row, row.shape[1:])


def get_shape(atom: Any) -> Shape:
  """The shape of a traced value; None is the batch."""
  return tuple(x if isinstance(x, int) else None for x in atom.aval.shape)


def get_sizes(shape: Shape) -> tuple[int, ...]:
  """The sizes that are known."""
  return tuple(size for size in shape if size is not None)


def count(shape: Shape) -> int:
  """The number of values, without the batch."""
  return math.prod(get_sizes(shape))


def fold(equation: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
  """Computes an equation of known arrays by JAX."""
  found = equation.primitive.bind(*arrays, **equation.params)
  many = equation.primitive.multiple_results
  return [np.asarray(x) for x in (found if many else [found])]
