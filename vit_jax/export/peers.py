# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Weights that other libraries load, run by these libraries."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from vit_jax.convert.load import load_as
from vit_jax.export.check import Run
from vit_jax.export.function import make_function

# Format -> the libraries that run it.
NEEDED = {"hugging_face": ("torch", "transformers"), "timm": ("torch", "timm")}


def find_missing(form: str) -> list[str]:
  """Lists the libraries that are not installed, and run a format."""
  names = NEEDED.get(form, ())
  return [name for name in names if importlib.util.find_spec(name) is None]


@contextlib.contextmanager
def offline() -> Iterator[None]:
  """Without the hub, which is asked by default even for a directory."""
  before = os.environ.get("HF_HUB_OFFLINE")
  os.environ["HF_HUB_OFFLINE"] = "1"
  try:
    yield
  finally:
    os.environ.pop("HF_HUB_OFFLINE")
    if before is not None:
      os.environ["HF_HUB_OFFLINE"] = before


def call_torch(model: Any, read: Any) -> Run:
  """Makes the function of images float32 [B H W c]."""
  import torch

  def call(images: np.ndarray) -> np.ndarray:
    first = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    with torch.no_grad():
      return read(model(torch.from_numpy(first))).float().numpy()

  return call


def load_hugging_face(directory: epath.Path, has_head: bool) -> tuple[Run, str]:
  """Opens a directory in transformers; returns its call, and its version."""
  with offline():
    import torch
    import transformers

    kind = "AutoModelForImageClassification" if has_head else "AutoModel"
    model = getattr(transformers, kind).from_pretrained(
      os.fspath(directory), dtype=torch.float32
    )

  def read(found: Any) -> Any:
    if has_head:
      return found.logits
    pooled = getattr(found, "pooler_output", None)
    return found.last_hidden_state[:, 0] if pooled is None else pooled

  name = f"transformers {transformers.__version__}"
  return call_torch(model.eval(), read), name


def load_timm(directory: epath.Path) -> tuple[Run, str]:
  """Opens a directory in timm; returns its call, and its version."""
  with offline():
    import timm

    path = f"local-dir:{os.fspath(directory)}"
    model = timm.create_model(path, pretrained=True)
  call = call_torch(model.float().eval(), lambda found: found)
  return call, f"timm {timm.__version__}"


def load_again(path: epath.Path, **options: Any) -> tuple[Run, str]:
  """Reads a file back by our own reader, the only one there is here."""
  import jax

  found = make_function(load_as(os.fspath(path), **options))
  call = jax.jit(found.apply)

  def run(images: np.ndarray) -> np.ndarray:
    return np.asarray(call(found.params, images))

  return run, "vit_jax, read back"
