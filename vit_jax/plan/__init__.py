# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Plans: the memory and the time that a run needs, before it has a TPU."""
