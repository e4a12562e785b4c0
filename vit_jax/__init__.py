# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision Transformers in JAX and Flax.

Importing the package imports nothing else; what it offers does when it is used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Name -> the module that has it, imported when it is asked for. Verbs are
# modules: vit_jax.train.train, vit_jax.predict.predict and so on.
LAZY = {
  "load": "vit_jax.convert.load",
  "get_config": "vit_jax.config.recipe",
}
MODULES = ("analyze", "evaluate", "features", "predict", "train")


def __getattr__(name: str) -> Any:
  """What the package offers, imported when it is asked for."""
  if name in LAZY:
    return getattr(importlib.import_module(LAZY[name]), name)
  if name in MODULES:
    return importlib.import_module(f"vit_jax.{name}")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *LAZY, *MODULES})
