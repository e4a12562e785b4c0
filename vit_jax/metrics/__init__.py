# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics: folded from sums and counts, written as rows, shown to people."""

from vit_jax.metrics.rows import read_rows

__all__ = ["read_rows"]
