# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""How fast things are, and why: python -m vit_jax.benchmark WHAT."""
