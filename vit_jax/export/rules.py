# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What each of JAX's primitives is in ONNX, for those that models consist of.

A rule takes the graph, the equation and its inputs, and returns the outputs.
"""

from typing import Any

import numpy as np

from vit_jax.export.lowering import (
  Graph,
  Rule,
  Shape,
  Value,
  count,
  get_shape,
  known,
  make_error,
)

# Elementwise primitives that ONNX has under another name, and as they are.
SAME = {
  "add": "Add",
  "sub": "Sub",
  "mul": "Mul",
  "div": "Div",
  "max": "Max",
  "min": "Min",
  "pow": "Pow",
  "neg": "Neg",
  "exp": "Exp",
  "log": "Log",
  "sqrt": "Sqrt",
  "tanh": "Tanh",
  "erf": "Erf",
  "abs": "Abs",
  "sin": "Sin",
  "cos": "Cos",
  "logistic": "Sigmoid",
  "gt": "Greater",
  "lt": "Less",
  "ge": "GreaterOrEqual",
  "le": "LessOrEqual",
  "eq": "Equal",
  "and": "And",
  "or": "Or",
  "not": "Not",
}


def broadcast(shapes: list[Shape]) -> Shape:
  """The shape that ONNX broadcasts to; None, the batch, wins over 1."""
  found = []
  for sizes in zip(*shapes, strict=True):
    others = [size for size in sizes if size != 1]
    found.append(others[0] if others else 1)
  return tuple(found)


def get_dtype(equation: Any) -> np.dtype:
  """The dtype of an equation's first output."""
  return np.dtype(equation.outvars[0].aval.dtype)


