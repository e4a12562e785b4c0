# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""What is done to images to see whether a model still knows them.

Pure functions of pixels, which are float32 from 0 to 255, before a model's
normalisation. What is drawn at random is drawn from one key an example.
"""
