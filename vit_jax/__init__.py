# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Vision Transformers in JAX and Flax.

Importing the package imports nothing else; take what you need from its modules.
"""

__version__ = "0.1.0"
