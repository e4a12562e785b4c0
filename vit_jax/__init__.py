# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision Transformers in JAX and Flax.

Importing the package imports nothing else; `vit_jax.load` does when it is used.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
  """`load`, imported when it is asked for."""
  if name == "load":
    from vit_jax.pretrained import load

    return load
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
