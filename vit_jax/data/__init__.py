# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Data: sources, host transforms, the pipeline and device augmentation."""
