# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The formats: what each needs, how it is written and how it is run."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath

from vit_jax.config import ConfigError
from vit_jax.convert.fields import get_kind
from vit_jax.convert.weights import Weights
from vit_jax.convert.writing import NPZ, save_weights
from vit_jax.export import onnx, peers, saved_model, stablehlo
from vit_jax.export.check import (
  BATCHES,
  TOLERANCE,
  Comparison,
  compare,
  compute_logits,
)
from vit_jax.export.function import Function, make_function

# Those that are programs, -> the modules that they need, and the extra.
PROGRAMS: dict[str, tuple[tuple[str, ...], str]] = {
  "onnx": (("onnx", "onnxruntime"), "onnx"),
  "stablehlo": ((), ""),
  "saved_model": (("tensorflow",), "tf"),
}


def check_installed(form: str) -> None:
  """Raises ConfigError if a format needs what is not installed."""
  modules, extra = PROGRAMS.get(form, ((), ""))
  lacking = [x for x in modules if importlib.util.find_spec(x) is None]
  if lacking:
    raise ConfigError(
      f"--to={form} needs {' and '.join(lacking)}: "
      f'pip install "vit_jax[{extra}]"'
    )


def get_version(name: str) -> str:
  """The version of a distribution; of TensorFlow by any of its names."""
  for distribution in (name, f"{name}-cpu"):
    try:
      return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
      continue
  return "of an unknown version"


def write_program(
  weights: Weights,
  form: str,
  directory: epath.Path,
  *,
  with_preprocess: bool,
  dtype: str,
  platforms: Sequence[str],
) -> tuple[Function, list[str]]:
  """Writes a program; returns its function and the names of the files."""
  function = make_function(
    weights,
    with_preprocess=with_preprocess,
    dtype=dtype,
    # onnxruntime has no kernels for bfloat16 on a CPU.
    computes="float32" if form == "onnx" else dtype,
  )
  if form == "onnx":
    return function, onnx.save(function, directory, weights.manifest)
  save = {"stablehlo": stablehlo.save, "saved_model": saved_model.save}[form]
  return function, save(function, directory, platforms)


def compare_program(
  function: Function,
  form: str,
  directory: epath.Path,
  pixels: np.ndarray,
  wanted: np.ndarray,
  which: str,
) -> Comparison:
  """Compares a program that was written with our logits."""
  load, name, library = {
    "onnx": (onnx.load, "onnxruntime", "onnxruntime"),
    "stablehlo": (stablehlo.load, "jax.export", "jax"),
    "saved_model": (saved_model.load, "TensorFlow", "tensorflow"),
  }[form]
  return compare(
    load(directory),
    function.make_input,
    pixels,
    wanted,
    runtime=f"{name} {get_version(library)}",
    images=which,
    tolerance=TOLERANCE[function.dtype],
  )


def write_weights(
  weights: Weights,
  form: str,
  directory: epath.Path,
  dtype: str,
  say: Callable[[str], Any],
) -> list[str]:
  """Writes weights as `convert` does; returns the names of the files."""
  path, name = directory, form
  if form == "npz":
    path, name = directory / "model.npz", NPZ[get_kind(weights.variant)]
  written = save_weights(
    weights,
    str(path),
    name,
    bfloat16=dtype == "bfloat16",
    overwrite=True,
    say=say,
  )
  return [x.name for x in written]


def compare_weights(
  weights: Weights,
  form: str,
  directory: epath.Path,
  dtype: str,
  pixels: np.ndarray,
  wanted: np.ndarray,
  which: str,
) -> Comparison | str:
  """Compares weights that were written; or says why it was not done."""
  if missing := peers.find_missing(form):
    return (
      f"not compared: {' and '.join(missing)} would run it: "
      f"pip install {' '.join(missing)}"
    )
  has_head = bool(weights.num_classes)
  if form == "npz":
    run, runtime = peers.load_again(directory / "model.npz", dtype="float32")
  elif form == "timm":
    run, runtime = peers.load_timm(directory)
  else:
    run, runtime = peers.load_hugging_face(directory, has_head)
  return compare(
    run,
    weights.preprocess.normalize,
    pixels,
    wanted,
    runtime=runtime,
    images=which,
    tolerance=TOLERANCE[dtype],
    # The same weights at any size; a program may differ.
    batches=BATCHES[-1:],
  )


def compute_wanted(weights: Weights, pixels: np.ndarray) -> np.ndarray:
  """Our own logits in float32, which all formats are compared with."""
  return compute_logits(make_function(weights), pixels)
