# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""A model as StableHLO, as `jax.export` writes it, and its parameters beside.

They are arguments of the program: inside it they would be copied several times
while it is written and compiled, a file could not have more than 2 GiB, and
nobody could read them once a later JAX does not read the program any more.
"""

from collections.abc import Callable, Sequence

import jax
import jax.export
import numpy as np
from etils import epath

from vit_jax.convert import storing
from vit_jax.export.function import Function, trace_input

FILE, PARAMS = "model.stablehlo", "params.npz"


def save(
  function: Function, directory: epath.Path, platforms: Sequence[str]
) -> list[str]:
  """Writes the program and its parameters; returns the names of the files."""
  params = {
    path: jax.ShapeDtypeStruct(x.shape, x.dtype)
    for path, x in function.params.items()
  }
  exported = jax.export.export(
    jax.jit(function.apply), platforms=tuple(platforms)
  )(params, trace_input(function))
  (directory / FILE).write_bytes(bytes(exported.serialize()))
  storing.write_npz(directory / PARAMS, dict(function.params))
  return [FILE, PARAMS]


def load(directory: epath.Path) -> Callable[[np.ndarray], np.ndarray]:
  """Reads what `save` wrote, without the code of the model."""
  data = bytearray((directory / FILE).read_bytes())
  exported = jax.export.deserialize(data)
  with np.load(directory / PARAMS) as found:
    # NumPy has no bfloat16, and reads it as two bytes.
    params = {
      path: x.view(jax.numpy.bfloat16) if x.dtype.kind == "V" else x
      for path, x in found.items()
    }
  call = jax.jit(exported.call)
  return lambda images: np.asarray(call(params, images))
