# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of speed: python -m vit_jax.benchmark WHAT."""
