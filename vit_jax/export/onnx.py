# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model as an ONNX file, for onnxruntime and others."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from etils import epath

from vit_jax.export.function import INPUT, Function, trace_input
from vit_jax.export.lowering import Graph, Value, get_shape, known
from vit_jax.export.rules import RULES
from vit_jax.storage.files import to_json

FILE = "model.onnx"
DATA = f"{FILE}.data"  # Of weights that do not fit into the file.
OPSET, IR_VERSION = 18, 8  # Of December 2022; no operation needs newer ones.
BATCH = "batch"  # Name of the dimension.
MAX_BYTES = 2**31 - 2**24  # A file ends at 2 GiB.


def make_onnx(function: Function, manifest: Any = None) -> Any:
  """Makes a ModelProto of onnx.

  Args:
    function: what it computes; in float32, for onnxruntime has no kernels for
      bfloat16 on a CPU, also where parameters are stored in bfloat16.
    manifest: recorded in its metadata.

  Raises:
    ConfigError: if the model has an operation without a rule.
  """
  from onnx import helper

  image = trace_input(function)
  shapes = {
    path: jax.ShapeDtypeStruct(x.shape, np.float32)
    for path, x in function.params.items()
  }
  traced = jax.make_jaxpr(function.apply)(shapes, image)
  params = [
    known(x.astype(np.float32)) for _, x in sorted(function.params.items())
  ]
  graph = Graph(RULES, function.dtype == "bfloat16")
  first = Value((None, *function.shape), image.dtype, INPUT)
  graph.batch = graph.make_name(BATCH)
  graph.nodes.append(
    helper.make_node("Shape", [INPUT], [graph.batch], start=0, end=1)
  )
  consts = list(map(known, traced.consts))
  (found,) = graph.run(traced.jaxpr, consts, [*params, first])
  last = graph.expand(found, get_shape(traced.jaxpr.outvars[0]))
  graph.nodes.append(
    helper.make_node("Identity", [graph.name(last)], [function.output])
  )

  def describe(name: str, value: Value) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    sizes = [BATCH if size is None else size for size in value.shape]
    return helper.make_tensor_value_info(name, kind, sizes)

  model = helper.make_model(
    helper.make_graph(
      graph.nodes,
      "vit_jax",
      [describe(INPUT, first)],
      [describe(function.output, last)],
      graph.initializers,
    ),
    opset_imports=[helper.make_opsetid("", OPSET)],
    ir_version=IR_VERSION,
    producer_name="vit_jax",
  )
  if manifest is not None:
    helper.set_model_props(model, {"manifest": to_json(manifest)})
  return model


def save(function: Function, directory: epath.Path, manifest: Any) -> list[str]:
  """Writes the file, and a second one from 2 GiB on; returns their names."""
  import onnx

  model = make_onnx(function, manifest)
  path = os.fspath(directory / FILE)
  if sum(len(x.raw_data) for x in model.graph.initializer) < MAX_BYTES:
    onnx.save(model, path)
    return [FILE]
  onnx.save(model, path, save_as_external_data=True, location=DATA)
  return [FILE, DATA]


def load(directory: epath.Path) -> Callable[[np.ndarray], np.ndarray]:
  """Opens the file in onnxruntime, on the CPU."""
  import onnxruntime

  session = onnxruntime.InferenceSession(
    os.fspath(directory / FILE), providers=["CPUExecutionProvider"]
  )
  return lambda images: session.run(None, {INPUT: images})[0]
