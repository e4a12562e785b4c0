# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""Reading data: sources, decoding, batches on the mesh, augmentation."""
