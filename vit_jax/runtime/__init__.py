# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Keeping a run alive: workdir, lock, resuming and non-finite values."""
