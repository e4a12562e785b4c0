# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays that explain a model: what it attends to, and what it has learned.

One file a subject. Nothing here draws, see `plots`.
"""
