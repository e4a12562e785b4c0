# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision Transformers in JAX and Flax.

Importing the package imports nothing else; `vit_jax.load` does when it is used.
"""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  """`load`, imported when it is asked for."""
  if name == "load":
    from vit_jax.convert.load import load

    return load
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