def apply_same(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
  rank = max(len(x.shape) for x in values)
  # A number has no dimensions, an array of the rank all.
  values = [x if x.shape else graph.reshape(x, (1,) * rank) for x in values]
  shape = broadcast([x.shape for x in values])
  kind = SAME[equation.primitive.name]
  return [graph.add(kind, values, shape, get_dtype(equation))]


def apply_square(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  (x,) = values
  return [graph.add("Mul", [x, x], x.shape, x.dtype)]


def apply_rsqrt(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  (x,) = values
  root = graph.add("Sqrt", [x], x.shape, x.dtype)
  return [graph.add("Reciprocal", [root], x.shape, x.dtype)]


def apply_erfc(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
  (x,) = values
  erf = graph.add("Erf", [x], x.shape, x.dtype)
  one = known(np.ones((1,) * len(x.shape), x.dtype))
  return [graph.add("Sub", [one, erf], x.shape, x.dtype)]


def apply_integer_pow(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  (x,), power = values, equation.params["y"]
  if power < 1:
    raise make_error(f"a power of {power}")
  found = x
  for _ in range(power - 1):
    found = graph.add("Mul", [found, x], x.shape, x.dtype)
  return [found]


def apply_convert(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  from onnx import helper

  (x,), dtype = values, get_dtype(equation)
  if x.dtype == dtype:
    return [x]
  to = helper.np_dtype_to_tensor_dtype(dtype)
  return [graph.add("Cast", [x], x.shape, dtype, to=to)]


def apply_identity(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  return values


def apply_select(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  which, false, true = values
  rank = len(get_shape(equation.outvars[0]))
  if len(which.shape) != rank:  # A scalar, which counts for all.
    which = graph.reshape(which, (1,) * rank)
  shape = broadcast([which.shape, false.shape, true.shape])
  return [graph.add("Where", [which, true, false], shape, true.dtype)]


def apply_broadcast(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  """Only gives it the rank: what reads it broadcasts, or asks for more."""
  x, shape = values[0], get_shape(equation.outvars[0])
  sizes: list[int | None] = [1] * len(shape)
  for axis, size in zip(
    equation.params["broadcast_dimensions"], x.shape, strict=True
  ):
    sizes[axis] = size
  return [graph.reshape(x, tuple(sizes))]


def apply_reshape(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  x = read(graph, equation, values)[0]
  return [graph.reshape(x, get_shape(equation.outvars[0]))]


def read(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
  """The inputs, with what is broadcast written out."""
  atoms = equation.invars[: len(values)]
  return [
    graph.expand(x, get_shape(a)) for x, a in zip(values, atoms, strict=True)
  ]


def apply_transpose(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  return [graph.transpose(values[0], equation.params["permutation"])]


def apply_concatenate(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  values = read(graph, equation, values)
  shape = get_shape(equation.outvars[0])
  axis = equation.params["dimension"]
  return [graph.add("Concat", values, shape, values[0].dtype, axis=axis)]


def apply_slice(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  x = read(graph, equation, values)[0]
  params = equation.params
  # The batch is never cut.
  axes = [i for i, size in enumerate(x.shape) if size is not None]
  starts = [params["start_indices"][i] for i in axes]
  stops = [params["limit_indices"][i] for i in axes]
  steps = [(params["strides"] or [1] * len(x.shape))[i] for i in axes]
  return [graph.slice(x, starts, stops, axes, steps)]


def apply_split(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  x = read(graph, equation, values)[0]
  axis, found, start = equation.params["axis"], [], 0
  for size in equation.params["sizes"]:
    stop = start + int(size)
    found.append(graph.slice(x, [start], [stop], [axis]))
    start = stop
  return found


def apply_gather(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  """Rows along one axis, whose indices are known; as x[:, 0]."""
  x = read(graph, equation, values[:1])[0]
  numbers = equation.params["dimension_numbers"]
  indices = values[1].array
  axes = numbers.start_index_map
  sizes = equation.params["slice_sizes"]
  whole = all(
    size == full or not isinstance(size, int) or i in axes
    for i, (size, full) in enumerate(zip(sizes, x.shape, strict=True))
  )
  plain = (
    indices is not None
    and len(axes) == 1
    and tuple(numbers.collapsed_slice_dims) in ((), tuple(axes))
    and whole
  )
  if not plain:
    raise make_error("this 'gather'")
  (axis,), shape = axes, get_shape(equation.outvars[0])
  top = x.shape[axis] - sizes[axis]
  indices = np.clip(np.asarray(indices)[..., 0], 0, top)
  if indices.ndim == 0:
    start = int(indices)
    row = graph.slice(x, [start], [start + sizes[axis]], [axis])
    return [graph.reshape(row, shape)]
  if sizes[axis] != 1 or indices.ndim != 1 or not numbers.collapsed_slice_dims:
    raise make_error("this 'gather'")
  many = (*x.shape[:axis], len(indices), *x.shape[axis + 1 :])
  rows = known(indices.astype(np.int64))
  found = graph.add("Gather", [x, rows], many, x.dtype, axis=axis)
  # The axes of a row are at offset_dims; that of the indices is the other.
  (place,) = {*range(len(shape))} - {*numbers.offset_dims}
  order = [i for i in range(len(many)) if i != axis]
  order.insert(place, axis)
  return [graph.transpose(found, order)]


def apply_pad(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
  x = read(graph, equation, values[:1])[0]
  config = equation.params["padding_config"]
  if any(low < 0 or high < 0 or inner for low, high, inner in config):
    raise make_error("this 'pad'")
  pads = [low for low, _, _ in config] + [high for _, high, _ in config]
  widths, shape = known(np.asarray(pads, np.int64)), equation.outvars[0]
  inputs = [x, widths, values[1]]
  return [graph.add("Pad", inputs, get_shape(shape), x.dtype)]


def apply_reduce(kind: str) -> Rule:
  """The rule of a reduction."""

  def rule(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    x = read(graph, equation, values)[0]
    axes = known(np.asarray(equation.params["axes"], np.int64))
    shape = get_shape(equation.outvars[0])
    return [graph.add(kind, [x, axes], shape, x.dtype, keepdims=0)]

  return rule


def apply_dot(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
  """A product as MatMul of [batch, free, contracted] and its like."""
  x, y = read(graph, equation, values)
  (x_sum, y_sum), (x_batch, y_batch) = equation.params["dimension_numbers"]
  x_free = [i for i in range(len(x.shape)) if i not in (*x_sum, *x_batch)]
  y_free = [i for i in range(len(y.shape)) if i not in (*y_sum, *y_batch)]
  batch = tuple(x.shape[i] for i in x_batch)
  left = tuple(x.shape[i] for i in x_free)
  right = tuple(y.shape[i] for i in y_free)
  inner = count(tuple(x.shape[i] for i in x_sum))
  x = graph.transpose(x, [*x_batch, *x_free, *x_sum])
  y = graph.transpose(y, [*y_batch, *y_sum, *y_free])
  # Without a batch MatMul takes any number of free dimensions on the left.
  rows = left if not batch and left else (merge(left),)
  x = graph.reshape(x, (*batch, *rows, inner))
  y = graph.reshape(y, (*batch, inner, merge(right)))
  shape = (*batch, *rows, merge(right))
  found = graph.add("MatMul", [x, y], shape, get_dtype(equation))
  return [graph.reshape(found, (*batch, *left, *right))]


def merge(shape: Shape) -> int | None:
  """The size of several dimensions as one."""
  return None if None in shape else count(shape)


def apply_convolution(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  """A convolution, which ONNX knows with channels first only."""
  x, kernel = read(graph, equation, values)
  params = equation.params
  numbers = params["dimension_numbers"]
  if params["batch_group_count"] != 1 or any(
    factor != 1 for factor in params["lhs_dilation"]
  ):
    raise make_error("this convolution")
  shape = get_shape(equation.outvars[0])
  x = graph.transpose(x, numbers.lhs_spec)
  kernel = graph.transpose(kernel, numbers.rhs_spec)
  low, high = zip(*params["padding"], strict=True)
  found = graph.add(
    "Conv",
    [x, kernel],
    tuple(shape[i] for i in numbers.out_spec),
    x.dtype,
    strides=list(params["window_strides"]),
    pads=[*low, *high],
    dilations=list(params["rhs_dilation"]),
    group=params["feature_group_count"],
  )
  return [graph.transpose(found, np.argsort(numbers.out_spec).tolist())]


def apply_max_pool(
  graph: Graph, equation: Any, values: list[Value]
) -> list[Value]:
  """The maximum over windows of height and width, [B h w c]."""
  x, params = read(graph, equation, values)[0], equation.params
  window, strides = params["window_dimensions"], params["window_strides"]
  low, high = zip(*params["padding"], strict=True)
  dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
  if len(window) != 4 or window[0] != 1 or window[3] != 1 or dilated:
    raise make_error("this pooling")
  shape = get_shape(equation.outvars[0])
  first, last = [0, 3, 1, 2], [0, 2, 3, 1]
  found = graph.add(
    "MaxPool",
    [graph.transpose(x, first)],
    tuple(shape[i] for i in first),
    x.dtype,
    kernel_shape=list(window[1:3]),
    strides=list(strides[1:3]),
    pads=[*low[1:3], *high[1:3]],
  )
  return [graph.transpose(found, last)]


RULES: dict[str, Rule] = {
  **dict.fromkeys(SAME, apply_same),
  **dict.fromkeys(("name", "stop_gradient", "copy"), apply_identity),
  "square": apply_square,
  "rsqrt": apply_rsqrt,
  "erfc": apply_erfc,
  "integer_pow": apply_integer_pow,
  "convert_element_type": apply_convert,
  "select_n": apply_select,
  "broadcast_in_dim": apply_broadcast,
  "reshape": apply_reshape,
  "squeeze": apply_reshape,
  "transpose": apply_transpose,
  "concatenate": apply_concatenate,
  "slice": apply_slice,
  "split": apply_split,
  "gather": apply_gather,
  "pad": apply_pad,
  "reduce_sum": apply_reduce("ReduceSum"),
  "reduce_max": apply_reduce("ReduceMax"),
  "dot_general": apply_dot,
  "conv_general_dilated": apply_convolution,
  "reduce_window_max": apply_max_pool,
}
