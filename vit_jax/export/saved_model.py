# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model as a SavedModel of TensorFlow, by JAX's own jax2tf."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from vit_jax.export.function import INPUT, Function

SIGNATURE = "serving_default"  # The name that TF Serving asks for.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
FILES = ["saved_model.pb", "variables"]


def import_tensorflow() -> Any:
  """TensorFlow, without its greetings and without an accelerator."""
  for name, value in QUIET.items():
    os.environ.setdefault(name, value)
  import tensorflow as tf

  # JAX may hold it, and what is saved is for every device.
  tf.config.set_visible_devices([], "GPU")
  return tf


def save(
  function: Function, directory: epath.Path, platforms: Sequence[str]
) -> list[str]:
  """Writes the SavedModel; returns the names of its parts."""
  tf = import_tensorflow()
  from jax.experimental import jax2tf

  converted = jax2tf.convert(
    function.apply,
    polymorphic_shapes=[None, "(batch, ...)"],
    with_gradient=False,
    native_serialization_platforms=tuple(platforms),
  )
  module = tf.Module()
  module.params = {
    path: tf.Variable(x, trainable=False, name=path)
    for path, x in function.params.items()
  }

  def serve(image: Any) -> Any:
    return {function.output: converted(dict(module.params), image)}

  shape, dtype = (None, *function.shape), function.input_dtype
  module.serve = tf.function(
    serve,
    autograph=False,
    input_signature=[tf.TensorSpec(shape, dtype, name=INPUT)],
  )
  signatures = {SIGNATURE: module.serve.get_concrete_function()}
  tf.saved_model.save(module, os.fspath(directory), signatures=signatures)
  return FILES


def load(directory: epath.Path) -> Callable[[np.ndarray], np.ndarray]:
  """Reads what `save` wrote, by TensorFlow."""
  tf = import_tensorflow()
  module = tf.saved_model.load(os.fspath(directory))
  serve = module.signatures[SIGNATURE]

  def call(images: np.ndarray) -> np.ndarray:
    (found,) = serve(**{INPUT: tf.constant(images)}).values()
    return found.numpy()

  call.module = module  # type: ignore[attr-defined]  # Its variables live.
  return call
