# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Accelerators: their detection, specs, memory and mesh, and "auto" choices."""
