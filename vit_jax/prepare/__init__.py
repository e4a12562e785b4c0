# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Writing data sets as ArrayRecord, which `vit_jax.data` reads."""
